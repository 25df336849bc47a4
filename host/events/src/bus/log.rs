//! The embedded bus: one durable log in one SQLite file.
//!
//! SQLite is the log's format because it is crash-safe (write-ahead log with checksums,
//! `synchronous=FULL`), reads while it writes, and gives the unique index that drops what a relay
//! sends twice. Appends that wait at the same time share one commit, and so one fsync.

mod read;
mod retention;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use airhost_core::{Clock, Error, Result, codes};
use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use self::write::Queue;
use super::{Bus, FetchLimit, GroupInfo, Record, Subscription, TopicInfo};
use crate::Envelope;

const FORMAT: i64 = 1;

/// What SQLite needs to be told before anything else.
const OPEN: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA busy_timeout = 5000;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
";

// AUTOINCREMENT, so that a place is never given twice, even after retention has emptied the log.
const TABLES: &str = "
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE events (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        topic INTEGER NOT NULL REFERENCES topics (id),
        id BLOB NOT NULL UNIQUE,
        stored_at INTEGER NOT NULL,
        envelope TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_topic ON events (topic);
    CREATE TABLE groups (
        name TEXT NOT NULL,
        topic INTEGER NOT NULL REFERENCES topics (id),
        position INTEGER NOT NULL,
        PRIMARY KEY (name, topic)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX groups_topic ON groups (topic, position);
    PRAGMA user_version = 1;
";

/// How the embedded log is kept.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The file; its folder must exist.
    pub path: PathBuf,
    /// Events are kept so long, and longer while a group has not read them.
    pub retention: Duration,
    /// Bytes of the file in use. Beyond, what every group has read is removed whatever its age;
    /// when that is not enough, appends are refused and events wait in the publishers' outboxes.
    pub max_bytes: u64,
    /// Stamps events for retention.
    pub clock: Clock,
}

impl LogConfig {
    /// A week, and 4 GiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Duration::from_secs(7 * 24 * 3_600),
            max_bytes: 4 << 30,
            clock: Clock::system(),
        }
    }
}

/// The embedded bus. Cloning it is cheap.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    config: LogConfig,
    /// What waits for the next commit.
    queue: Queue,
    writer: Mutex<Connection>,
    /// Connections for reading that nobody uses now.
    readers: Mutex<Vec<Connection>>,
    /// Counts commits that appended something: wakes subscriptions.
    appended: watch::Sender<u64>,
}

impl Log {
    /// Opens or creates the log.
    ///
    /// # Errors
    /// `events.unavailable`, where the file cannot be opened, is damaged, or was written by a
    /// newer version.
    pub async fn open(config: LogConfig) -> Result<Self> {
        blocking(move || {
            let writer = Connection::open(&config.path).map_err(unavailable)?;
            restrict(&config.path);
            writer.execute_batch(OPEN).map_err(unavailable)?;
            let version: i64 = writer
                .query_row("PRAGMA user_version", [], |row| row.get(0))
                .map_err(unavailable)?;
            match version {
                0 => writer
                    .execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} COMMIT;"))
                    .map_err(unavailable)?,
                FORMAT => {}
                _ => {
                    return Err(codes::EVENTS_UNAVAILABLE
                        .error("the event log was written by a newer version of the host"));
                }
            }
            Ok(Self(Arc::new(Inner {
                config,
                queue: Queue::default(),
                writer: Mutex::new(writer),
                readers: Mutex::default(),
                appended: watch::Sender::new(0),
            })))
        })
        .await
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("config", &self.0.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Bus for Log {
    async fn append(&self, events: &[Arc<Envelope>]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let rows = events.iter().map(|event| write::Row::new(event)).collect();
        self.write(write::Change::Append(rows)).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>> {
        let change = write::Change::Subscribe { group: group.to_owned(), topics: topics.to_vec() };
        self.write(change).await?;
        // Taken before the positions are read, so that no append in between is missed.
        let appended = self.0.appended.subscribe();
        let cursors = self.cursors(group).await?;
        Ok(Box::new(Reader { log: self.clone(), group: group.to_owned(), cursors, appended }))
    }

    async fn forget(&self, group: &str) -> Result<()> {
        self.write(write::Change::Forget { group: group.to_owned() }).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.read(read::topics).await
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.read(read::groups).await
    }

    async fn tail(&self, topics: &[String], after: Option<u64>, max: usize) -> Result<Vec<Record>> {
        let topics = topics.to_vec();
        self.read(move |connection| read::tail(connection, &topics, after, max.min(1_000))).await
    }
}

/// A group's reader of the log.
struct Reader {
    log: Log,
    group: String,
    cursors: Vec<read::Cursor>,
    appended: watch::Receiver<u64>,
}

#[async_trait]
impl Subscription for Reader {
    async fn fetch(&mut self, limit: FetchLimit) -> Result<Vec<Record>> {
        loop {
            self.appended.borrow_and_update();
            let cursors = self.cursors.clone();
            let records =
                self.log.read(move |connection| read::next(connection, &cursors, limit)).await?;
            if let Some(last) = records.last() {
                // The records are the lowest of all topics, so each topic is read up to the last.
                for cursor in &mut self.cursors {
                    cursor.position = cursor.position.max(last.position);
                }
                return Ok(records);
            }
            if self.appended.changed().await.is_err() {
                return Err(codes::EVENTS_UNAVAILABLE.error("the event log was closed"));
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        let positions = self.cursors.iter().map(|cursor| (cursor.topic, cursor.position)).collect();
        self.log.write(write::Change::Commit { group: self.group.clone(), positions }).await
    }
}

/// Runs what waits for the disk where it holds up no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(codes::EVENTS_UNAVAILABLE.error("the event log's work was cut off")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unavailable(error: rusqlite::Error) -> Error {
    tracing::error!(%error, "the event log failed");
    codes::EVENTS_UNAVAILABLE.error("the event log cannot be read or written now")
}

/// Events hold personal data: the file is for the host's user alone.
fn restrict(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        if let Err(error) = std::fs::set_permissions(path, mode) {
            tracing::warn!(%error, "the event log's file mode cannot be set");
        }
    }
}

fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000;").map_err(unavailable)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
