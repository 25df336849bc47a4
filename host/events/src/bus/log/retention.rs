//! What is removed from the log, and when. An event that a group has not read is never removed.

use std::{sync::Arc, time::Duration};

use airhost_core::Result;
use rusqlite::{Connection, params};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Inner, Log, blocking, unavailable, write::used_bytes};

/// Events removed in one commit, so that appends wait for no long one.
const CHUNK: i64 = 1_000;
/// How often the log is looked over.
const EVERY: Duration = Duration::from_secs(60);

impl Log {
    /// Removes what may go, now and every minute, until told to stop.
    pub async fn run_retention(self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = timer.tick() => {}
            }
            match self.sweep().await {
                Ok(0) => {}
                Ok(removed) => tracing::debug!(removed, "events removed by retention"),
                Err(error) => tracing::warn!(%error, "retention of the event log failed"),
            }
        }
    }

    /// Removes what may go by age or size and answers how many events that were.
    ///
    /// # Errors
    /// `events.unavailable`.
    pub async fn sweep(&self) -> Result<u64> {
        let mut removed = 0;
        loop {
            let inner = Arc::clone(&self.0);
            // The writer is let go between two chunks.
            match blocking(move || inner.remove_chunk()).await? {
                0 => return Ok(removed),
                count => removed += count,
            }
        }
    }
}

impl Inner {
    fn remove_chunk(&self) -> Result<u64> {
        let writer = self.writer.lock();
        let age = i64::try_from(self.config.retention.as_micros()).unwrap_or(i64::MAX);
        let old = self.config.clock.now_micros().saturating_sub(age);
        let by_age = remove(&writer, old)?;
        if by_age > 0 {
            return Ok(by_age);
        }
        if used_bytes(&writer)? >= self.config.max_bytes / 10 * 9 {
            return remove(&writer, i64::MAX);
        }
        Ok(0)
    }
}

/// Removes the oldest events that were stored before a moment and that every group has read.
fn remove(writer: &Connection, before: i64) -> Result<u64> {
    let sql = "DELETE FROM events WHERE position IN (
            SELECT e.position FROM events e WHERE e.stored_at < ?1 AND e.position <= coalesce(
                (SELECT min(g.position) FROM groups g WHERE g.topic = e.topic), 9223372036854775807)
            ORDER BY e.position LIMIT ?2)";
    let mut statement = writer.prepare_cached(sql).map_err(unavailable)?;
    let removed = statement.execute(params![before, CHUNK]).map_err(unavailable)?;
    Ok(removed as u64)
}
