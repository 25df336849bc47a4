//! How many calls a destination is given at once (`connectionPool`), who waits for that, and how
//! many of the calls may be retries.
//!
//! What a limit means depends on how the endpoint is reached (Envoy:
//! source/common/http/conn_pool_base.cc; `mesh.md`, "Limits in process"):
//!
//! | limit | in process, HTTP/1 | HTTP/2 |
//! |---|---|---|
//! | `tcp.maxConnections` | calls at once; more of them wait | the connections' own affair |
//! | `http.http1MaxPendingRequests` | calls that wait | the same |
//! | `http.http2MaxRequests` | calls at once; more of them are refused | the same |

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use airhost_core::{Deadline, Error, codes};
use airhost_policy::traffic::{PoolLimits, RetryBudget};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Calls that wait at most, whatever the policy says: every queue is bounded.
const MOST_WAITING: u32 = 4_096;
/// No limit.
const NONE: u32 = u32::MAX;

/// How an endpoint is reached, as far as limits differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A pool of this node: a call is what a connection is elsewhere.
    InProcess,
    /// A connection carries one call at a time.
    Http1,
    /// A connection carries many.
    Http2,
}

/// A call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many are under way or waiting (503, `UO`).
    #[error("too many calls to the destination are under way or waiting")]
    Overflow,
    /// It waited until its deadline (504, `UT`).
    #[error("the deadline ran out while the call waited for its turn")]
    Deadline,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Overflow => codes::CALL_OVERLOADED.error(refused.to_string()),
            Refused::Deadline => codes::DEADLINE_EXCEEDED.error(refused.to_string()),
        }
    }
}

/// The limits of one destination, subset and port, and what counts against them.
///
/// Calls are counted whether or not there is a limit, so that a limit that is set while they are
/// under way holds at once. Without limits a call costs two additions.
#[derive(Debug)]
pub struct Limits {
    most_requests: AtomicU32,
    most_connections: AtomicU32,
    most_pending: AtomicU32,
    most_retries: AtomicU32,
    /// The bits of a number of percent; all ones when there is no budget.
    budget_percent: AtomicU64,
    budget_least: AtomicU32,
    requests: AtomicU32,
    /// Of the requests, those that take a connection of their own.
    connections: AtomicU32,
    /// How many are in the queue; changed under its lock.
    pending: AtomicU32,
    retries: AtomicU32,
    overflows: AtomicU64,
    queue: Mutex<Queue>,
}

/// Calls that wait, in their order.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<u64, oneshot::Sender<Permit>>,
    next: u64,
}

/// What counts against the limits at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsStatus {
    /// Calls under way.
    pub requests: u32,
    /// Calls that wait.
    pub pending: u32,
    /// Retries under way.
    pub retries: u32,
    /// Calls and retries that were refused, in all.
    pub overflows: u64,
}

const NO_BUDGET: u64 = u64::MAX;

impl Limits {
    /// Limits as a policy sets them. A retry budget takes the place of `maxRetries`.
    #[must_use]
    pub fn new(pool: &PoolLimits, budget: Option<RetryBudget>) -> Arc<Self> {
        let limits = Arc::new(Self {
            most_requests: AtomicU32::new(NONE),
            most_connections: AtomicU32::new(NONE),
            most_pending: AtomicU32::new(NONE),
            most_retries: AtomicU32::new(NONE),
            budget_percent: AtomicU64::new(NO_BUDGET),
            budget_least: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            pending: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            overflows: AtomicU64::new(0),
            queue: Mutex::default(),
        });
        limits.configure(pool, budget);
        limits
    }

    /// Puts other limits in force. Calls that are under way go on and count; those that wait go
    /// if they may now.
    pub fn configure(self: &Arc<Self>, pool: &PoolLimits, budget: Option<RetryBudget>) {
        let set = |to: &AtomicU32, limit: Option<u32>| to.store(limit.unwrap_or(NONE), SeqCst);
        set(&self.most_requests, pool.requests);
        set(&self.most_connections, pool.connections);
        set(&self.most_pending, pool.pending);
        set(&self.most_retries, pool.retries);
        let percent = budget.map_or(NO_BUDGET, |budget| budget.percent.to_bits());
        self.budget_least.store(budget.map_or(0, |budget| budget.least), Relaxed);
        self.budget_percent.store(percent, Relaxed);
        self.pump();
    }

    /// A place for a call, at once or when there is one. Who came first goes first.
    ///
    /// # Errors
    /// When there are too many already, or the deadline is over before there is a place.
    pub async fn acquire(
        self: &Arc<Self>,
        transport: Transport,
        deadline: Deadline,
    ) -> Result<Permit, Refused> {
        if transport == Transport::Http2 {
            return self.enter(Permit::unconnected);
        }
        // Nobody goes past those who wait.
        if self.pending.load(SeqCst) == 0 && take(&self.connections, &self.most_connections) {
            return self.enter(Permit::connected);
        }
        let (mut place, mut turn) = self.enqueue()?;
        // There may have been a place in between, and nobody who would give it away.
        self.pump();
        match tokio::time::timeout_at(deadline.instant(), &mut turn).await {
            Ok(Ok(permit)) => {
                place.taken = true;
                permit.admitted()
            }
            // The sender is dropped only with the queue, which this call holds.
            Ok(Err(_)) | Err(_) => Err(Refused::Deadline),
        }
    }

    /// A place for a retry. The try itself needs a place of its own.
    ///
    /// # Errors
    /// When so many retries are under way that one more is not worth it; the failure that was to
    /// be tried again stands.
    pub fn retry(self: &Arc<Self>) -> Result<RetryPermit, Refused> {
        let most = self.most_retries();
        let taken = self.retries.fetch_update(Relaxed, Relaxed, |under_way| {
            (under_way < most).then(|| under_way.saturating_add(1))
        });
        match taken {
            Ok(_) => Ok(RetryPermit { limits: Arc::clone(self) }),
            Err(_) => Err(self.overflow()),
        }
    }

    /// What counts now.
    #[must_use]
    pub fn status(&self) -> LimitsStatus {
        LimitsStatus {
            requests: self.requests.load(Relaxed),
            pending: self.pending.load(Relaxed),
            retries: self.retries.load(Relaxed),
            overflows: self.overflows.load(Relaxed),
        }
    }

    /// Envoy: source/common/upstream/resource_manager_impl.h `RetryBudgetImpl::max`.
    fn most_retries(&self) -> u32 {
        let bits = self.budget_percent.load(Relaxed);
        if bits == NO_BUDGET {
            return self.most_retries.load(Relaxed);
        }
        let calls = f64::from(self.requests.load(Relaxed)) + f64::from(self.pending.load(Relaxed));
        // A cast from a float saturates.
        let share = (f64::from_bits(bits) / 100.0 * calls) as u32;
        share.max(self.budget_least.load(Relaxed))
    }

    fn overflow(&self) -> Refused {
        self.overflows.fetch_add(1, Relaxed);
        Refused::Overflow
    }

    /// Counts a call that has its connection, if it needs one.
    fn enter(self: &Arc<Self>, permit: fn(Arc<Self>) -> Permit) -> Result<Permit, Refused> {
        // It gives its connection back when it is refused here.
        permit(Arc::clone(self)).admitted()
    }

    fn enqueue(self: &Arc<Self>) -> Result<(Place<'_>, oneshot::Receiver<Permit>), Refused> {
        let mut queue = self.queue.lock();
        let waiting = self.pending.load(Relaxed);
        if waiting >= self.most_pending.load(Relaxed).min(MOST_WAITING) {
            return Err(self.overflow());
        }
        let ticket = queue.next;
        queue.next += 1;
        let (go, turn) = oneshot::channel();
        queue.waiting.insert(ticket, go);
        self.pending.store(waiting + 1, SeqCst);
        Ok((Place { limits: self, ticket, taken: false }, turn))
    }

    /// Lets those go for whom there is a place now.
    fn pump(self: &Arc<Self>) {
        if self.pending.load(SeqCst) == 0 {
            return;
        }
        let mut queue = self.queue.lock();
        let mut permit = None;
        while !queue.waiting.is_empty() {
            let free = match permit.take() {
                Some(permit) => permit,
                None if take(&self.connections, &self.most_connections) => {
                    Permit::connected(Arc::clone(self))
                }
                None => break,
            };
            let Some((_, go)) = queue.waiting.pop_first() else { break };
            self.pending.fetch_sub(1, SeqCst);
            // Who has gone leaves the place to the next.
            permit = go.send(free).err();
        }
        // A permit that is dropped looks for the next one to go, under this lock.
        drop(queue);
        drop(permit);
    }
}

/// Adds one, unless there are as many as the limit.
fn take(count: &AtomicU32, most: &AtomicU32) -> bool {
    let most = most.load(SeqCst);
    if most == NONE {
        count.fetch_add(1, SeqCst);
        return true;
    }
    count.fetch_update(SeqCst, SeqCst, |count| (count < most).then_some(count + 1)).is_ok()
}

/// A call's place in the queue, given up when the call is dropped.
struct Place<'l> {
    limits: &'l Limits,
    ticket: u64,
    taken: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut queue = self.limits.queue.lock();
        if queue.waiting.remove(&self.ticket).is_some() {
            self.limits.pending.fetch_sub(1, SeqCst);
        }
    }
}

/// A call that may be made, until it is over: with the end of the answer's body.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    limits: Arc<Limits>,
    connected: bool,
    counted: bool,
}

impl Permit {
    /// One that has taken a connection.
    fn connected(limits: Arc<Limits>) -> Self {
        Self { limits, connected: true, counted: false }
    }

    /// One that shares connections with others.
    fn unconnected(limits: Arc<Limits>) -> Self {
        Self { limits, connected: false, counted: false }
    }

    /// Counts the call as under way, if there may be one more.
    fn admitted(mut self) -> Result<Self, Refused> {
        if !take(&self.limits.requests, &self.limits.most_requests) {
            return Err(self.limits.overflow());
        }
        self.counted = true;
        Ok(self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.counted {
            self.limits.requests.fetch_sub(1, SeqCst);
        }
        if self.connected {
            self.limits.connections.fetch_sub(1, SeqCst);
            self.limits.pump();
        }
    }
}

/// A retry that may be made, until it is over.
#[derive(Debug)]
#[must_use]
pub struct RetryPermit {
    limits: Arc<Limits>,
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.limits.retries.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
