//! Where messages go: one contract, an engine behind it.

mod folder;

use airhost_core::Result;
use async_trait::async_trait;
use uuid::Uuid;

pub use self::folder::{AttachmentInfo, Folder, MailSummary, StoredMail};

/// A message on its way out.
pub struct OutgoingMail {
    /// UUIDv7, the left side of the Message-ID; the same on every try.
    pub id: Uuid,
    /// Address that bounces go to.
    pub sender: String,
    /// Addresses that get it.
    pub recipients: Vec<String>,
    /// The message as in RFC 5322.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for OutgoingMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Addresses and content are personal data.
        f.debug_struct("OutgoingMail")
            .field("id", &self.id)
            .field("recipients", &self.recipients.len())
            .field("content", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// Delivers messages.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Delivers a message. It may be called again for one that was delivered, after a crash.
    ///
    /// # Errors
    /// The class invalid says that the message will never be taken; any other is tried again.
    async fn deliver(&self, mail: &OutgoingMail) -> Result<()>;
}
