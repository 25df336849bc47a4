//! One connection to SQLite: how it is opened, what it lets a statement do, and how a statement
//! is run on it.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
    time::Duration,
};

use airhost_core::{Error, Result, codes};
use parking_lot::Mutex;
use rusqlite::{
    CachedStatement, Connection, OpenFlags,
    config::DbConfig,
    functions::{Context, FunctionFlags},
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::ValueRef,
};
use tokio::time::Instant;

use super::{
    super::{
        MOST_PARAMETERS, Portable, RESULT_BYTES, RESULT_ROWS, Rows, Value,
        catalog::Catalog,
        portable::{JsonKey, compare_decimals, json_get, json_text},
        statement::{JSON_GET, JSON_TEXT, Kind, Origin, Output, Resolved, Statement},
    },
    error::statement_error,
};

/// The collation of `decimal` columns.
pub(crate) const DECIMAL_COLLATION: &str = "airhost_decimal";
/// Virtual machine steps between two looks at the deadline: some 20 µs.
const STEPS: i32 = 1_000;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that writes.
    Writer,
    /// One of those that read.
    Reader,
    /// A schema in memory to try migrations on.
    Scratch,
}

/// A statement that someone waits for.
#[derive(Debug)]
pub(super) struct Call {
    /// When it is given up.
    pub(super) deadline: Instant,
    /// Whether nobody waits any more.
    pub(super) cancelled: AtomicBool,
    /// Whether it was taken from the queue, or given up before: whoever is first decides, so
    /// that what is answered with `sql.busy` has not happened.
    taken: AtomicBool,
}

impl Call {
    pub(super) fn new(deadline: Instant) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            cancelled: AtomicBool::new(false),
            taken: AtomicBool::new(false),
        })
    }

    /// Takes the call: to run it, or to give it up. Only one can.
    pub(super) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    /// Why it should not go on.
    pub(super) fn stop(&self) -> Option<Stop> {
        if self.cancelled.load(Ordering::Relaxed) {
            Some(Stop::Cancelled)
        } else if Instant::now() >= self.deadline {
            Some(Stop::Deadline)
        } else {
            None
        }
    }
}

/// Cancels a call when the future that waits for it is dropped.
#[derive(Debug)]
pub(super) struct CancelOnDrop(pub(super) Arc<Call>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Why a statement was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its deadline is over.
    Deadline,
    /// Nobody waits for it.
    Cancelled,
    /// It needs more steps than it may take on this thread.
    Budget,
}

/// How a statement failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// With an error for the caller.
    Error(Error),
    /// It was stopped.
    Stopped(Stop),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Error(statement_error(&error))
    }
}

impl Failure {
    /// What the caller is told.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Stopped(Stop::Deadline) => {
                codes::DEADLINE_EXCEEDED.error("the statement took too long")
            }
            Self::Stopped(Stop::Cancelled | Stop::Budget) => {
                codes::CANCELLED_CALLER.error("the caller left before the statement was done")
            }
        }
    }
}

/// What a statement answers.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Rows.
    Rows(Rows),
    /// How many rows it touched.
    Count(u64),
}

/// What the authorizer lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// The engine's own statements.
    Engine = 0,
    /// The host's data statements.
    Host = 1,
    /// A guest's data statements.
    Guest = 2,
}

/// What the callbacks of a connection look at.
#[derive(Debug)]
struct Control {
    mode: AtomicU8,
    call: Mutex<Option<Arc<Call>>>,
    /// Looks at the deadline that are left on this thread; negative for no bound.
    budget: AtomicI64,
    stop: Mutex<Option<Stop>>,
}

impl Control {
    /// Called by SQLite while a statement runs; answers whether to interrupt it.
    fn progress(&self) -> bool {
        let call = self.call.lock();
        let Some(call) = &*call else { return false };
        let budget = self.budget.load(Ordering::Relaxed);
        let stop = match budget {
            0 => Some(Stop::Budget),
            _ => call.stop(),
        };
        if budget > 0 {
            self.budget.store(budget - 1, Ordering::Relaxed);
        }
        if stop.is_some() {
            *self.stop.lock() = stop;
        }
        stop.is_some()
    }

    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let mode = self.mode.load(Ordering::Relaxed);
        if mode == Mode::Engine as u8 {
            return match context.action {
                AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
                _ => Authorization::Allow,
            };
        }
        let table_allowed = |table: &str| {
            let hosts = mode == Mode::Guest as u8 && table.starts_with("_airhost");
            if hosts || table.starts_with("sqlite_") {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        };
        match context.action {
            AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
            AuthAction::Read { table_name, .. }
            | AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => table_allowed(table_name),
            AuthAction::Function { function_name } => {
                let harmful = ["load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"];
                if harmful.iter().any(|name| function_name.eq_ignore_ascii_case(name)) {
                    Authorization::Deny
                } else {
                    Authorization::Allow
                }
            }
            _ => Authorization::Deny,
        }
    }
}

/// A connection.
pub(super) struct Conn {
    pub(super) db: Connection,
    control: Arc<Control>,
    /// The version of the schema that the cached statements were prepared for.
    schema: u64,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Conn {
    /// Opens a connection; `path` is not looked at for a scratch schema.
    pub(super) fn open(path: &Path, role: Role) -> Result<Self> {
        Self::try_open(path, role).map_err(|error| {
            tracing::error!(path = %path.display(), %error, "the database cannot be opened");
            codes::SQL_UNAVAILABLE.error("the database cannot be opened")
        })
    }

    fn try_open(path: &Path, role: Role) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = match role {
            Role::Scratch => Connection::open_in_memory()?,
            Role::Writer | Role::Reader => Connection::open_with_flags(path, flags)?,
        };
        db.busy_timeout(Duration::from_secs(1))?;
        for (config, on) in [
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        ] {
            db.set_db_config(config, on)?;
        }
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_LENGTH, 16 << 20),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 2 << 20),
            (Limit::SQLITE_LIMIT_COLUMN, 500),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1_000),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, 64),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 20),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            db.set_limit(limit, most)?;
        }
        db.set_limit(
            Limit::SQLITE_LIMIT_VARIABLE_NUMBER,
            i32::try_from(MOST_PARAMETERS).unwrap_or(i32::MAX),
        )?;
        if role == Role::Writer {
            // FULL: with WAL, an acknowledged commit survives a power cut and not only a crash.
            db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 67108864;")?;
        }
        db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA case_sensitive_like = ON; \
             PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;",
        )?;
        if role == Role::Reader {
            db.execute_batch("PRAGMA query_only = ON")?;
        }
        db.set_prepared_statement_cache_capacity(256);
        db.create_collation(DECIMAL_COLLATION, compare_decimals)?;
        let pure = FunctionFlags::SQLITE_UTF8
            | FunctionFlags::SQLITE_DETERMINISTIC
            | FunctionFlags::SQLITE_INNOCUOUS;
        db.create_scalar_function(JSON_GET, 2, pure, |context| json_function(context, json_get))?;
        db.create_scalar_function(JSON_TEXT, 2, pure, |context| json_function(context, json_text))?;
        let control = Arc::new(Control {
            mode: AtomicU8::new(Mode::Engine as u8),
            call: Mutex::new(None),
            budget: AtomicI64::new(-1),
            stop: Mutex::new(None),
        });
        let progress = Arc::clone(&control);
        db.progress_handler(STEPS, Some(move || progress.progress()))?;
        let authorizer = Arc::clone(&control);
        db.authorizer(Some(move |context: AuthContext<'_>| authorizer.authorize(&context)))?;
        // Last: it forbids some of the above.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        Ok(Self { db, control, schema: 0 })
    }

    /// Runs a statement of the engine itself.
    pub(super) fn engine(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.raw_execute().map(drop)
    }

    /// Rolls back what is open, if anything.
    pub(super) fn rollback(&self) -> rusqlite::Result<()> {
        if self.db.is_autocommit() { Ok(()) } else { self.engine("ROLLBACK") }
    }

    /// Runs a checked statement. `budget` bounds the steps it may take on this thread, in
    /// thousands.
    pub(super) fn run(
        &mut self,
        statement: &Statement,
        params: &[Value],
        call: &Arc<Call>,
        budget: Option<u32>,
        catalog: &Catalog,
        rows_wanted: bool,
    ) -> Result<Outcome, Failure> {
        if self.schema != catalog.version {
            self.db.flush_prepared_statement_cache();
            self.schema = catalog.version;
        }
        let mode = match statement.origin {
            Origin::Guest => Mode::Guest,
            Origin::Host => Mode::Host,
        };
        let armed = self.arm(mode, call, budget);
        let outcome = self.run_armed(statement, params, catalog, rows_wanted);
        drop(armed);
        outcome.map_err(|failure| match self.control.stop.lock().take() {
            Some(stop) => Failure::Stopped(stop),
            None => failure,
        })
    }

    fn arm(&self, mode: Mode, call: &Arc<Call>, budget: Option<u32>) -> Armed {
        let control = Arc::clone(&self.control);
        control.mode.store(mode as u8, Ordering::Relaxed);
        control.budget.store(budget.map_or(-1, i64::from), Ordering::Relaxed);
        *control.stop.lock() = None;
        *control.call.lock() = Some(Arc::clone(call));
        Armed(control)
    }

    /// As for a guest's statement, for tests of the authorizer.
    #[cfg(test)]
    pub(super) fn arm_guest(&self) -> impl Drop + use<> {
        self.arm(Mode::Guest, &Call::new(Instant::now() + Duration::from_secs(60)), None)
    }

    fn run_armed(
        &self,
        statement: &Statement,
        params: &[Value],
        catalog: &Catalog,
        rows_wanted: bool,
    ) -> Result<Outcome, Failure> {
        let mut prepared = self.db.prepare_cached(statement.sqlite())?;
        for (at, value) in params.iter().enumerate() {
            bind(&mut prepared, at + 1, value)?;
        }
        let writes = matches!(statement.kind, Kind::Write { .. });
        if !rows_wanted {
            let mut rows = prepared.raw_query();
            while rows.next()?.is_some() {}
            drop(rows);
            return Ok(Outcome::Count(if writes { self.db.changes() } else { 0 }));
        }
        let resolved = resolve(&prepared, statement, catalog);
        let mut answer = Rows { columns: Arc::clone(&resolved.columns), rows: Vec::new() };
        let mut size = 0;
        let mut rows = prepared.raw_query();
        while let Some(row) = rows.next()? {
            if answer.rows.len() == RESULT_ROWS {
                return Err(too_large());
            }
            let mut values = Vec::with_capacity(resolved.types.len());
            for (at, portable) in resolved.types.iter().enumerate() {
                let value = read(row.get_ref(at)?, *portable).map_err(Failure::Error)?;
                size += size_of::<Value>() + content_size(&value);
                values.push(value);
            }
            if size > RESULT_BYTES {
                return Err(too_large());
            }
            answer.rows.push(values);
        }
        Ok(Outcome::Rows(answer))
    }
}

/// Lets a connection run what it was armed for; afterwards it is the engine's again.
struct Armed(Arc<Control>);

impl Drop for Armed {
    fn drop(&mut self) {
        *self.0.call.lock() = None;
        self.0.mode.store(Mode::Engine as u8, Ordering::Relaxed);
    }
}

fn too_large() -> Failure {
    Failure::Error(
        codes::SQL_RESULT_TOO_LARGE.error("the result has more than 10 000 rows or 8 MiB"),
    )
}

/// The names and types of the result: from SQLite where a column is what it is in a table, from
/// the text where it is computed.
fn resolve(
    prepared: &CachedStatement<'_>,
    statement: &Statement,
    catalog: &Catalog,
) -> Arc<Resolved> {
    if let Some(resolved) = &*statement.resolved.load()
        && resolved.version == catalog.version
    {
        return Arc::clone(resolved);
    }
    let metadata = prepared.columns_with_metadata();
    let count = metadata.len();
    let outputs = &statement.outputs;
    // Up to a `*`, items and columns go together from the front; after it, from the back.
    let star = outputs.iter().position(|output| *output == Output::Star);
    let last_star = outputs.iter().rposition(|output| *output == Output::Star);
    let item = |at: usize| match (star, last_star) {
        (Some(star), _) if at < star => outputs.get(at),
        (Some(_), Some(last)) => {
            let from_back = count - at;
            let after = outputs.len() - 1 - last;
            if from_back <= after { outputs.get(outputs.len() - from_back) } else { None }
        }
        _ => outputs.get(at),
    };
    let mut columns = Vec::with_capacity(count);
    let mut types = Vec::with_capacity(count);
    for (at, column) in metadata.enumerate() {
        let origin = column
            .table_name()
            .zip(column.origin_name())
            .and_then(|(table, name)| catalog.column(table, name));
        let (name, hint) = match item(at) {
            Some(Output::Column { name, hint }) => (name.clone(), catalog.resolve(hint)),
            _ => (column.name().to_owned(), None),
        };
        columns.push(name);
        types.push(origin.or(hint));
    }
    let resolved = Arc::new(Resolved { version: catalog.version, columns: columns.into(), types });
    statement.resolved.store(Some(Arc::clone(&resolved)));
    resolved
}

fn bind(prepared: &mut CachedStatement<'_>, index: usize, value: &Value) -> rusqlite::Result<()> {
    match value {
        Value::Null => prepared.raw_bind_parameter(index, rusqlite::types::Null),
        Value::Boolean(value) => prepared.raw_bind_parameter(index, value),
        Value::Bigint(value) | Value::Timestamp(value) => prepared.raw_bind_parameter(index, value),
        Value::Double(value) => prepared.raw_bind_parameter(index, value),
        Value::Text(value) | Value::Uuid(value) | Value::Decimal(value) | Value::Json(value) => {
            prepared.raw_bind_parameter(index, value)
        }
        Value::Bytes(value) => prepared.raw_bind_parameter(index, value),
    }
}

/// A stored value as its portable type, or by how it is stored where that does not fit.
fn read(value: ValueRef<'_>, portable: Option<Portable>) -> Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => match portable {
            Some(Portable::Boolean) => Value::Boolean(number != 0),
            Some(Portable::Timestamp) => Value::Timestamp(number),
            #[expect(clippy::cast_precision_loss, reason = "the type asked for is a double")]
            Some(Portable::Double) => Value::Double(number as f64),
            Some(Portable::Decimal) => Value::Decimal(number.to_string()),
            _ => Value::Bigint(number),
        },
        ValueRef::Real(number) => Value::Double(number),
        ValueRef::Text(bytes) => {
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| {
                tracing::error!("a text in the database is not UTF-8");
                codes::SQL_UNAVAILABLE.error("a text in the database is damaged")
            })?;
            match portable {
                Some(Portable::Uuid) => Value::Uuid(text),
                Some(Portable::Decimal) => Value::Decimal(text),
                Some(Portable::Json) => Value::Json(text),
                _ => Value::Text(text),
            }
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}

fn content_size(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Uuid(text) | Value::Decimal(text) | Value::Json(text) => {
            text.len()
        }
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

/// `->` and `->>`: null where either side is, or where there is nothing.
fn json_function(
    context: &Context<'_>,
    take: impl Fn(&str, JsonKey<'_>) -> Option<String>,
) -> rusqlite::Result<Option<String>> {
    let ValueRef::Text(json) = context.get_raw(0) else { return Ok(None) };
    let Ok(json) = str::from_utf8(json) else { return Ok(None) };
    Ok(match context.get_raw(1) {
        ValueRef::Text(name) => {
            str::from_utf8(name).ok().and_then(|name| take(json, JsonKey::Name(name)))
        }
        ValueRef::Integer(index) => take(json, JsonKey::Index(index)),
        _ => None,
    })
}
