//! What changes the log. Changes that wait at the same time share one commit.

use std::sync::Arc;

use airhost_core::{Error, Result, codes};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{Inner, Log, blocking, read::signed, unavailable};
use crate::Envelope;

/// One event as a row.
pub(super) struct Row {
    topic: String,
    id: [u8; 16],
    envelope: String,
}

impl Row {
    pub(super) fn new(event: &Envelope) -> Self {
        Self { topic: event.topic.clone(), id: event.id.into_bytes(), envelope: event.to_json() }
    }
}

/// One change of the log.
pub(super) enum Change {
    Append(Vec<Row>),
    Subscribe { group: String, topics: Vec<String> },
    Commit { group: String, positions: Vec<(i64, u64)> },
    Forget { group: String },
}

struct Waiting {
    change: Change,
    done: oneshot::Sender<Result<()>>,
}

/// Changes that wait for the writer. It is bounded by its callers, each of which waits for its
/// own change: one relay and one consumer a service.
#[derive(Default)]
pub(super) struct Queue(Mutex<Vec<Waiting>>);

impl Log {
    /// Makes a change; durable when it returns.
    pub(super) async fn write(&self, change: Change) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.0.queue.0.lock().push(Waiting { change, done });
        let inner = Arc::clone(&self.0);
        // Whoever gets the writer first commits for all that wait; the others find nothing left.
        blocking(move || {
            inner.flush();
            Ok(())
        })
        .await?;
        answer.await.unwrap_or_else(|_| {
            Err(codes::EVENTS_UNAVAILABLE.error("the event log's work was cut off"))
        })
    }
}

impl Inner {
    fn flush(&self) {
        let mut writer = self.writer.lock();
        let waiting = std::mem::take(&mut *self.queue.0.lock());
        if waiting.is_empty() {
            return;
        }
        let full = self.is_full(&writer);
        let (refused, accepted): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|waiting| full && matches!(waiting.change, Change::Append(_)));
        for waiting in refused {
            answer(waiting.done, Err(codes::EVENTS_UNAVAILABLE.error("the event log is full")));
        }
        let result = self.apply(&mut writer, &accepted);
        drop(writer);
        if result.is_ok() && accepted.iter().any(|w| matches!(w.change, Change::Append(_))) {
            self.appended.send_modify(|count| *count = count.wrapping_add(1));
        }
        for waiting in accepted {
            answer(waiting.done, result.clone());
        }
    }

    fn apply(&self, writer: &mut Connection, waiting: &[Waiting]) -> Result<()> {
        if waiting.is_empty() {
            return Ok(());
        }
        let now = self.config.clock.now_micros();
        let work = |writer: &mut Connection| -> rusqlite::Result<()> {
            let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for Waiting { change, .. } in waiting {
                match change {
                    Change::Append(rows) => append(&tx, rows, now)?,
                    Change::Subscribe { group, topics } => subscribe(&tx, group, topics)?,
                    Change::Commit { group, positions } => commit(&tx, group, positions)?,
                    Change::Forget { group } => {
                        tx.execute("DELETE FROM groups WHERE name = ?1", params![group])?;
                    }
                }
            }
            tx.commit()
        };
        work(writer).map_err(unavailable)
    }

    /// Whether events fill the file up to its limit.
    pub(super) fn is_full(&self, writer: &Connection) -> bool {
        used_bytes(writer).is_ok_and(|used| used >= self.config.max_bytes)
    }
}

/// Bytes of the file that hold something.
pub(super) fn used_bytes(connection: &Connection) -> Result<u64, Error> {
    let pragma = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    let used = || -> rusqlite::Result<i64> {
        Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
    };
    used().map(|used| u64::try_from(used).unwrap_or(0)).map_err(unavailable)
}

fn append(tx: &Transaction<'_>, rows: &[Row], now: i64) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO events (topic, id, stored_at, envelope) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO NOTHING",
    )?;
    for row in rows {
        let topic = topic(tx, &row.topic)?;
        insert.execute(params![topic, row.id.as_slice(), now, row.envelope])?;
    }
    Ok(())
}

fn topic(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    tx.prepare_cached("INSERT INTO topics (name) VALUES (?1) ON CONFLICT (name) DO NOTHING")?
        .execute(params![name])?;
    tx.prepare_cached("SELECT id FROM topics WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
}

/// A group reads exactly these topics from now on: what it does not read any more must not keep
/// events from being removed.
fn subscribe(tx: &Transaction<'_>, group: &str, topics: &[String]) -> rusqlite::Result<()> {
    let mut kept = Vec::with_capacity(topics.len());
    for name in topics {
        let topic = topic(tx, name)?;
        tx.prepare_cached(
            "INSERT INTO groups (name, topic, position) VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING",
        )?
        .execute(params![group, topic])?;
        kept.push(topic.to_string());
    }
    let sql = format!("DELETE FROM groups WHERE name = ?1 AND topic NOT IN ({})", kept.join(", "));
    tx.execute(&sql, params![group])?;
    Ok(())
}

fn commit(tx: &Transaction<'_>, group: &str, positions: &[(i64, u64)]) -> rusqlite::Result<()> {
    let mut update = tx.prepare_cached(
        "UPDATE groups SET position = max(position, ?3) WHERE name = ?1 AND topic = ?2",
    )?;
    for (topic, position) in positions {
        update.execute(params![group, topic, signed(*position)])?;
    }
    Ok(())
}

fn answer(done: oneshot::Sender<Result<()>>, result: Result<()>) {
    // A caller that went away has no use for the answer; the change stands all the same.
    drop(done.send(result));
}
