//! Electronic mail: checked, kept with the data it speaks of, delivered once that is durable.
//!
//! - [`MailOutbox`] accepts messages ([`Mailer`]) into the service's own database; with a
//!   transaction a message is sent if and only if that commits.
//! - [`MailRelay`] takes them to a [`Transport`], at least once, for a day.
//! - [`Folder`] is the embedded transport: `.eml` files, with a way to read them back.

mod compose;
mod mailer;
mod message;
mod outbox;
mod tables;
mod transport;

pub use compose::Sender;
pub use mailer::Mailer;
pub use message::{Attachment, Message};
pub use outbox::{MailOutbox, MailRelay, MailRelayConfig, MailRelayStatus};
pub use tables::SCHEMA;
pub use transport::{AttachmentInfo, Folder, MailSummary, OutgoingMail, StoredMail, Transport};
