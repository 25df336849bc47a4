//! The relational store of a service: one contract, an engine behind it.
//!
//! A [`Database`] belongs to one service. Guest statements go through [`Database`] and
//! [`Transaction`] and are checked; the host's own tables (`_airhost_*`, in the same database so
//! that one commit covers both) are reached through the `host_*` methods, which no glue to a
//! guest may call.

mod columns;

mod catalog;
mod host_schema;
mod migration;
mod portable;
pub mod sqlite;
pub mod statement;
mod sweep;

use std::{sync::Arc, time::Duration};

use airhost_core::{Deadline, Result};
use async_trait::async_trait;

pub use self::{
    host_schema::HostSchema,
    migration::{check_portable, postgres_statements},
    portable::Portable,
    sqlite::{Sqlite, SqliteConfig, read_only_query},
    sweep::sweep,
};
pub(crate) use statement::MOST_PARAMETERS;

/// Most rows of a result.
pub const RESULT_ROWS: usize = 10_000;
/// Most bytes of a result in memory.
pub const RESULT_BYTES: usize = 8 << 20;
/// How long a transaction lives at most.
pub const TRANSACTION_LIFE: Duration = Duration::from_secs(5);

pub use self::columns::Columns;

/// A value of a column or parameter; mirrors `value` of `wit/storage/sql.wit`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Boolean(bool),
    /// A 64-bit integer.
    Bigint(i64),
    /// A 64-bit float.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Microseconds since the epoch, UTC.
    Timestamp(i64),
    /// A UUID as 36 characters, lower case.
    Uuid(String),
    /// Decimal digits with an optional sign and point.
    Decimal(String),
    /// A JSON text.
    Json(String),
}

/// The whole result of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Column names in order, shared between results of the same statement.
    pub columns: Arc<[String]>,
    /// One list a row.
    pub rows: Vec<Vec<Value>>,
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads one consistent snapshot.
    Read,
    /// Reads and writes.
    Write,
}

/// When a migration runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// At deploy; compatible with the active revision.
    Expand,
    /// After the old revision has retired; blocks rollback.
    Contract,
}

/// One step of a schema's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number and name, as `0001_users`; migrations run in the order of their names.
    pub name: String,
    /// When it runs.
    pub phase: Phase,
    /// Portable SQL: statements separated by `;`.
    pub sql: String,
}

/// What applying migrations did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Names that ran now.
    pub ran: Vec<String>,
    /// `contract` migrations that wait for the old revision to retire.
    pub waiting: Vec<String>,
}

/// A service's database.
#[async_trait]
pub trait Database: Send + Sync {
    /// Runs a guest's `SELECT` (or write with `RETURNING`) by itself.
    async fn query(&self, statement: &str, params: Vec<Value>, deadline: Deadline) -> Result<Rows>;

    /// Runs a guest's write by itself; durable when it returns.
    async fn execute(&self, statement: &str, params: Vec<Value>, deadline: Deadline)
    -> Result<u64>;

    /// Opens a transaction; waits for its turn no longer than the deadline.
    async fn begin(&self, access: Access, deadline: Deadline) -> Result<Box<dyn Transaction>>;

    /// Brings the schema to what `migrations` say, under a lock, in one transaction: all that
    /// wait and may run now, or none. `contract` says whether `contract` migrations may run.
    async fn migrate(&self, migrations: &[Migration], contract: bool) -> Result<Applied>;

    /// Tries the migrations on a scratch copy of the schema; changes nothing.
    async fn probe_migrations(&self, migrations: &[Migration]) -> Result<()>;

    /// As `query`, for the host's own tables.
    async fn host_query(
        &self,
        statement: &str,
        params: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Rows>;

    /// As `execute`, for the host's own tables.
    async fn host_execute(
        &self,
        statement: &str,
        params: Vec<Value>,
        deadline: Deadline,
    ) -> Result<u64>;

    /// Whether the database answers.
    async fn ping(&self, deadline: Deadline) -> Result<()>;

    /// Finishes what is running and closes.
    async fn close(&self);
}

/// An open transaction. Dropping it rolls back. After 5 s, or at the deadline it was begun with,
/// it is rolled back and every method answers `tx.expired`; after commit or rollback, `tx.closed`.
#[async_trait]
pub trait Transaction: Send + Sync {
    /// What it may do.
    fn access(&self) -> Access;

    /// Runs a guest's query in it.
    async fn query(&self, statement: &str, params: Vec<Value>) -> Result<Rows>;

    /// Runs a guest's write in it.
    async fn execute(&self, statement: &str, params: Vec<Value>) -> Result<u64>;

    /// As `query`, for the host's own tables.
    async fn host_query(&self, statement: &str, params: Vec<Value>) -> Result<Rows>;

    /// As `execute`, for the host's own tables.
    async fn host_execute(&self, statement: &str, params: Vec<Value>) -> Result<u64>;

    /// Calls this once the commit is durable (never after a rollback): wakes relays and workers.
    fn on_commit(&self, wake: Arc<dyn Fn() + Send + Sync>);

    /// Makes it durable.
    async fn commit(&self) -> Result<()>;

    /// Undoes it.
    async fn rollback(&self) -> Result<()>;
}
