//! A loaded revision, and the generation that serves with it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use airhost_core::{Revision, ServiceName};
use tokio::sync::Notify;
use wasmtime::component::InstancePre;

use crate::{
    admission::Admission, deployment::Mode, exports::Exports, instance::WarmPool, service::Service,
    snapshot::Snapshot, state::State,
};

/// A revision that is compiled, linked and ready to be probed or activated.
#[derive(Clone)]
pub struct Loaded {
    pub(crate) service: Arc<Service>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) mode: Mode,
    pub(crate) snapshot: Snapshot,
}

/// What serves a service until the next one replaces it.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) loaded: Loaded,
    pub(crate) admission: Admission,
    pub(crate) warm: WarmPool,
    pub(crate) counters: Counters,
    in_flight: AtomicUsize,
    retired: AtomicBool,
    idle: Notify,
}

/// What a generation counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) instances: AtomicU64,
}

/// One call that a generation is in. It keeps the generation until it ends.
pub(crate) struct InFlight(Arc<Generation>);

impl Loaded {
    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service.name
    }

    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.service.revision
    }

    /// How its instances live, and why.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether instances start from a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Generation {
    pub(crate) fn new(number: u64, loaded: Loaded) -> Self {
        let limits = &loaded.service.limits;
        Self {
            number,
            admission: Admission::new(
                limits.concurrency,
                limits.queue,
                Arc::clone(&loaded.service.metrics),
            ),
            warm: WarmPool::new(limits.concurrency),
            counters: Counters::default(),
            in_flight: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            idle: Notify::new(),
            loaded,
        }
    }

    /// Begins a call, unless the generation has retired: then the next one has it.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        // The counter goes up before the flag is read, and the flag is set before the counter is
        // read, so that no call is overlooked by who waits for the last one.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let call = InFlight(Arc::clone(self));
        (!self.retired.load(Ordering::SeqCst)).then_some(call)
    }

    /// Calls that are in it.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Takes no more calls.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.idle.notify_waiters();
    }

    /// Waits until it has retired and its last call has ended.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.retired.load(Ordering::SeqCst) && self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl std::ops::Deref for InFlight {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1
            && self.0.retired.load(Ordering::SeqCst)
        {
            self.0.idle.notify_waiters();
        }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("service", &self.service.name)
            .field("revision", &self.service.revision)
            .field("mode", &self.mode)
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}
