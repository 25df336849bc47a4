//! One instance of a component, and the pool of those that are used again.

use std::{sync::Arc, time::Duration};

use airhost_core::Tenant;
use parking_lot::Mutex;
use tokio::time::Instant;
use wasmtime::{
    Store, UpdateDeadline,
    component::{Instance as Linked, InstancePre},
};

use crate::{
    cpu,
    service::Service,
    state::{CallState, State},
};

/// Calls after which a warm instance makes room for a new one.
const MAX_USES: u32 = 1_000;
/// Age at which it does.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// An instance. Dropping it drops everything it has open.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) linked: Linked,
    uses: u32,
    born: Instant,
    /// Whose calls it serves until it is retired.
    tenant: Option<Tenant>,
}

/// A store for one instance, with its limits.
pub(crate) fn store(
    engine: &wasmtime::Engine,
    service: &Arc<Service>,
    call: CallState,
) -> Store<State> {
    let mut store = Store::new(engine, State::new(Arc::clone(service), call));
    // Neither closure captures anything, so neither is allocated.
    store.limiter(|state| &mut state.memory);
    store.epoch_deadline_callback(|store| -> wasmtime::Result<UpdateDeadline> {
        let service = &store.data().service;
        cpu::on_epoch(service.limits.cpu, &service.share)
    });
    store.set_epoch_deadline(1);
    store
}

impl Instance {
    /// A new instance, in a call of this tenant.
    pub(crate) async fn new(
        mut store: Store<State>,
        pre: &InstancePre<State>,
    ) -> wasmtime::Result<Self> {
        let linked = pre.instantiate_async(&mut store).await?;
        store.data_mut().memory.instantiated();
        let tenant = store.data().call.context.tenant.clone();
        Ok(Self { store, linked, uses: 0, born: Instant::now(), tenant })
    }

    /// Puts a kept instance into its next call.
    pub(crate) fn enter(&mut self, call: CallState) {
        self.store.data_mut().enter(call);
        self.store.set_epoch_deadline(1);
    }

    /// Whether it may be used again after a call that went well.
    fn is_fit(&self) -> bool {
        let state = self.store.data();
        self.uses < MAX_USES
            && self.born.elapsed() < MAX_AGE
            && state.open == 0
            && !state.memory.has_grown()
    }
}

/// Instances between calls, the one used last on top.
pub(crate) struct WarmPool {
    idle: Mutex<Vec<Instance>>,
    capacity: usize,
}

impl WarmPool {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), capacity }
    }

    /// An instance that served nobody but this tenant.
    pub(crate) fn take(&self, tenant: Option<&Tenant>) -> Option<Instance> {
        let mut idle = self.idle.lock();
        let at = idle.iter().rposition(|instance| instance.tenant.as_ref() == tenant)?;
        let instance = idle.remove(at);
        drop(idle);
        // Age may have come while it waited.
        instance.is_fit().then_some(instance)
    }

    /// Keeps an instance after a call that went well, or retires it (`Some`: the caller shuts it
    /// down).
    pub(crate) fn give(&self, mut instance: Instance) -> Option<Instance> {
        instance.uses += 1;
        let state = instance.store.data();
        state.memory.tell(&state.service.metrics.guest);
        instance.store.data_mut().call =
            CallState { number: instance.store.data().call.number, ..CallState::idle() };
        if !instance.is_fit() {
            return Some(instance);
        }
        let mut idle = self.idle.lock();
        // The one that waited longest makes room, whoever's it is.
        let oldest = (idle.len() >= self.capacity && !idle.is_empty()).then(|| idle.remove(0));
        idle.push(instance);
        oldest
    }

    /// Instances that wait.
    pub(crate) fn idle(&self) -> usize {
        self.idle.lock().len()
    }

    /// Takes all of them out.
    pub(crate) fn drain(&self) -> Vec<Instance> {
        std::mem::take(&mut *self.idle.lock())
    }
}
