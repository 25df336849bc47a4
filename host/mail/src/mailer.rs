//! The border to services.

use airhost_core::{CallContext, Result};
use airhost_storage::sql::Transaction;
use async_trait::async_trait;

use crate::Message;

/// Accepts messages of one service.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Accepts a message for delivery and answers its Message-ID (without the angle brackets).
    /// With a transaction it is delivered if and only if that commits; without one it is durable
    /// when this returns. Delivered at least once, retried for a day.
    ///
    /// # Errors
    /// `mail.address`, `mail.header`, `mail.too-large` (10 MiB), `mail.unavailable`; `tx.closed`,
    /// `tx.expired` and `tx.read-only` of the transaction.
    async fn send(
        &self,
        message: Message,
        context: &CallContext,
        tx: Option<&dyn Transaction>,
    ) -> Result<String>;
}
