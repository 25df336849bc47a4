//! Which keys wait, and until when: what the parked table says, kept in memory.

use std::{collections::HashMap, time::Duration};

use airhost_core::{Deadline, Result};
use airhost_storage::sql::{Columns, Database, Value};

use super::Key;

/// Nothing more is fetched while so many keys wait: a service that fails at everything must not
/// move the whole bus into its own database. Below what one query answers by more than one batch.
const MOST_KEYS: usize = 9_000;
/// The same for events.
const MOST_EVENTS: u64 = 100_000;

#[derive(Debug)]
struct Waiting {
    /// When the first event of the key is due, in microseconds since the epoch.
    due: i64,
    events: u64,
}

/// The keys that wait.
#[derive(Debug, Default)]
pub(super) struct Blocked(HashMap<Key, Waiting>);

impl Blocked {
    // The first event of a key is the only one that has a time; those behind it have 0.
    pub(super) async fn load(database: &dyn Database, deadline: Deadline) -> Result<Self> {
        let sql = "SELECT topic, subject, max(next_at), count(*) FROM _airhost_parked
            GROUP BY topic, subject ORDER BY topic, subject LIMIT 10000";
        let mut keys = HashMap::new();
        for row in database.host_query(sql, Vec::new(), deadline).await?.rows {
            let mut row = Columns::of(row);
            let key = Key { topic: row.text()?, subject: row.text()? };
            keys.insert(key, Waiting { due: row.bigint()?, events: row.integer()? });
        }
        Ok(Self(keys))
    }

    /// Reads one key anew.
    pub(super) async fn refresh(
        &mut self,
        database: &dyn Database,
        key: &Key,
        deadline: Deadline,
    ) -> Result<()> {
        let sql = "SELECT max(next_at), count(*) FROM _airhost_parked
            WHERE topic = $1 AND subject = $2";
        let params = vec![Value::Text(key.topic.clone()), Value::Text(key.subject.clone())];
        let rows = database.host_query(sql, params, deadline).await?.rows;
        let mut row = Columns::of(rows.into_iter().next().unwrap_or_default());
        let (due, events) = (row.optional_bigint()?.unwrap_or(0), row.integer()?);
        if events == 0 {
            self.0.remove(key);
        } else {
            self.0.insert(key.clone(), Waiting { due, events });
        }
        Ok(())
    }

    /// An event was parked; `due` is there if it is the one that failed.
    pub(super) fn parked(&mut self, key: &Key, due: Option<i64>) {
        let waiting = self.0.entry(key.clone()).or_insert(Waiting { due: 0, events: 0 });
        waiting.events += 1;
        if let Some(due) = due {
            waiting.due = due;
        }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// Whether more events may be fetched.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MOST_KEYS && self.events() < MOST_EVENTS
    }

    pub(super) fn keys(&self) -> usize {
        self.0.len()
    }

    pub(super) fn events(&self) -> u64 {
        self.0.values().map(|waiting| waiting.events).sum()
    }

    /// How long until a key is due; none if no key waits.
    pub(super) fn next_due(&self, now: i64) -> Option<Duration> {
        let due = self.0.values().map(|waiting| waiting.due).min()?;
        Some(Duration::from_micros(u64::try_from(due.saturating_sub(now)).unwrap_or(0)))
    }

    /// The key that has been due longest.
    pub(super) fn due(&self, now: i64) -> Option<Key> {
        let due = self.0.iter().filter(|(_, waiting)| waiting.due <= now);
        due.min_by_key(|(_, waiting)| waiting.due).map(|(key, _)| key.clone())
    }
}
