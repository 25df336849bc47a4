//! Delivers what an outbox holds: at least once, tried again for a day.

use std::{sync::Arc, time::Duration};

use airhost_core::{Backoff, Deadline, Error, ErrorClass, Result, codes};
use airhost_storage::sql::{Access, Columns, Value, sweep};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::MailOutbox;
use crate::{OutgoingMail, Transport};

/// How a relay works.
#[derive(Clone, Copy, Debug)]
pub struct MailRelayConfig {
    /// The outbox is looked at so often even if no commit has woken the relay.
    pub every: Duration,
    /// Waits between the tries of a message.
    pub backoff: Backoff,
    /// A message that could not be delivered for so long is given up.
    pub give_up: Duration,
    /// What is known of a message given up is kept so long.
    pub retention: Duration,
    /// Time for one delivery.
    pub delivery: Duration,
    /// Time for one statement.
    pub timeout: Duration,
}

impl Default for MailRelayConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self {
            every: Duration::from_secs(10),
            backoff: Backoff::new(Duration::from_secs(5), Duration::from_secs(3_600)),
            give_up: DAY,
            retention: DAY * 7,
            delivery: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
        }
    }
}

/// What a relay has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailRelayStatus {
    /// Messages delivered.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Messages given up.
    pub given_up: u64,
    /// The last failure.
    pub last_error: Option<String>,
}

/// The relay of one outbox. One runs at a time for a database.
#[derive(Clone)]
pub struct MailRelay {
    outbox: MailOutbox,
    transport: Arc<dyn Transport>,
    config: MailRelayConfig,
    status: Arc<Mutex<MailRelayStatus>>,
}

/// A message that is due, without its content.
struct Due {
    id: Uuid,
    sender: String,
    recipients: Vec<String>,
    created_at: i64,
    attempts: u32,
}

impl MailRelay {
    /// The relay from an outbox to a transport.
    #[must_use]
    pub fn new(outbox: MailOutbox, transport: Arc<dyn Transport>, config: MailRelayConfig) -> Self {
        Self { outbox, transport, config, status: Arc::default() }
    }

    /// What it has done so far.
    #[must_use]
    pub fn status(&self) -> MailRelayStatus {
        self.status.lock().clone()
    }

    /// Delivers until told to stop. What it has not delivered by then stays in the outbox.
    pub async fn run(self, stop: CancellationToken) {
        let mut failures = 0_u32;
        let mut housekeeping = Instant::now();
        while !stop.is_cancelled() {
            let result = async {
                if housekeeping <= Instant::now() {
                    self.remove_old().await?;
                    housekeeping = Instant::now() + Duration::from_secs(600);
                }
                while !stop.is_cancelled() && self.deliver_next().await? {}
                Ok::<_, Error>(())
            };
            let wait = match result.await {
                Ok(()) => {
                    failures = 0;
                    self.until_next().await.unwrap_or(self.config.every)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.status.lock().last_error = Some(error.to_string());
                    tracing::warn!(service = %self.outbox.service, %error, failures, "mail cannot be read now");
                    self.config.backoff.after(failures)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.outbox.wake.notified(), if failures == 0 => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tries the message that has been due longest; answers whether there was one.
    ///
    /// # Errors
    /// Those of the database. A failure of the transport is none: it is written down.
    pub async fn deliver_next(&self) -> Result<bool> {
        let Some(due) = self.next().await? else {
            return Ok(false);
        };
        let mail = OutgoingMail {
            id: due.id,
            sender: due.sender.clone(),
            recipients: due.recipients.clone(),
            content: self.content(due.id).await?,
        };
        let delivery = tokio::time::timeout(self.config.delivery, self.transport.deliver(&mail));
        let result = delivery.await.unwrap_or_else(|_| {
            Err(codes::MAIL_UNAVAILABLE.error("the mail transport did not answer in time"))
        });
        match result {
            Ok(()) => {
                self.remove(due.id, None).await?;
                self.status.lock().delivered += 1;
            }
            Err(error) => self.failed(&due, &error).await?,
        }
        Ok(true)
    }

    async fn next(&self) -> Result<Option<Due>> {
        let sql = "SELECT id, sender, recipients, created_at, attempts FROM _airhost_mail
            WHERE next_at <= $1 AND failed_at IS NULL ORDER BY next_at LIMIT 1";
        let now = Value::Timestamp(self.outbox.clock.now_micros());
        let rows = self.outbox.database.host_query(sql, vec![now], self.soon()).await?.rows;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let damaged = || codes::INTERNAL.error("a row of the mail table is damaged");
        let mut row = Columns::of(row);
        Ok(Some(Due {
            id: Uuid::parse_str(&row.text()?).map_err(|_| damaged())?,
            sender: row.text()?,
            recipients: serde_json::from_str(&row.text()?).map_err(|_| damaged())?,
            created_at: row.bigint()?,
            attempts: row.integer()?,
        }))
    }

    async fn content(&self, id: Uuid) -> Result<Vec<u8>> {
        let sql = "SELECT content FROM _airhost_mail_parts WHERE mail_id = $1 AND part = $2";
        let mut content = Vec::new();
        for part in 0.. {
            let params = vec![Value::Uuid(id.to_string()), Value::Bigint(part)];
            let rows = self.outbox.database.host_query(sql, params, self.soon()).await?.rows;
            let Some(row) = rows.into_iter().next() else {
                break;
            };
            content.extend(Columns::of(row).bytes()?);
        }
        Ok(content)
    }

    async fn failed(&self, due: &Due, error: &Error) -> Result<()> {
        let now = self.outbox.clock.now_micros();
        let patience = i64::try_from(self.config.give_up.as_micros()).unwrap_or(i64::MAX);
        let over =
            error.class == ErrorClass::Invalid || now.saturating_sub(due.created_at) >= patience;
        {
            let mut status = self.status.lock();
            status.failed += 1;
            status.given_up += u64::from(over);
            status.last_error = Some(error.to_string());
        }
        tracing::warn!(service = %self.outbox.service, mail = %due.id, attempts = due.attempts + 1,
            given_up = over, %error, "a message was not delivered");
        if over {
            return self.remove(due.id, Some((now, error))).await;
        }
        let attempts = due.attempts.saturating_add(1);
        let wait = self.config.backoff.after(attempts).max(error.retry_after.unwrap_or_default());
        let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let sql =
            "UPDATE _airhost_mail SET attempts = $2, next_at = $3, last_error = $4 WHERE id = $1";
        let params = vec![
            Value::Uuid(due.id.to_string()),
            Value::Bigint(i64::from(attempts)),
            Value::Timestamp(now.saturating_add(wait)),
            Value::Text(error.code.to_string()),
        ];
        self.outbox.database.host_execute(sql, params, self.soon()).await.map(drop)
    }

    /// Removes a message, or, when it is given up, its content.
    async fn remove(&self, id: Uuid, given_up: Option<(i64, &Error)>) -> Result<()> {
        let tx = self.outbox.database.begin(Access::Write, self.soon()).await?;
        let id = || Value::Uuid(id.to_string());
        tx.host_execute("DELETE FROM _airhost_mail_parts WHERE mail_id = $1", vec![id()]).await?;
        match given_up {
            None => tx.host_execute("DELETE FROM _airhost_mail WHERE id = $1", vec![id()]).await?,
            Some((at, error)) => {
                let sql = "UPDATE _airhost_mail SET failed_at = $2, last_error = $3 WHERE id = $1";
                let params = vec![id(), Value::Timestamp(at), Value::Text(error.code.to_string())];
                tx.host_execute(sql, params).await?
            }
        };
        tx.commit().await
    }

    async fn remove_old(&self) -> Result<()> {
        let (database, now) = (self.outbox.database.as_ref(), self.outbox.clock.now_micros());
        let keep = self.config.retention;
        sweep(database, "_airhost_mail", "id", "failed_at", keep, now, self.soon()).await.map(drop)
    }

    async fn until_next(&self) -> Result<Duration> {
        let sql = "SELECT min(next_at) FROM _airhost_mail WHERE failed_at IS NULL";
        let rows = self.outbox.database.host_query(sql, Vec::new(), self.soon()).await?.rows;
        let next = Columns::of(rows.into_iter().next().unwrap_or_default()).optional_bigint()?;
        let wait =
            next.map_or(i64::MAX, |next| next.saturating_sub(self.outbox.clock.now_micros()));
        Ok(Duration::from_micros(u64::try_from(wait).unwrap_or(0)).min(self.config.every))
    }

    fn soon(&self) -> Deadline {
        Deadline::after(self.config.timeout)
    }
}

impl std::fmt::Debug for MailRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailRelay")
            .field("outbox", &self.outbox)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
