//! Publishing: an event is written beside the data it speaks of, in the service's own database,
//! and sent once that is durable.

mod relay;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use airhost_core::{CallContext, Clock, Deadline, Result, ServiceName, SpiffeId, codes};
use airhost_storage::sql::{Columns, Database, Transaction, Value};
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::relay::{Relay, RelayConfig, RelayStatus};
use crate::{Envelope, Event, Schemas};

const INSERT: &str = "INSERT INTO _airhost_outbox (seq, id, topic, subject, created_at, envelope)
    VALUES ((SELECT coalesce(max(seq), 0) + 1 FROM _airhost_outbox), $1, $2, $3, $4, $5)";

/// Publishes for one service.
#[derive(Clone)]
pub struct Outbox {
    service: ServiceName,
    identity: SpiffeId,
    topics: Arc<BTreeSet<String>>,
    schemas: Arc<Schemas>,
    database: Arc<dyn Database>,
    clock: Clock,
    wake: Arc<Notify>,
}

/// What an outbox is made of.
#[expect(missing_debug_implementations, reason = "a database has none")]
pub struct OutboxParts {
    /// Who publishes.
    pub service: ServiceName,
    /// Its identity, the events' `source`.
    pub identity: SpiffeId,
    /// The topics the manifest grants.
    pub topics: BTreeSet<String>,
    /// The schema registry.
    pub schemas: Arc<Schemas>,
    /// The service's own database.
    pub database: Arc<dyn Database>,
    /// Stamps events.
    pub clock: Clock,
}

impl Outbox {
    /// The outbox of a service; its [`Relay`] sends what it holds.
    #[must_use]
    pub fn new(parts: OutboxParts) -> Self {
        let OutboxParts { service, identity, topics, schemas, database, clock } = parts;
        let (topics, wake) = (Arc::new(topics), Arc::default());
        Self { service, identity, topics, schemas, database, clock, wake }
    }

    /// Publishes an event and answers its id. With a transaction the event exists if and only if
    /// that commits; without one it is durable when this returns. Delivered at least once, in
    /// order for one topic and subject.
    ///
    /// # Errors
    /// `events.topic-denied`, `events.schema`, `events.too-large`, `events.unavailable`;
    /// `tx.closed`, `tx.expired` and `tx.read-only` of the transaction.
    pub async fn publish(
        &self,
        event: Event,
        context: &CallContext,
        tx: Option<&dyn Transaction>,
    ) -> Result<Uuid> {
        if !self.topics.contains(&event.topic) {
            return Err(codes::EVENTS_TOPIC_DENIED
                .error(format!("{} may not publish to {}", self.service, event.topic)));
        }
        let schema = self.schemas.uri(&event.topic).map(str::to_owned);
        let now = self.clock.now_micros();
        let envelope = Envelope::seal(event, &self.identity, context, now, schema)?;
        self.schemas.check(&envelope.topic, envelope.data.get())?;
        let params = vec![
            Value::Uuid(envelope.id.to_string()),
            Value::Text(envelope.topic.clone()),
            Value::Text(envelope.subject.clone()),
            Value::Timestamp(now),
            Value::Text(envelope.to_json()),
        ];
        match tx {
            Some(tx) => {
                tx.host_execute(INSERT, params).await?;
                let wake = Arc::clone(&self.wake);
                tx.on_commit(Arc::new(move || wake.notify_one()));
            }
            None => {
                let deadline = context.deadline.at_most(Duration::from_secs(5));
                self.database.host_execute(INSERT, params, deadline).await.map_err(|error| {
                    tracing::warn!(service = %self.service, %error, "an event cannot be stored");
                    codes::EVENTS_UNAVAILABLE.error("the event cannot be made durable now")
                })?;
                self.wake.notify_one();
            }
        }
        Ok(envelope.id)
    }

    /// How many events wait to be sent, and since when the oldest does (microseconds since the
    /// epoch).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pending(&self, deadline: Deadline) -> Result<(u64, Option<i64>)> {
        let sql = "SELECT count(*), min(created_at) FROM _airhost_outbox";
        let rows = self.database.host_query(sql, Vec::new(), deadline).await?;
        let mut row = Columns::of(rows.rows.into_iter().next().unwrap_or_default());
        Ok((row.integer()?, row.optional_bigint()?))
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("service", &self.service)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
