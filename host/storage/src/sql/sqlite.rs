//! The embedded engine: one SQLite file for each database.
//!
//! One thread writes ([`writer`]), a few connections read ([`reader`]). Acknowledged writes are
//! on the disk.

mod connection;
mod error;
mod migrate;
mod read_only;
mod reader;
mod transaction;
mod writer;

use std::{
    fmt, fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use airhost_core::{Deadline, Error, Result, codes, make_private_folder};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

pub use read_only::read_only_query;

use self::{
    connection::{Call, CancelOnDrop, Conn, Outcome, Role},
    reader::Readers,
    transaction::{
        ReadTransaction, SharedCatalog, WriteTransaction, answers, into_count, into_rows,
    },
    writer::{Job, Run, Writer, queue_busy},
};
use super::{
    Access, Applied, Database, HostSchema, Migration, Rows, TRANSACTION_LIFE, Transaction, Value,
    statement::{Kind, Origin, Statements},
};
pub(crate) use connection::DECIMAL_COLLATION;

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The file. Its folder is made if need be, for the owner only.
    pub path: PathBuf,
    /// Connections that read at once.
    pub readers: usize,
    /// Writes and transactions that may wait; more are answered `sql.busy`.
    pub queue: usize,
    /// How long one waits for its turn to write at most.
    pub queue_wait: Duration,
    /// The host's own tables.
    pub host_schemas: Vec<HostSchema>,
}

impl SqliteConfig {
    /// A file, with 4 readers, 1 024 waiting writes and 5 s of waiting.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            queue: 1_024,
            queue_wait: Duration::from_secs(5),
            host_schemas: Vec::new(),
        }
    }

    /// With these tables of the host.
    #[must_use]
    pub fn with_host_schemas(mut self, schemas: impl IntoIterator<Item = HostSchema>) -> Self {
        self.host_schemas.extend(schemas);
        self
    }
}

/// What the database and its transactions share.
struct Shared {
    statements: Arc<Statements>,
    catalog: SharedCatalog,
}

/// A database in a SQLite file.
pub struct Sqlite {
    config: SqliteConfig,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    jobs: mpsc::Sender<Job>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens or creates a database and brings the host's tables up to date.
    ///
    /// # Errors
    /// `sql.unavailable`; `migration.changed` and `migration.failed` for the host's own tables.
    pub async fn open(config: SqliteConfig) -> Result<Self> {
        let opening = tokio::task::spawn_blocking(move || Self::open_blocking(config));
        opening.await.map_err(|_| closed())?
    }

    fn open_blocking(config: SqliteConfig) -> Result<Self> {
        create(&config.path).map_err(|error| {
            tracing::error!(path = %config.path.display(), %error, "the database cannot be created");
            codes::SQL_UNAVAILABLE.error("the database cannot be created")
        })?;
        let conn = Conn::open(&config.path, Role::Writer)?;
        migrate::prepare(&conn.db, &config.host_schemas)?;
        let catalog = Arc::new(ArcSwap::from_pointee(migrate::load_catalog(&conn.db, 1)?));
        let statements = Arc::new(Statements::default());
        let (jobs, queue) = mpsc::channel(config.queue.max(1));
        let writer = Writer {
            conn,
            jobs: queue,
            catalog: Arc::clone(&catalog),
            statements: Arc::clone(&statements),
        };
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer.work())
            .map_err(|error| {
            tracing::error!(%error, "no thread for the database");
            codes::SQL_UNAVAILABLE.error("the database cannot be opened")
        })?;
        let readers =
            Readers::new(config.path.clone(), config.readers.max(1), Arc::clone(&catalog));
        let shared = Arc::new(Shared { statements, catalog });
        Ok(Self { config, shared, readers, jobs })
    }

    async fn run(
        &self,
        text: &str,
        params: Vec<Value>,
        deadline: Deadline,
        origin: Origin,
        rows_wanted: bool,
    ) -> Result<Outcome> {
        let statement = self.shared.statements.get(text, origin)?;
        answers(&statement, rows_wanted)?;
        let params = self.shared.catalog.load().conform(&statement, params)?;
        if statement.kind() == Kind::Read {
            let lent = self.readers.lend(deadline).await?;
            let (_, rows) = lent.query(&statement, params, deadline).await;
            return rows.map(Outcome::Rows);
        }
        let call = Call::new(deadline.instant());
        let cancel = CancelOnDrop(Arc::clone(&call));
        let (reply, answer) = oneshot::channel();
        let run = Run { statement, params, call: Arc::clone(&call), rows_wanted, reply };
        let outcome = self.turn(Job::Run(run), &call, answer, deadline).await;
        drop(cancel);
        outcome
    }

    /// Sends a job to the writer and waits for its turn as long as allowed, and for its answer
    /// once it has begun: the writer itself stops it at its deadline.
    async fn turn<T>(
        &self,
        job: Job,
        call: &Call,
        answer: oneshot::Receiver<Result<T>>,
        deadline: Deadline,
    ) -> Result<T> {
        let waits_until = deadline.at_most(self.config.queue_wait).instant();
        let sent = tokio::time::timeout_at(waits_until, self.jobs.send(job)).await;
        sent.map_err(|_| queue_busy())?.map_err(|_| closed())?;
        let mut answer = answer;
        let answered = match tokio::time::timeout_at(waits_until, &mut answer).await {
            Ok(answered) => answered,
            Err(_) if call.take() => return Err(queue_busy()),
            Err(_) => answer.await,
        };
        match answered {
            Ok(result) => result,
            // Skipped because it came too late, or the writer is gone.
            Err(_) if call.take() || !self.jobs.is_closed() => Err(queue_busy()),
            Err(_) => Err(closed().with("outcome", "unknown")),
        }
    }
}

fn closed() -> Error {
    codes::SQL_UNAVAILABLE.error("the database is closed")
}

/// Makes the folder and the file, for the owner only; SQLite gives its other files the same mode.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_private_folder(folder)?;
    }
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

#[async_trait]
impl Database for Sqlite {
    async fn query(&self, statement: &str, params: Vec<Value>, deadline: Deadline) -> Result<Rows> {
        self.run(statement, params, deadline, Origin::Guest, true).await.map(into_rows)
    }

    async fn execute(
        &self,
        statement: &str,
        params: Vec<Value>,
        deadline: Deadline,
    ) -> Result<u64> {
        self.run(statement, params, deadline, Origin::Guest, false).await.map(into_count)
    }

    async fn begin(&self, access: Access, deadline: Deadline) -> Result<Box<dyn Transaction>> {
        match access {
            Access::Read => {
                let lent = self.readers.lend(deadline).await?;
                lent.begin()?;
                let ends = deadline.at_most(TRANSACTION_LIFE);
                Ok(Box::new(ReadTransaction::new(lent, Arc::clone(&self.shared), ends)))
            }
            Access::Write => {
                let call = Call::new(deadline.instant());
                let (reply, answer) = oneshot::channel();
                let job = Job::Begin { call: Arc::clone(&call), reply };
                let session = self.turn(job, &call, answer, deadline).await?;
                Ok(Box::new(WriteTransaction { session, shared: Arc::clone(&self.shared) }))
            }
        }
    }

    async fn migrate(&self, migrations: &[Migration], contract: bool) -> Result<Applied> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Migrate { migrations: migrations.to_vec(), contract, reply };
        self.jobs.send(job).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn probe_migrations(&self, migrations: &[Migration]) -> Result<()> {
        let path = self.config.path.clone();
        let migrations = migrations.to_vec();
        let probe = tokio::task::spawn_blocking(move || {
            let live = Conn::open(&path, Role::Reader)?;
            let scratch = Conn::open(&path, Role::Scratch)?;
            migrate::copy_schema(&live.db, &scratch.db)?;
            migrate::apply(&scratch.db, &migrations, true).map(drop)
        });
        probe.await.map_err(|_| closed())?
    }

    async fn host_query(
        &self,
        statement: &str,
        params: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Rows> {
        self.run(statement, params, deadline, Origin::Host, true).await.map(into_rows)
    }

    async fn host_execute(
        &self,
        statement: &str,
        params: Vec<Value>,
        deadline: Deadline,
    ) -> Result<u64> {
        self.run(statement, params, deadline, Origin::Host, false).await.map(into_count)
    }

    async fn ping(&self, deadline: Deadline) -> Result<()> {
        self.host_query("SELECT count(*) FROM _airhost_migrations", Vec::new(), deadline)
            .await
            .map(drop)
    }

    async fn close(&self) {
        self.readers.close();
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Close { reply }).await.is_ok() {
            drop(answer.await);
        }
    }
}

#[cfg(test)]
mod tests;
