//! Events between services: published with the data they speak of, consumed with an effect once.

pub mod bus;
mod deliver;
mod event;

pub use bus::Bus;
pub use deliver::{Deliver, Delivery, Outcome};
pub use event::{Envelope, Event};
