//! A message as a service gives it.

use std::fmt;

/// A file that goes along with a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, without a path.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A message as a service gives it; mirrors `message` of `wit/mail/mailer.wit`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// RFC 5322 mailbox; none for the operator's default sender.
    pub from: Option<String>,
    /// 1 to 50 mailboxes.
    pub to: Vec<String>,
    /// At most 50 mailboxes.
    pub cc: Vec<String>,
    /// A mailbox.
    pub reply_to: Option<String>,
    /// No line breaks.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// Files that go along.
    pub attachments: Vec<Attachment>,
    /// Further fields, as `list-unsubscribe`. Structural fields are refused.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("bytes", &self.content.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses and text are personal data.
        f.debug_struct("Message")
            .field("to", &self.to.len())
            .field("cc", &self.cc.len())
            .field("attachments", &self.attachments)
            .finish_non_exhaustive()
    }
}
