//! Open transactions.

use std::sync::{Arc, mpsc::TrySendError};

use airhost_core::{Deadline, Result, codes};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    super::{
        Access, Rows, Transaction, Value,
        catalog::Catalog,
        statement::{Kind, Origin, Statement, Statements},
    },
    Shared,
    connection::{Call, CancelOnDrop, Outcome},
    reader::Lent,
    writer::{Command, Run, Session, State, expired},
};

/// A transaction that writes: a session with the writer.
pub(super) struct WriteTransaction {
    pub(super) session: Session,
    pub(super) shared: Arc<Shared>,
}

impl WriteTransaction {
    async fn run(
        &self,
        text: &str,
        params: Vec<Value>,
        origin: Origin,
        rows_wanted: bool,
    ) -> Result<Outcome> {
        let session = &self.session;
        if session.shared.state() != State::Open {
            return Err(session.shared.ended());
        }
        let statement = self.shared.statements.get(text, origin)?;
        answers(&statement, rows_wanted)?;
        let params = self.shared.catalog.load().conform(&statement, params)?;
        let call = Call::new(session.expires);
        let cancel = CancelOnDrop(Arc::clone(&call));
        let (reply, answer) = oneshot::channel();
        self.send(Command::Run(Run { statement, params, call, rows_wanted, reply }))?;
        let result = answer.await.unwrap_or_else(|_| Err(session.shared.ended()));
        drop(cancel);
        result
    }

    fn send(&self, command: Command) -> Result<()> {
        self.session.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => {
                codes::SQL_BUSY.error("the transaction has too many statements waiting")
            }
            TrySendError::Disconnected(_) => self.session.shared.ended(),
        })
    }
}

#[async_trait]
impl Transaction for WriteTransaction {
    fn access(&self) -> Access {
        Access::Write
    }

    async fn query(&self, statement: &str, params: Vec<Value>) -> Result<Rows> {
        self.run(statement, params, Origin::Guest, true).await.map(into_rows)
    }

    async fn execute(&self, statement: &str, params: Vec<Value>) -> Result<u64> {
        self.run(statement, params, Origin::Guest, false).await.map(into_count)
    }

    async fn host_query(&self, statement: &str, params: Vec<Value>) -> Result<Rows> {
        self.run(statement, params, Origin::Host, true).await.map(into_rows)
    }

    async fn host_execute(&self, statement: &str, params: Vec<Value>) -> Result<u64> {
        self.run(statement, params, Origin::Host, false).await.map(into_count)
    }

    fn on_commit(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.session.shared.wakes.lock().push(wake);
    }

    async fn commit(&self) -> Result<()> {
        if self.session.shared.state() != State::Open {
            return Err(self.session.shared.ended());
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Commit { reply })?;
        answer.await.unwrap_or_else(|_| Err(self.session.shared.ended()))
    }

    async fn rollback(&self) -> Result<()> {
        match self.session.shared.state() {
            State::Open => {}
            State::Closed => return Err(self.session.shared.ended()),
            // It was rolled back already.
            State::Expired => return Ok(()),
        }
        let (reply, answer) = oneshot::channel();
        if self.send(Command::Rollback { reply }).is_ok() {
            // Without an answer it has expired in the meantime: rolled back as well.
            drop(answer.await);
        }
        Ok(())
    }
}

/// A transaction that reads one snapshot.
pub(super) struct ReadTransaction {
    open: Arc<Mutex<Snapshot>>,
    statements: Arc<Statements>,
    shared: Arc<Shared>,
    deadline: Deadline,
    expiry: JoinHandle<()>,
}

/// A read transaction's connection.
enum Snapshot {
    Idle(Lent),
    Running,
    Closed,
    Expired,
}

impl ReadTransaction {
    pub(super) fn new(lent: Lent, shared: Arc<Shared>, deadline: Deadline) -> Self {
        let open = Arc::new(Mutex::new(Snapshot::Idle(lent)));
        let expiring = Arc::clone(&open);
        // Also for a holder who forgot it: an old snapshot keeps the log from being trimmed.
        let expiry = tokio::spawn(async move {
            tokio::time::sleep_until(deadline.instant()).await;
            let mut open = expiring.lock();
            if !matches!(*open, Snapshot::Closed) {
                *open = Snapshot::Expired;
            }
        });
        Self { open, statements: Arc::clone(&shared.statements), shared, deadline, expiry }
    }

    fn take(&self) -> Result<Lent> {
        let mut open = self.open.lock();
        match std::mem::replace(&mut *open, Snapshot::Running) {
            Snapshot::Idle(lent) => Ok(lent),
            Snapshot::Running => {
                Err(codes::SQL_BUSY.error("the transaction has a statement running"))
            }
            Snapshot::Closed => {
                *open = Snapshot::Closed;
                Err(codes::TX_CLOSED.error("the transaction was committed or rolled back before"))
            }
            Snapshot::Expired => {
                *open = Snapshot::Expired;
                Err(expired())
            }
        }
    }

    async fn run(&self, text: &str, params: Vec<Value>, origin: Origin) -> Result<Rows> {
        let statement = self.statements.get(text, origin)?;
        if statement.kind() != Kind::Read {
            return Err(codes::TX_READ_ONLY.error("the transaction was begun for reading"));
        }
        let params = self.shared.catalog.load().conform(&statement, params)?;
        let lent = self.take()?;
        // A statement whose future is dropped takes the snapshot with it.
        let unfinished = CloseUnlessDone { open: &self.open, done: false };
        let (lent, result) = lent.query(&statement, params, self.deadline).await;
        let mut unfinished = unfinished;
        unfinished.done = true;
        let mut open = self.open.lock();
        match (&*open, lent) {
            (Snapshot::Running, Some(lent)) => {
                *open = Snapshot::Idle(lent);
                result
            }
            (Snapshot::Running, None) => {
                *open = Snapshot::Closed;
                result
            }
            (Snapshot::Expired, _) => Err(expired()),
            _ => result,
        }
    }

    fn close(&self) -> Result<()> {
        self.take()?;
        *self.open.lock() = Snapshot::Closed;
        self.expiry.abort();
        Ok(())
    }
}

/// Closes a snapshot whose statement was given up.
struct CloseUnlessDone<'a> {
    open: &'a Mutex<Snapshot>,
    done: bool,
}

impl Drop for CloseUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            *self.open.lock() = Snapshot::Closed;
        }
    }
}

impl Drop for ReadTransaction {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

#[async_trait]
impl Transaction for ReadTransaction {
    fn access(&self) -> Access {
        Access::Read
    }

    async fn query(&self, statement: &str, params: Vec<Value>) -> Result<Rows> {
        self.run(statement, params, Origin::Guest).await
    }

    async fn execute(&self, _statement: &str, _params: Vec<Value>) -> Result<u64> {
        Err(codes::TX_READ_ONLY.error("the transaction was begun for reading"))
    }

    async fn host_query(&self, statement: &str, params: Vec<Value>) -> Result<Rows> {
        self.run(statement, params, Origin::Host).await
    }

    async fn host_execute(&self, _statement: &str, _params: Vec<Value>) -> Result<u64> {
        Err(codes::TX_READ_ONLY.error("the transaction was begun for reading"))
    }

    fn on_commit(&self, _wake: Arc<dyn Fn() + Send + Sync>) {
        // A transaction that writes nothing wakes nobody.
    }

    async fn commit(&self) -> Result<()> {
        self.close()
    }

    async fn rollback(&self) -> Result<()> {
        if matches!(*self.open.lock(), Snapshot::Expired) { Ok(()) } else { self.close() }
    }
}

/// Refuses a statement that does not answer what is asked for.
pub(super) fn answers(statement: &Statement, rows_wanted: bool) -> Result<()> {
    match (rows_wanted, statement.kind()) {
        (true, Kind::Write { returning: false }) => {
            Err(codes::SQL_NOT_ALLOWED.error("a query answers rows: use execute, or RETURNING"))
        }
        (false, Kind::Read) => {
            Err(codes::SQL_NOT_ALLOWED.error("execute is for writes: use query"))
        }
        _ => Ok(()),
    }
}

pub(super) fn into_rows(outcome: Outcome) -> Rows {
    match outcome {
        Outcome::Rows(rows) => rows,
        Outcome::Count(_) => Rows::default(),
    }
}

pub(super) fn into_count(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Rows(Rows { rows, .. }) => rows.len() as u64,
        Outcome::Count(count) => count,
    }
}

/// Lets a catalog be looked at by the engine's parts.
pub(super) type SharedCatalog = Arc<arc_swap::ArcSwap<Catalog>>;
