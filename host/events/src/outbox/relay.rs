//! Sends what an outbox holds to the bus: at least once, in the order it was written.

use std::{sync::Arc, time::Duration};

use airhost_core::{Backoff, Deadline, Result};
use airhost_storage::sql::{Columns, Value};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Outbox;
use crate::{Bus, Envelope};

/// How a relay works.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// Events read and sent at once, at most.
    pub batch: u16,
    /// The outbox is looked at so often even if no commit has woken the relay.
    pub every: Duration,
    /// Waits after failures of the bus or the database.
    pub backoff: Backoff,
    /// Time for one statement or one append.
    pub timeout: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            batch: 100,
            every: Duration::from_secs(5),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
            timeout: Duration::from_secs(10),
        }
    }
}

/// What a relay has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// Events sent since it was started.
    pub sent: u64,
    /// Failures in a row; 0 when the last try went well.
    pub failures: u32,
    /// The last failure.
    pub last_error: Option<String>,
}

/// The relay of one outbox. One runs at a time for a database, so that order is kept.
#[derive(Clone)]
pub struct Relay {
    outbox: Outbox,
    bus: Arc<dyn Bus>,
    config: RelayConfig,
    status: Arc<Mutex<RelayStatus>>,
}

impl Relay {
    /// The relay from an outbox to a bus.
    #[must_use]
    pub fn new(outbox: Outbox, bus: Arc<dyn Bus>, config: RelayConfig) -> Self {
        Self { outbox, bus, config, status: Arc::default() }
    }

    /// What it has done so far.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.lock().clone()
    }

    /// Sends until told to stop. What it has not sent by then stays in the outbox.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let failures = match self.drain(&stop).await {
                Ok(()) => {
                    let mut status = self.status.lock();
                    status.failures = 0;
                    status.last_error = None;
                    0
                }
                Err(error) => {
                    let mut status = self.status.lock();
                    status.failures = status.failures.saturating_add(1);
                    status.last_error = Some(error.to_string());
                    tracing::warn!(service = %self.outbox.service, %error, failures = status.failures,
                        "events cannot be sent to the bus; they wait in the outbox");
                    status.failures
                }
            };
            if failures > 0 {
                // A commit must not cut the back-off short.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(self.config.backoff.after(failures)) => {}
                }
            } else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.outbox.wake.notified() => {}
                    () = tokio::time::sleep(self.config.every) => {}
                }
            }
        }
    }

    async fn drain(&self, stop: &CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            if self.send_batch().await? < usize::from(self.config.batch) {
                break;
            }
        }
        Ok(())
    }

    /// Sends one batch and answers how many events that were.
    ///
    /// # Errors
    /// Those of the database and the bus. What was sent and not removed is sent again; the bus
    /// or the consumers' inboxes drop it.
    pub async fn send_batch(&self) -> Result<usize> {
        let select = "SELECT id, envelope FROM _airhost_outbox ORDER BY seq LIMIT $1";
        let limit = vec![Value::Bigint(i64::from(self.config.batch))];
        let deadline = || Deadline::after(self.config.timeout);
        let database = &self.outbox.database;
        let rows = database.host_query(select, limit, deadline()).await?.rows;
        if rows.is_empty() {
            return Ok(0);
        }
        let (mut ids, mut events) =
            (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in rows {
            let mut row = Columns::of(row);
            ids.push(Value::Uuid(row.text()?));
            events.push(Arc::new(Envelope::from_json(&row.text()?)?));
        }
        let append = tokio::time::timeout(self.config.timeout, self.bus.append(&events));
        append.await.unwrap_or_else(|_| {
            Err(airhost_core::codes::EVENTS_UNAVAILABLE.error("the bus did not answer in time"))
        })?;
        let marks: Vec<String> = (1..=ids.len()).map(|at| format!("${at}")).collect();
        let delete = format!("DELETE FROM _airhost_outbox WHERE id IN ({})", marks.join(", "));
        database.host_execute(&delete, ids, deadline()).await?;
        self.status.lock().sent += events.len() as u64;
        Ok(events.len())
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("outbox", &self.outbox)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
