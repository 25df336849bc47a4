//! The one writer of a database: a thread that owns the connection, and a bounded queue in front
//! of it, first come first served.
//!
//! Independent statements that wait in the queue are committed together: each is run in turn in
//! one transaction, and none is acknowledged before the one `COMMIT` has reached the disk.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
    mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
};

use airhost_core::{Error, Result, codes};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rusqlite::ErrorCode;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    super::{
        Applied, Migration, TRANSACTION_LIFE, Value,
        catalog::Catalog,
        statement::{Kind, Statement},
    },
    connection::{Call, Conn, Failure, Outcome, Stop},
    error::statement_error,
    migrate,
};

/// Most statements in one commit.
const TOGETHER: usize = 64;

/// What the writer is asked to do.
pub(super) enum Job {
    /// One statement in a transaction of its own.
    Run(Run),
    /// A transaction.
    Begin {
        /// When waiting for it is given up, and the latest it ends.
        call: Arc<Call>,
        reply: oneshot::Sender<Result<Session>>,
    },
    /// Migrations.
    Migrate { migrations: Vec<Migration>, contract: bool, reply: oneshot::Sender<Result<Applied>> },
    /// The end.
    Close { reply: oneshot::Sender<()> },
}

/// A statement to run.
pub(super) struct Run {
    pub(super) statement: Arc<Statement>,
    pub(super) params: Vec<Value>,
    pub(super) call: Arc<Call>,
    pub(super) rows_wanted: bool,
    pub(super) reply: oneshot::Sender<Result<Outcome>>,
}

/// What an open transaction is asked to do.
pub(super) enum Command {
    Run(Run),
    Commit { reply: oneshot::Sender<Result<()>> },
    Rollback { reply: oneshot::Sender<()> },
}

/// The other end of an open transaction.
pub(super) struct Session {
    pub(super) commands: SyncSender<Command>,
    pub(super) shared: Arc<SessionShared>,
    /// When it is rolled back at the latest.
    pub(super) expires: Instant,
}

/// What both ends of a transaction look at.
#[derive(Default)]
pub(super) struct SessionShared {
    state: AtomicU8,
    pub(super) wakes: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

/// Where a transaction is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Closed,
    Expired,
}

impl SessionShared {
    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Open,
            1 => State::Closed,
            _ => State::Expired,
        }
    }

    pub(super) fn end(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Why nothing can be done in it any more.
    pub(super) fn ended(&self) -> Error {
        match self.state() {
            State::Expired => expired(),
            State::Open | State::Closed => {
                codes::TX_CLOSED.error("the transaction was committed or rolled back before")
            }
        }
    }
}

pub(super) fn expired() -> Error {
    codes::TX_EXPIRED.error("the transaction was open too long and was rolled back")
}

pub(super) fn queue_busy() -> Error {
    codes::SQL_BUSY.error("other writers kept the statement waiting too long")
}

/// The writer's side.
pub(super) struct Writer {
    pub(super) conn: Conn,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) catalog: Arc<ArcSwap<Catalog>>,
    pub(super) statements: Arc<super::super::statement::Statements>,
}

impl Writer {
    /// Works until the queue is closed.
    pub(super) fn work(mut self) {
        let mut next = self.jobs.blocking_recv();
        while let Some(job) = next {
            next = match job {
                Job::Run(run) => self.gather(run),
                Job::Begin { call, reply } => {
                    self.transaction(&call, reply);
                    None
                }
                Job::Migrate { migrations, contract, reply } => {
                    let applied = self.migrate(&migrations, contract);
                    tell(reply, applied);
                    None
                }
                Job::Close { reply } => {
                    self.finish();
                    tell(reply, ());
                    return;
                }
            };
            if next.is_none() {
                next = self.jobs.blocking_recv();
            }
        }
        self.finish();
    }

    fn finish(&self) {
        for pragma in ["PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = self.conn.db.execute_batch(pragma) {
                tracing::warn!(%error, pragma, "closing the database was not tidy");
            }
        }
    }

    /// Takes what else waits and can be committed with `first`; answers the job behind it.
    fn gather(&mut self, first: Run) -> Option<Job> {
        let mut batch = vec![first];
        let mut next = None;
        while batch.len() < TOGETHER {
            match self.jobs.try_recv() {
                Ok(Job::Run(run)) => batch.push(run),
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        batch.retain(|run| run.call.stop().is_none() && run.call.take());
        if batch.len() > 1 {
            self.together(batch);
        } else {
            batch.into_iter().for_each(|run| self.alone(run));
        }
        next
    }

    fn together(&mut self, batch: Vec<Run>) {
        if let Err(error) = self.conn.engine("BEGIN IMMEDIATE") {
            let error = statement_error(&error);
            batch.into_iter().for_each(|run| tell(run.reply, Err(error.clone())));
            return;
        }
        let mut done = Vec::with_capacity(batch.len());
        let mut again = Vec::new();
        let mut waiting = batch.into_iter();
        for run in waiting.by_ref() {
            match self.attempt(&run) {
                Ok(outcome) => done.push((run, outcome)),
                Err(failure) => tell(run.reply, Err(failure.into_error())),
            }
            // An interrupted or failed write may have taken the whole transaction with it. What
            // ran before it was not acknowledged, and is run again by itself.
            if self.conn.db.is_autocommit() {
                again.extend(done.drain(..).map(|(run, _)| run));
                break;
            }
        }
        again.extend(waiting);
        if !self.conn.db.is_autocommit() {
            match self.conn.engine("COMMIT") {
                Ok(()) => done.into_iter().for_each(|(run, outcome)| tell(run.reply, Ok(outcome))),
                // A deferred constraint of one of them.
                Err(error) if is_constraint(&error) => {
                    self.abandon();
                    again.extend(done.into_iter().map(|(run, _)| run));
                }
                Err(error) => {
                    self.abandon();
                    let error = commit_error(&error);
                    done.into_iter().for_each(|(run, _)| tell(run.reply, Err(error.clone())));
                }
            }
        }
        again.into_iter().for_each(|run| self.alone(run));
    }

    fn alone(&mut self, run: Run) {
        let result = match self.conn.engine("BEGIN IMMEDIATE") {
            Ok(()) => match self.attempt(&run) {
                Ok(outcome) => match self.conn.engine("COMMIT") {
                    Ok(()) => Ok(outcome),
                    Err(error) => Err(commit_error(&error)),
                },
                Err(failure) => Err(failure.into_error()),
            },
            Err(error) => Err(statement_error(&error)),
        };
        self.abandon();
        tell(run.reply, result);
    }

    /// Runs a statement inside the open transaction, so that a failure leaves no part of it.
    fn attempt(&mut self, run: &Run) -> Result<Outcome, Failure> {
        // SQLite takes a failed statement back by itself; one whose rows are too many has not
        // failed in its eyes.
        let savepoint =
            run.rows_wanted && matches!(run.statement.kind(), Kind::Write { returning: true });
        if savepoint {
            self.conn.engine("SAVEPOINT airhost_statement")?;
        }
        let catalog = self.catalog.load_full();
        let outcome =
            self.conn.run(&run.statement, &run.params, &run.call, None, &catalog, run.rows_wanted);
        if savepoint && !self.conn.db.is_autocommit() {
            if outcome.is_err() {
                self.conn.engine("ROLLBACK TO airhost_statement")?;
            }
            self.conn.engine("RELEASE airhost_statement")?;
        }
        outcome
    }

    /// Leaves no transaction open.
    fn abandon(&self) {
        if let Err(error) = self.conn.rollback() {
            tracing::error!(%error, "a transaction cannot be rolled back");
        }
    }

    fn transaction(&mut self, call: &Call, reply: oneshot::Sender<Result<Session>>) {
        if call.stop().is_some() || !call.take() {
            return tell(reply, Err(queue_busy()));
        }
        if let Err(error) = self.conn.engine("BEGIN IMMEDIATE") {
            return tell(reply, Err(statement_error(&error)));
        }
        let expires = call.deadline.min(Instant::now() + TRANSACTION_LIFE);
        let shared = Arc::new(SessionShared::default());
        // One command at a time is what a guest can send; the rest is for the host's own use.
        let (commands, receiver) = sync_channel(16);
        let session = Session { commands, shared: Arc::clone(&shared), expires };
        if reply.send(Ok(session)).is_ok() {
            self.serve(&receiver, &shared, expires);
        } else {
            shared.end(State::Closed);
        }
        self.abandon();
    }

    /// Serves one transaction to its end.
    fn serve(&mut self, commands: &Receiver<Command>, shared: &SessionShared, expires: Instant) {
        loop {
            let left = expires.saturating_duration_since(Instant::now());
            let command = match commands.recv_timeout(left) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => return shared.end(State::Expired),
                Err(RecvTimeoutError::Disconnected) => return shared.end(State::Closed),
            };
            match command {
                Command::Run(run) => {
                    let result = self.attempt(&run);
                    // Taken back as a whole by SQLite.
                    let lost = self.conn.db.is_autocommit();
                    let late = matches!(result, Err(Failure::Stopped(Stop::Deadline)));
                    if lost {
                        shared.end(if late { State::Expired } else { State::Closed });
                    }
                    let result = match result {
                        Err(Failure::Stopped(Stop::Deadline)) => Err(expired()),
                        other => other.map_err(Failure::into_error),
                    };
                    tell(run.reply, result);
                    if lost {
                        return;
                    }
                }
                Command::Commit { reply } => {
                    let result = self.conn.engine("COMMIT").map_err(|error| commit_error(&error));
                    shared.end(State::Closed);
                    if result.is_ok() {
                        for wake in shared.wakes.lock().drain(..) {
                            wake();
                        }
                    } else {
                        self.abandon();
                    }
                    return tell(reply, result);
                }
                Command::Rollback { reply } => {
                    self.abandon();
                    shared.end(State::Closed);
                    return tell(reply, ());
                }
            }
        }
    }

    fn migrate(&mut self, migrations: &[Migration], contract: bool) -> Result<Applied> {
        let applied = migrate::apply(&self.conn.db, migrations, contract);
        self.abandon();
        let applied = applied?;
        if !applied.ran.is_empty() {
            let version = self.catalog.load().version + 1;
            self.catalog.store(Arc::new(migrate::load_catalog(&self.conn.db, version)?));
            self.statements.clear();
        }
        Ok(applied)
    }
}

/// Answers whoever waits, if anyone still does.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// The error of a `COMMIT`. When the disk failed, what was written may still be found after a
/// restart.
fn commit_error(error: &rusqlite::Error) -> Error {
    let mapped = statement_error(error);
    if codes::SQL_UNAVAILABLE.is(&mapped) { mapped.with("outcome", "unknown") } else { mapped }
}
