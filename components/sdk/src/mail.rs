//! Electronic mail.

use crate::{Result, bindings::pyairtable::mail::mailer as wit, imports, sql::Db};

pub use crate::bindings::pyairtable::mail::mailer::Attachment;

/// A message being written.
///
/// ```no_run
/// # fn f(tx: &sdk::sql::Db<'_>) -> sdk::Result<()> {
/// tx.send_mail(&sdk::mail::Mail::to("ada@example.com", "Welcome").text("Hello"))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Mail(wit::Message);

impl Mail {
    /// To one mailbox, from the operator's default sender.
    pub fn to(mailbox: impl Into<String>, subject: impl Into<String>) -> Self {
        Self(wit::Message {
            from: None,
            to: vec![mailbox.into()],
            cc: Vec::new(),
            reply_to: None,
            subject: subject.into(),
            text: String::new(),
            html: None,
            attachments: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// To one more mailbox; at most 50 in all.
    pub fn and(mut self, mailbox: impl Into<String>) -> Self {
        self.0.to.push(mailbox.into());
        self
    }

    /// A copy.
    pub fn cc(mut self, mailbox: impl Into<String>) -> Self {
        self.0.cc.push(mailbox.into());
        self
    }

    /// The sender.
    pub fn from(mut self, mailbox: impl Into<String>) -> Self {
        self.0.from = Some(mailbox.into());
        self
    }

    /// Where answers go.
    pub fn reply_to(mut self, mailbox: impl Into<String>) -> Self {
        self.0.reply_to = Some(mailbox.into());
        self
    }

    /// The plain text.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.0.text = text.into();
        self
    }

    /// The same as HTML.
    pub fn html(mut self, html: impl Into<String>) -> Self {
        self.0.html = Some(html.into());
        self
    }

    /// A file.
    pub fn attach(mut self, attachment: Attachment) -> Self {
        self.0.attachments.push(attachment);
        self
    }

    /// A further field, as `list-unsubscribe`.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Sends a message that belongs to no transaction; answers its Message-ID.
///
/// # Errors
/// `mail.*`.
pub fn send(mail: &Mail) -> Result<String> {
    Ok(imports::mailer::send(&mail.0, None)?)
}

impl Db<'_> {
    /// Sends a message: in a transaction if and only if that commits. Answers its Message-ID.
    ///
    /// # Errors
    /// `mail.*`, `tx.closed`.
    pub fn send_mail(&self, mail: &Mail) -> Result<String> {
        Ok(imports::mailer::send(&mail.0, self.handle())?)
    }
}
