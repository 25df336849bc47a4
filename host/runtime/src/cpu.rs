//! How long a guest computes, and what happens when it computes for long.
//!
//! A guest runs only while its future is polled: what it spends waiting in a host function is not
//! counted. [`Metered`] wraps the polls and keeps the current one in a thread-local, where the
//! store's epoch callback ([`on_epoch`]) reads it. Short polls are measured by the clock on the
//! wall, which costs nothing; from its first tick on a guest is measured by its thread's CPU time,
//! so that a busy machine does not make it slow.
//!
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

use airhost_telemetry::metrics::ServiceMetrics;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::PollSemaphore;
use wasmtime::UpdateDeadline;

use crate::engine::{Clock, Heavy, TICK};

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
    /// The thread's CPU time from which on it counts, and what was counted until then.
    cpu: Option<(Duration, Duration)>,
    /// CPU time of earlier polls of the same guest.
    before: Duration,
    /// Time of guests that were polled inside of this poll: it is theirs.
    nested: Duration,
    yielded: bool,
}

impl Running {
    /// CPU time of this poll so far.
    fn used(&self) -> Duration {
        let all = match self.cpu {
            Some((base, counted)) => counted + thread_cpu_time().saturating_sub(base),
            // Had it run longer than a tick, it would have been asked.
            None => self.since.elapsed().min(TICK),
        };
        all.saturating_sub(self.nested)
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
}

/// How many guests of one service may compute for long at once.
#[derive(Clone)]
pub(crate) struct Gate {
    slots: Arc<Semaphore>,
    clock: Arc<Clock>,
    metrics: Arc<ServiceMetrics>,
}

impl Gate {
    /// A gate for a service on a node with so many serving threads: one is always left to others.
    pub(crate) fn new(threads: usize, clock: Arc<Clock>, metrics: Arc<ServiceMetrics>) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))), clock, metrics }
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
        RUNNING.set(Some(Running {
            since: Instant::now(),
            cpu: this.long.as_ref().map(|_| (thread_cpu_time(), Duration::ZERO)),
            before: this.used,
            nested: Duration::ZERO,
            yielded: false,
        }));
        let polled = Pin::new(&mut this.future).poll(context);
        let running = RUNNING.replace(outer);
        if let Some(running) = running {
            let used = running.used();
            this.used += used;
            if let Some(outer) = outer {
                RUNNING
                    .set(Some(Running { nested: outer.nested + used + running.nested, ..outer }));
            }
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

impl<F> Drop for Metered<'_, F> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.used.as_nanos()).unwrap_or(u64::MAX);
        self.gate.metrics.guest.cpu_nanos.add(nanos);
    }
}

/// What a guest does when the epoch's clock ticks: go on, let others run, or end.
pub(crate) fn on_epoch(limit: Duration) -> wasmtime::Result<UpdateDeadline> {
    let Some(mut running) = RUNNING.get() else {
        return Ok(UpdateDeadline::Continue(1));
    };
    let used = running.used();
    if running.before + used > limit {
        return Err(wasmtime::Error::new(CpuLimit));
    }
    if running.cpu.is_none() {
        running.cpu = Some((thread_cpu_time(), used + running.nested));
    }
    // A slice is what others wait for, however little of it the machine gave to this thread.
    running.yielded = running.since.elapsed() >= SLICE;
    RUNNING.set(Some(running));
    Ok(if running.yielded { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
}
