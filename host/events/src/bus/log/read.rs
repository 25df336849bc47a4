//! What is read from the log, each on a connection of its own.

use std::{fmt::Write as _, sync::Arc};

use airhost_core::Result;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::{FetchLimit, GroupInfo, Log, Record, TopicInfo, blocking, open_reader, unavailable};
use crate::Envelope;

/// Idle connections kept for the next read.
const IDLE: usize = 8;

/// How far a topic is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) topic: i64,
    pub(super) position: u64,
}

impl Log {
    /// Reads on a connection of the pool.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let idle = inner.readers.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open_reader(&inner.config.path)?,
            };
            let result = work(&connection);
            let mut readers = inner.readers.lock();
            if readers.len() < IDLE {
                readers.push(connection);
            }
            result
        })
        .await
    }

    /// Where a group's reading of each of its topics begins.
    pub(super) async fn cursors(&self, group: &str) -> Result<Vec<Cursor>> {
        let group = group.to_owned();
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached("SELECT topic, position FROM groups WHERE name = ?1")
                .map_err(unavailable)?;
            let rows = statement
                .query_map(params![group], |row| {
                    Ok(Cursor { topic: row.get(0)?, position: place(row.get(1)?) })
                })
                .map_err(unavailable)?;
            rows.collect::<Result<_, _>>().map_err(unavailable)
        })
        .await
    }
}

/// The lowest places behind the cursors, over all topics.
pub(super) fn next(
    connection: &Connection,
    cursors: &[Cursor],
    limit: FetchLimit,
) -> Result<Vec<Record>> {
    if cursors.is_empty() {
        return Ok(Vec::new());
    }
    // Each part is ordered by the index, so SQLite merges them and stops at the limit.
    let mut sql = String::new();
    let mut values = Vec::with_capacity(cursors.len() * 2 + 1);
    for (at, cursor) in cursors.iter().enumerate() {
        let union = if at == 0 { "" } else { " UNION ALL " };
        let _infallible = write!(
            sql,
            "{union}SELECT position, envelope FROM events WHERE topic = ?{} AND position > ?{}",
            at * 2 + 1,
            at * 2 + 2
        );
        values.push(cursor.topic);
        values.push(signed(cursor.position));
    }
    let _infallible = write!(sql, " ORDER BY position LIMIT ?{}", cursors.len() * 2 + 1);
    values.push(i64::try_from(limit.events).unwrap_or(i64::MAX));
    records(connection, &sql, &values, limit.bytes)
}

pub(super) fn tail(
    connection: &Connection,
    topics: &[String],
    after: Option<u64>,
    max: usize,
) -> Result<Vec<Record>> {
    let ids = topic_ids(connection, topics)?;
    if !topics.is_empty() && ids.is_empty() {
        return Ok(Vec::new());
    }
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    let among =
        if ids.is_empty() { String::new() } else { format!("AND topic IN ({})", list.join(", ")) };
    let order = if after.is_some() { "" } else { "DESC" };
    let sql = format!(
        "SELECT position, envelope FROM events WHERE position > ?1 {among} ORDER BY position {order} LIMIT ?2"
    );
    let values = [signed(after.unwrap_or(0)), i64::try_from(max).unwrap_or(i64::MAX)];
    let mut records = records(connection, &sql, &values, usize::MAX)?;
    records.sort_by_key(|record| record.position);
    Ok(records)
}

fn topic_ids(connection: &Connection, topics: &[String]) -> Result<Vec<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM topics WHERE name = ?1").map_err(unavailable)?;
    let mut ids = Vec::with_capacity(topics.len());
    for topic in topics {
        ids.extend(
            statement
                .query_row(params![topic], |row| row.get::<_, i64>(0))
                .optional()
                .map_err(unavailable)?,
        );
    }
    Ok(ids)
}

fn records(
    connection: &Connection,
    sql: &str,
    values: &[i64],
    max_bytes: usize,
) -> Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(unavailable)?;
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next().map_err(unavailable)? {
        let position = place(row.get(0).map_err(unavailable)?);
        let json = row.get_ref(1).and_then(|value| Ok(value.as_str()?)).map_err(unavailable)?;
        bytes = bytes.saturating_add(json.len());
        if bytes > max_bytes && !found.is_empty() {
            break;
        }
        found.push(Record { position, event: Arc::new(Envelope::from_json(json)?) });
    }
    Ok(found)
}

pub(super) fn topics(connection: &Connection) -> Result<Vec<TopicInfo>> {
    let sql = "SELECT t.name, count(e.position), coalesce(min(e.position), 0), coalesce(max(e.position), 0)
        FROM topics t LEFT JOIN events e ON e.topic = t.id GROUP BY t.id ORDER BY t.name";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement
        .query_map([], |row| {
            Ok(TopicInfo {
                topic: row.get(0)?,
                events: place(row.get(1)?),
                first: place(row.get(2)?),
                last: place(row.get(3)?),
            })
        })
        .map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn groups(connection: &Connection) -> Result<Vec<GroupInfo>> {
    let sql = "SELECT g.name, t.name, g.position,
            (SELECT count(*) FROM events e WHERE e.topic = g.topic AND e.position > g.position)
        FROM groups g JOIN topics t ON t.id = g.topic ORDER BY g.name, t.name";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement
        .query_map([], |row| {
            Ok(GroupInfo {
                group: row.get(0)?,
                topic: row.get(1)?,
                position: place(row.get(2)?),
                lag: place(row.get(3)?),
            })
        })
        .map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

fn place(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
