//! Accepting messages: written into the service's own database, delivered once that is durable.

mod relay;

use std::{sync::Arc, time::Duration};

use airhost_core::{CallContext, Clock, Error, Result, ServiceName, codes};
use airhost_storage::sql::{Access, Database, Transaction, Value};
use async_trait::async_trait;
use tokio::sync::Notify;

pub use self::relay::{MailRelay, MailRelayConfig, MailRelayStatus};
use crate::{
    Mailer, Message,
    compose::{Composed, Sender, compose},
};

/// Bytes of a message in one row: well within a query's result.
const PART: usize = 1024 * 1024;
/// Time to store a message outside a transaction.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The mail of one service. Cloning it is cheap.
#[derive(Clone)]
pub struct MailOutbox {
    service: ServiceName,
    sender: Arc<Sender>,
    database: Arc<dyn Database>,
    clock: Clock,
    wake: Arc<Notify>,
}

impl MailOutbox {
    /// The mail of a service, in its own database; its [`MailRelay`] delivers it.
    #[must_use]
    pub fn new(
        service: ServiceName,
        sender: Sender,
        database: Arc<dyn Database>,
        clock: Clock,
    ) -> Self {
        Self { service, sender: Arc::new(sender), database, clock, wake: Arc::default() }
    }

    async fn store(&self, mail: &Composed, tx: &dyn Transaction) -> Result<()> {
        let now = self.clock.now_micros();
        let id = || Value::Uuid(mail.id.to_string());
        let insert =
            "INSERT INTO _airhost_mail (id, sender, recipients, created_at, attempts, next_at)
            VALUES ($1, $2, $3, $4, 0, $4)";
        let params = vec![
            id(),
            Value::Text(mail.sender.clone()),
            Value::Text(serde_json::json!(mail.recipients).to_string()),
            Value::Timestamp(now),
        ];
        tx.host_execute(insert, params).await?;
        let insert = "INSERT INTO _airhost_mail_parts (mail_id, part, content) VALUES ($1, $2, $3)";
        for (part, content) in mail.content.chunks(PART).enumerate() {
            let part = Value::Bigint(i64::try_from(part).unwrap_or(i64::MAX));
            tx.host_execute(insert, vec![id(), part, Value::Bytes(content.to_vec())]).await?;
        }
        Ok(())
    }

    async fn store_alone(&self, mail: &Composed, context: &CallContext) -> Result<()> {
        let deadline = context.deadline.at_most(TIMEOUT);
        let tx = self.database.begin(Access::Write, deadline).await?;
        self.store(mail, tx.as_ref()).await?;
        tx.commit().await
    }

    fn unavailable(&self, error: &Error) -> Error {
        tracing::warn!(service = %self.service, %error, "a message cannot be stored");
        codes::MAIL_UNAVAILABLE.error("the message cannot be accepted now")
    }
}

#[async_trait]
impl Mailer for MailOutbox {
    async fn send(
        &self,
        message: Message,
        context: &CallContext,
        tx: Option<&dyn Transaction>,
    ) -> Result<String> {
        let (sender, now) = (Arc::clone(&self.sender), self.clock.now_micros());
        // Encoding 10 MiB takes long enough to hold up other tasks.
        let composed = tokio::task::spawn_blocking(move || compose(&message, &sender, now));
        let mail = composed
            .await
            .map_err(|_| codes::INTERNAL.error("a message could not be composed"))??;
        match tx {
            Some(tx) => {
                self.store(&mail, tx).await?;
                let wake = Arc::clone(&self.wake);
                tx.on_commit(Arc::new(move || wake.notify_one()));
            }
            None => {
                self.store_alone(&mail, context).await.map_err(|error| self.unavailable(&error))?;
                self.wake.notify_one();
            }
        }
        Ok(format!("{}@{}", mail.id, self.sender.domain))
    }
}

impl std::fmt::Debug for MailOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailOutbox").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
