//! Electronic mail.

mod mailer;
mod message;

pub use mailer::Mailer;
pub use message::{Attachment, Message};
