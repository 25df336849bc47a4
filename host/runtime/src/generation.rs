//! A loaded revision, and the generation that serves with it.

use std::{
    fmt, iter,
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

/// The name of the pool that takes the calls for which none was chosen.
pub(crate) const DEFAULT_POOL: &str = "default";

/// A revision that is compiled, linked and ready to be probed or activated.
#[derive(Clone)]
pub struct Loaded {
    pub(crate) default: LoadedPool,
    pub(crate) more: Vec<LoadedPool>,
    pub(crate) snapshot: Snapshot,
}

/// What one pool makes its instances of.
#[derive(Clone)]
pub(crate) struct LoadedPool {
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<Service>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) mode: Mode,
}

/// What serves a service until the next one replaces it.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) snapshot: Snapshot,
    default: Arc<Pool>,
    more: Vec<Arc<Pool>>,
}

/// One pool of a generation.
pub(crate) struct Pool {
    /// The number of its generation.
    pub(crate) generation: u64,
    pub(crate) loaded: LoadedPool,
    pub(crate) admission: Admission,
    pub(crate) warm: WarmPool,
    pub(crate) counters: Counters,
    in_flight: AtomicUsize,
    retired: AtomicBool,
    idle: Notify,
}

/// What a pool counted since its generation began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) instances: AtomicU64,
}

/// One call that a pool is in. It keeps the pool until it ends.
pub(crate) struct InFlight(Arc<Pool>);

impl Loaded {
    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.default.service.name
    }

    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.default.service.revision
    }

    /// How instances of its default pool live, and why.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.default.mode
    }

    /// Whether instances start from a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Generation {
    pub(crate) fn new(number: u64, loaded: Loaded) -> Self {
        let pool = |pool| Arc::new(Pool::new(number, pool));
        Self {
            number,
            snapshot: loaded.snapshot,
            default: pool(loaded.default),
            more: loaded.more.into_iter().map(pool).collect(),
        }
    }

    /// The pool of that name; the default one where there is none, as when a deploy took it away
    /// after it was chosen.
    pub(crate) fn pool(&self, name: Option<&str>) -> &Arc<Pool> {
        name.and_then(|name| self.more.iter().find(|pool| &*pool.loaded.name == name))
            .unwrap_or(&self.default)
    }

    /// All of them, the default one first.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        iter::once(&self.default).chain(&self.more)
    }

    /// The service that its instances see.
    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.default.loaded.service
    }

    /// Calls that are in it.
    pub(crate) fn in_flight(&self) -> usize {
        self.pools().map(|pool| pool.in_flight()).sum()
    }

    /// Takes no more calls.
    pub(crate) fn retire(&self) {
        for pool in self.pools() {
            pool.retire();
        }
    }

    /// Waits until it has retired and its last call has ended.
    pub(crate) async fn drained(&self) {
        for pool in self.pools() {
            pool.drained().await;
        }
    }
}

impl Pool {
    pub(crate) fn new(generation: u64, loaded: LoadedPool) -> Self {
        let limits = &loaded.service.limits;
        Self {
            generation,
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

    /// Begins a call, unless the pool has retired: then that of the next generation has it.
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
    type Target = Pool;

    fn deref(&self) -> &Pool {
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
            .field("service", self.service())
            .field("revision", &self.revision())
            .field("mode", &self.mode())
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}
