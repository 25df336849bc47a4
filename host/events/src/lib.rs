//! Events between services: published with the data they speak of, consumed with an effect once.
//!
//! - [`Outbox`] writes an event into the publisher's own database, in the same transaction as the
//!   data; its [`Relay`] sends it to the [`Bus`] once that has committed.
//! - [`bus::Log`] is the embedded bus: one durable log with consumer groups.
//! - [`Consumer`] takes events from the bus and hands them to what implements [`Deliver`], in a
//!   transaction that records their ids first.
//! - [`DeadLetters`] are what was given up.
//!
//! Invariants: an event exists if and only if the transaction that published it committed; it is
//! lost at no crash; in the mode exactly-once its effect in the consumer's database happens once;
//! order is kept for one topic and subject, and a key that fails holds up no other.

pub mod bus;
mod consumer;
mod dead_letters;
mod deliver;
mod event;
mod outbox;
mod schemas;
mod tables;

pub use bus::Bus;
pub use consumer::{Consumer, ConsumerConfig, ConsumerControl, ConsumerStatus, Mode, TopicRule};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use deliver::{Deliver, Delivery, Outcome};
pub use event::{Envelope, Event};
pub use outbox::{Outbox, OutboxParts, Relay, RelayConfig, RelayStatus};
pub use schemas::{Schemas, SchemasError};
pub use tables::SCHEMA;

#[cfg(test)]
mod testing;
