//! The connections that read.
//!
//! A short read runs on the caller's own thread: handing it to another costs more than the read.
//! What needs more steps than that allows is started again on a thread for blocking work.

use std::{path::PathBuf, sync::Arc};

use airhost_core::{Deadline, Result, codes};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    super::{Rows, Value, catalog::Catalog, statement::Statement},
    connection::{Call, CancelOnDrop, Conn, Failure, Outcome, Role, Stop},
};

/// Thousands of steps a read may take on the caller's thread: some 100 µs.
const INLINE: u32 = 5;

/// The pool of reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Conn>>,
    permits: Arc<Semaphore>,
    pub(super) catalog: Arc<ArcSwap<Catalog>>,
}

/// A connection lent from the pool; back in it when dropped, without a transaction.
#[derive(Debug)]
pub(super) struct Lent {
    conn: Option<Conn>,
    readers: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(path: PathBuf, count: usize, catalog: Arc<ArcSwap<Catalog>>) -> Arc<Self> {
        Arc::new(Self {
            path,
            idle: Mutex::new(Vec::with_capacity(count)),
            permits: Arc::new(Semaphore::new(count)),
            catalog,
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// `sql.busy` at the deadline, `sql.unavailable` when the database is closed or cannot be
    /// opened.
    pub(super) async fn lend(self: &Arc<Self>, deadline: Deadline) -> Result<Lent> {
        let closed = |_| codes::SQL_UNAVAILABLE.error("the database is closed");
        let permits = Arc::clone(&self.permits);
        let permit = match permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let turn = tokio::time::timeout_at(deadline.instant(), permits.acquire_owned());
                let Ok(permit) = turn.await else {
                    return Err(codes::SQL_BUSY.error("all connections that read are taken"));
                };
                permit.map_err(closed)?
            }
        };
        let idle = self.idle.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => {
                let path = self.path.clone();
                let opened = tokio::task::spawn_blocking(move || Conn::open(&path, Role::Reader));
                opened
                    .await
                    .map_err(|_| codes::SQL_UNAVAILABLE.error("the database is closed"))??
            }
        };
        Ok(Lent { conn: Some(conn), readers: Arc::clone(self), _permit: permit })
    }

    /// Lets no connection out any more, and closes those that are in.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}

impl Lent {
    /// Runs a read, on this thread while it is short.
    pub(super) async fn query(
        mut self,
        statement: &Arc<Statement>,
        params: Vec<Value>,
        deadline: Deadline,
    ) -> (Option<Self>, Result<Rows>) {
        let call = Call::new(deadline.instant());
        let result = self.attempt(statement, &params, &call, Some(INLINE));
        if !matches!(result, Err(Failure::Stopped(Stop::Budget))) {
            return (Some(self), rows(result));
        }
        let cancel = CancelOnDrop(Arc::clone(&call));
        let statement = Arc::clone(statement);
        let work = tokio::task::spawn_blocking(move || {
            let result = self.attempt(&statement, &params, &call, None);
            (self, rows(result))
        });
        let done = work.await;
        drop(cancel);
        match done {
            Ok((lent, result)) => (Some(lent), result),
            Err(_) => (None, Err(codes::SQL_UNAVAILABLE.error("the node is shutting down"))),
        }
    }

    fn attempt(
        &mut self,
        statement: &Statement,
        params: &[Value],
        call: &Arc<Call>,
        budget: Option<u32>,
    ) -> Result<Outcome, Failure> {
        let Some(conn) = &mut self.conn else {
            return Err(Failure::Error(codes::SQL_UNAVAILABLE.error("the database is closed")));
        };
        if let Some(stop) = call.stop() {
            return Err(Failure::Stopped(stop));
        }
        let catalog = self.readers.catalog.load_full();
        conn.run(statement, params, call, budget, &catalog, true)
    }

    /// Begins to read one consistent snapshot, from now on.
    pub(super) fn begin(&self) -> Result<()> {
        let Some(conn) = &self.conn else { return Ok(()) };
        // BEGIN alone takes no snapshot; the first read does.
        conn.engine("BEGIN")
            .and_then(|()| conn.db.prepare_cached("SELECT 1 FROM sqlite_schema")?.exists([]))
            .map(drop)
            .map_err(|error| super::error::statement_error(&error))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.readers.permits.is_closed() {
            return;
        }
        match conn.rollback() {
            Ok(()) => self.readers.idle.lock().push(conn),
            Err(error) => tracing::warn!(%error, "a reading connection is replaced"),
        }
    }
}

fn rows(result: Result<Outcome, Failure>) -> Result<Rows> {
    match result {
        Ok(Outcome::Rows(rows)) => Ok(rows),
        Ok(Outcome::Count(_)) => Ok(Rows::default()),
        Err(failure) => Err(failure.into_error()),
    }
}
