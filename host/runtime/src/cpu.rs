//! How long a guest computes, and what happens when it computes for long.
//!
//! A guest runs only while its future is polled, so the time of the polls is its CPU time: what
//! it spends waiting in a host function is not counted. [`Metered`] measures the polls and keeps
//! the current one in a thread-local, where the store's epoch callback ([`on_epoch`]) reads it.
//! A guest that used up a slice gives the thread away; it gets another slice when its service's
//! [`Gate`] lets it, so that looping guests of one service cannot occupy all threads.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::PollSemaphore;
use wasmtime::UpdateDeadline;

use crate::engine::{Clock, Heavy};

/// Time after which a guest gives its thread to others.
const SLICE: Duration = Duration::from_millis(1);

/// The guest used more CPU time than it may.
#[derive(Debug, thiserror::Error)]
#[error("the CPU time is used up")]
pub(crate) struct CpuLimit;

/// The poll that is running on this thread.
#[derive(Clone, Copy)]
struct Running {
    since: Instant,
    /// CPU time of earlier polls of the same guest.
    before: Duration,
    /// Time of guests that are polled inside of this poll: it is theirs.
    nested: Duration,
    yielded: bool,
}

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
}

/// How many guests of one service may compute for long at once.
#[derive(Clone)]
pub(crate) struct Gate {
    slots: Arc<Semaphore>,
    clock: Arc<Clock>,
}

impl Gate {
    /// A gate for a service on a node with so many serving threads: one is always left to others.
    pub(crate) fn new(threads: usize, clock: Arc<Clock>) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))), clock }
    }
}

/// Measures a guest's future, and slices it once it computes for long.
pub(crate) struct Metered<'a, F> {
    future: F,
    used: Duration,
    gate: &'a Gate,
    long: Option<Long>,
}

/// A guest that used up its first slice.
struct Long {
    slots: PollSemaphore,
    waits: bool,
    _heavy: Heavy,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(future: F, gate: &'a Gate) -> Self {
        Self { future, used: Duration::ZERO, gate, long: None }
    }
}

impl<F: Future + Unpin> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let slot = match &mut this.long {
            Some(long) if long.waits => match long.slots.poll_acquire(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(slot) => {
                    long.waits = false;
                    slot
                }
            },
            _ => None,
        };
        let outer = RUNNING.get();
        let start = Instant::now();
        RUNNING.set(Some(Running { since: start, before: this.used, nested: Duration::ZERO, yielded: false }));
        let polled = Pin::new(&mut this.future).poll(context);
        let running = RUNNING.replace(outer);
        let took = start.elapsed();
        if let Some(outer) = outer {
            RUNNING.set(Some(Running { nested: outer.nested + took, ..outer }));
        }
        if let Some(running) = running {
            this.used += took.saturating_sub(running.nested);
            if running.yielded && polled.is_pending() {
                let gate = this.gate;
                let long = this.long.get_or_insert_with(|| Long {
                    slots: PollSemaphore::new(Arc::clone(&gate.slots)),
                    waits: true,
                    _heavy: gate.clock.heavy(),
                });
                long.waits = true;
            }
        }
        drop(slot);
        polled
    }
}

/// What a guest does when the epoch's clock ticks: go on, let others run, or end.
pub(crate) fn on_epoch(limit: Duration) -> wasmtime::Result<UpdateDeadline> {
    let Some(running) = RUNNING.get() else {
        return Ok(UpdateDeadline::Continue(1));
    };
    let slice = running.since.elapsed().saturating_sub(running.nested);
    if running.before + slice > limit {
        return Err(wasmtime::Error::new(CpuLimit));
    }
    if slice < SLICE {
        return Ok(UpdateDeadline::Continue(1));
    }
    RUNNING.set(Some(Running { yielded: true, ..running }));
    Ok(UpdateDeadline::Yield(1))
}
