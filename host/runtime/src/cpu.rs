//! How long a guest computes, and what happens when it computes for long.
//!
//! A guest runs only while its future is polled: what it spends waiting in a host function is not
//! counted. [`Metered`] wraps the polls and keeps the current one in a thread-local, where the
//! store's epoch callback ([`on_epoch`]) reads it. Short polls are measured by the clock on the
//! wall, which costs nothing; from its first tick on a guest is measured by its thread's CPU time,
//! so that a busy machine does not make it slow.
//!
//! A guest that used up a slice gives the thread away and moves to the threads in the `background`.
//! It gets another slice when its service's [`Share`] lets it, so that looping guests of one
//! service cannot occupy all of those. Calls of a service that computes for long again and again
//! begin there ([`Conduct`]).

mod conduct;

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

use crate::epoch::{Clock, TICK};
use conduct::Conduct;

/// Time that others may have to wait for one guest in the background.
const SLICE: Duration = Duration::from_millis(1);
/// CPU time, from where it is measured on, after which a guest has used up its first slice. It
/// began to be measured at a tick, so that this is less than the time between two.
const FIRST_SLICE: Duration = Duration::from_micros(500);

/// The guest used more CPU time than it may.
#[derive(Debug, thiserror::Error)]
#[error("the CPU time is used up")]
pub(crate) struct CpuLimit;

/// The poll that is running on this thread.
#[derive(Clone, Copy)]
struct Running {
    since: Instant,
    /// What the thread's CPU time is asked from, once it is.
    cpu: Option<CpuTime>,
    /// CPU time of earlier polls of the same guest.
    before: Duration,
    /// Time of guests that were polled inside of this poll: it is theirs.
    nested: Duration,
    /// Whether the guest has used up a slice before.
    long: bool,
    yielded: bool,
}

#[derive(Clone, Copy)]
struct CpuTime {
    /// The thread's, from which on it counts.
    from: Duration,
    /// What was counted by the clock on the wall until then.
    counted: Duration,
    /// The time of nested guests until then.
    nested: Duration,
}

impl CpuTime {
    fn start() -> Self {
        Self { from: thread_cpu_time(), counted: Duration::ZERO, nested: Duration::ZERO }
    }

    fn measured(&self, nested: Duration) -> Duration {
        let nested = nested.saturating_sub(self.nested);
        thread_cpu_time().saturating_sub(self.from).saturating_sub(nested)
    }
}

impl Running {
    /// CPU time of this poll so far, and how much of it was measured as such.
    fn used(&self) -> (Duration, Option<Duration>) {
        match &self.cpu {
            Some(cpu) => {
                let measured = cpu.measured(self.nested);
                (cpu.counted + measured, Some(measured))
            }
            // Had it run longer than a tick, it would have been asked.
            None => (self.since.elapsed().min(TICK).saturating_sub(self.nested), None),
        }
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

thread_local! {
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
    static USED_UP: Cell<bool> = const { Cell::new(false) };
}

/// Whether a guest has used up a slice on this thread since the last time this was asked.
pub(crate) fn used_up_a_slice() -> bool {
    USED_UP.take()
}

/// What guests of one service may have of the processors, and have had lately.
pub(crate) struct Share {
    /// How many of its guests may compute for long at once.
    slots: Arc<Semaphore>,
    conduct: Conduct,
    clock: Arc<Clock>,
    metrics: Arc<ServiceMetrics>,
}

impl Share {
    /// That of a service on a node with so many serving threads: one is always left to others.
    pub(crate) fn new(threads: usize, clock: Arc<Clock>, metrics: Arc<ServiceMetrics>) -> Self {
        let slots = Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)));
        Self { slots, conduct: Conduct::new(), clock, metrics }
    }

    /// Whether a call begins in the background.
    pub(crate) fn begins_behind(&self) -> bool {
        self.conduct.stands_back()
    }
}

/// Measures a guest's future, and slices it once it computes for long.
pub(crate) struct Metered<'a, F> {
    future: F,
    used: Duration,
    share: &'a Share,
    long: Option<Long>,
}

/// A guest that used up its first slice.
struct Long {
    slots: PollSemaphore,
    waits: bool,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(future: F, share: &'a Share) -> Self {
        Self { future, used: Duration::ZERO, share, long: None }
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
        let share = this.share;
        let long = this.long.is_some();
        share.clock.look();
        let outer = RUNNING.get();
        RUNNING.set(Some(Running {
            since: Instant::now(),
            cpu: (long || share.conduct.is_watched()).then(CpuTime::start),
            before: this.used,
            nested: Duration::ZERO,
            long,
            yielded: false,
        }));
        let polled = Pin::new(&mut this.future).poll(context);
        let running = RUNNING.replace(outer);
        if let Some(running) = running {
            let (used, measured) = running.used();
            this.used += used;
            if let Some(outer) = outer {
                RUNNING
                    .set(Some(Running { nested: outer.nested + used + running.nested, ..outer }));
            }
            match measured {
                // What comes after the first slice is not on a serving thread.
                Some(measured) if measured >= FIRST_SLICE && !long => share.conduct.computed(used),
                // It may have been long, or have waited for a processor.
                None if used >= SLICE => share.conduct.watch(),
                _ => {}
            }
            if running.yielded && polled.is_pending() {
                let long = this.long.get_or_insert_with(|| Long {
                    slots: PollSemaphore::new(Arc::clone(&share.slots)),
                    waits: true,
                });
                long.waits = true;
                USED_UP.set(true);
            }
        }
        drop(slot);
        polled
    }
}

impl<F> Drop for Metered<'_, F> {
    fn drop(&mut self) {
        let nanos = u64::try_from(self.used.as_nanos()).unwrap_or(u64::MAX);
        self.share.metrics.guest.cpu_nanos.add(nanos);
    }
}

/// What a guest does when the epoch's clock ticks: go on, let others run, or end.
pub(crate) fn on_epoch(limit: Duration, share: &Share) -> wasmtime::Result<UpdateDeadline> {
    let Some(mut running) = RUNNING.get() else {
        return Ok(UpdateDeadline::Continue(1));
    };
    share.clock.look();
    let (used, measured) = running.used();
    if running.before + used > limit {
        return Err(wasmtime::Error::new(CpuLimit));
    }
    match measured {
        // It may run for long, or have begun just before this tick. The next one will tell.
        None => {
            let from = thread_cpu_time();
            running.cpu = Some(CpuTime { from, counted: used, nested: running.nested });
        }
        // However little of its slice the machine gave to the thread, others have waited.
        Some(_) if running.long => running.yielded = running.since.elapsed() >= SLICE,
        // A short one that waited for a processor stays where it is.
        Some(measured) => running.yielded = measured >= FIRST_SLICE,
    }
    RUNNING.set(Some(running));
    Ok(if running.yielded { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
}
