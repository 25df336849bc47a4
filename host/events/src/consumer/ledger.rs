//! What a consumer writes into the service's database: which events are done, which wait for
//! their next try, which were given up.

use std::sync::Arc;

use airhost_core::{Result, codes};
use airhost_storage::sql::{Columns, Transaction, Value};

use super::{Item, Key, Origin};
use crate::Envelope;

/// The tables of a consumer, in one transaction. They are in the service's own database, so that
/// nothing in them names the consumer.
pub(super) struct Ledger<'a> {
    pub(super) tx: &'a dyn Transaction,
    pub(super) now: i64,
}

/// When and why an event that failed is tried again.
pub(super) struct NextTry {
    pub(super) attempts: u32,
    pub(super) at: i64,
    pub(super) reason: String,
}

impl Ledger<'_> {
    /// Records ids and answers those that were not there before.
    pub(super) async fn record(&self, items: &[Item]) -> Result<Vec<String>> {
        let mut params = vec![Value::Timestamp(self.now)];
        let mut rows = Vec::with_capacity(items.len());
        for item in items {
            params.push(Value::Uuid(item.record.event.id.to_string()));
            rows.push(format!("(${}, $1)", params.len()));
        }
        let insert = format!(
            "INSERT INTO _airhost_inbox (event_id, received_at) VALUES {}
             ON CONFLICT DO NOTHING RETURNING event_id",
            rows.join(", ")
        );
        let fresh = self.tx.host_query(&insert, params).await?.rows;
        fresh.into_iter().map(|row| Columns::of(row).text()).collect()
    }

    /// Keeps an event that waits: behind one of its key that failed, or for its own next try.
    pub(super) async fn park(&self, item: &Item, next: Option<&NextTry>) -> Result<()> {
        let event = &item.record.event;
        let insert = "INSERT INTO _airhost_parked
                (event_id, topic, subject, position, attempts, next_at, reason, envelope)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (event_id) DO NOTHING";
        let update = "UPDATE _airhost_parked SET attempts = $2, next_at = $3, reason = $4
            WHERE event_id = $1";
        let (attempts, at, reason) = match next {
            Some(next) => (next.attempts, next.at, Value::Text(next.reason.clone())),
            None => (item.attempts, 0, Value::Null),
        };
        let id = Value::Uuid(event.id.to_string());
        let (attempts, at) = (Value::Bigint(i64::from(attempts)), Value::Timestamp(at));
        if item.origin == Origin::Parked {
            let params = vec![id, attempts, at, reason];
            return self.tx.host_execute(update, params).await.map(drop);
        }
        let params = vec![
            id,
            Value::Text(event.topic.clone()),
            Value::Text(event.subject.clone()),
            Value::Bigint(i64::try_from(item.record.position).unwrap_or(i64::MAX)),
            attempts,
            at,
            reason,
            Value::Text(event.to_json()),
        ];
        self.tx.host_execute(insert, params).await.map(drop)
    }

    /// An event that waited is done.
    pub(super) async fn unpark(&self, items: &[Item]) -> Result<()> {
        let mut params = Vec::new();
        let mut marks = Vec::new();
        for item in items.iter().filter(|item| item.origin == Origin::Parked) {
            params.push(Value::Uuid(item.record.event.id.to_string()));
            marks.push(format!("${}", params.len()));
        }
        if marks.is_empty() {
            return Ok(());
        }
        let delete =
            format!("DELETE FROM _airhost_parked WHERE event_id IN ({})", marks.join(", "));
        self.tx.host_execute(&delete, params).await.map(drop)
    }

    /// An event is given up.
    pub(super) async fn bury(&self, item: &Item, attempts: u32, reason: &str) -> Result<()> {
        let event = &item.record.event;
        let insert = "INSERT INTO _airhost_dead_letters
                (event_id, topic, subject, position, attempts, reason, dead_at, envelope)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (event_id) DO NOTHING";
        let params = vec![
            Value::Uuid(event.id.to_string()),
            Value::Text(event.topic.clone()),
            Value::Text(event.subject.clone()),
            Value::Bigint(i64::try_from(item.record.position).unwrap_or(i64::MAX)),
            Value::Bigint(i64::from(attempts)),
            Value::Text(reason.to_owned()),
            Value::Timestamp(self.now),
            Value::Text(event.to_json()),
        ];
        self.tx.host_execute(insert, params).await.map(drop)
    }
}

/// Reads a row of the columns `envelope, position, attempts`.
pub(super) fn parked_item(row: Vec<Value>) -> Result<Item> {
    let mut row = Columns::of(row);
    let event = Arc::new(Envelope::from_json(&row.text()?)?);
    let position = row.integer()?;
    let attempts = u32::try_from(row.bigint()?)
        .map_err(|_| codes::INTERNAL.error("a count of attempts is out of range"))?;
    let key = Key::of(&event);
    Ok(Item {
        record: crate::bus::Record { position, event },
        key,
        attempts,
        origin: Origin::Parked,
    })
}
