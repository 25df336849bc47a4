//! One call of a guest: an instance, its limits, and what became of it.

use std::{future::Future, pin::pin, sync::atomic::Ordering};

use airhost_core::{CallContext, Deadline, Error, Result, codes};
use airhost_telemetry::{
    metrics::GuestMetrics,
    trace::{Kind, Status},
};
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::{
    admission::{self, Place},
    cpu::{CpuLimit, Metered},
    generation::{InFlight, LoadedPool, Pool},
    instance::{self, Instance},
    limits::MemoryLimit,
    state::CallState,
};

/// What a call holds while a guest works on it: the pool, and one of its places.
pub(crate) struct Admitted {
    pub(crate) pool: InFlight,
    _place: Place,
}

impl Admitted {
    /// Waits for a place for a request, and bounds its time by the service's limit.
    pub(crate) async fn new(pool: InFlight, context: &mut CallContext) -> Result<Self> {
        context.deadline = context.deadline.at_most(pool.loaded.service.limits.wall);
        Self::for_work(pool, context).await
    }

    /// Waits for a place for work that has a time of its own.
    pub(crate) async fn for_work(pool: InFlight, context: &CallContext) -> Result<Self> {
        let service = &pool.loaded.service;
        if context.depth > CallContext::MAX_DEPTH {
            return Err(codes::CALL_DEPTH.error("more than 16 calls are nested in one another"));
        }
        let place = pool.admission.admit(&service.name, context.depth, context.deadline).await;
        match place {
            Ok(place) => {
                pool.counters.calls.fetch_add(1, Ordering::Relaxed);
                Ok(Self { _place: place, pool })
            }
            Err(error) => {
                pool.counters.rejected.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// Runs `call` on an instance: a new one or one that is kept. The instance is kept again only if
/// the call went well.
///
/// # Errors
/// What the instance ended with, as a `guest.*` code, and `deadline.exceeded`.
pub(crate) async fn run<R>(
    pool: &Pool,
    state: CallState,
    call: impl AsyncFnOnce(&mut Instance) -> wasmtime::Result<R>,
) -> Result<R> {
    let deadline = state.context.deadline;
    let loaded = &pool.loaded;
    let metrics = &loaded.service.metrics.guest;
    let _busy = Busy::new(metrics);
    let correlation = state.context.correlation.clone();
    let kept = if loaded.mode.fresh { None } else { pool.warm.take(state.context.tenant.as_ref()) };
    let work = async {
        let mut instance = match kept {
            Some(mut instance) => {
                instance.enter(state);
                instance
            }
            None => {
                pool.counters.instances.fetch_add(1, Ordering::Relaxed);
                // A fresh instance takes microseconds; one that is kept may take long to start.
                let context = &state.context;
                let starting = (!loaded.mode.fresh).then(|| {
                    let (trace, correlation) = (&context.trace, &context.correlation);
                    loaded.service.span(Kind::Internal, "start instance", trace, correlation)
                });
                let store = instance::store(loaded.pre.engine(), &loaded.service, state);
                let instance = Instance::new(store, &loaded.pre).await?;
                if let Some(starting) = starting {
                    starting.end(Status::Ok);
                }
                instance
            }
        };
        let result = call(&mut instance).await?;
        Ok((result, instance))
    };
    match bounded(work, loaded, deadline).await {
        Ok((result, instance)) => {
            if !loaded.mode.fresh
                && let Some(retired) = pool.warm.give(instance)
            {
                retire(pool, retired).await;
            }
            Ok(result)
        }
        Err(error) => {
            pool.counters.failed.fetch_add(1, Ordering::Relaxed);
            let error = classify(pool, error);
            metrics.trap(&error.code);
            tracing::warn!(
                service = %loaded.service.name,
                revision = %loaded.service.revision_short,
                correlation_id = %correlation,
                code = %error.code,
                "{}",
                error.message
            );
            Err(error)
        }
    }
}

/// An instance at work, counted for as long as it is.
struct Busy<'a>(&'a GuestMetrics);

impl<'a> Busy<'a> {
    fn new(metrics: &'a GuestMetrics) -> Self {
        metrics.instances_busy.add(1);
        Self(metrics)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.instances_busy.add(-1);
    }
}

/// Why a guest's work ended early.
enum Ended {
    Guest(wasmtime::Error),
    Deadline,
}

/// The guest's work, metered, sliced, and no longer than the deadline.
async fn bounded<T>(
    work: impl Future<Output = wasmtime::Result<T>>,
    loaded: &LoadedPool,
    deadline: Deadline,
) -> std::result::Result<T, Ended> {
    let work = pin!(work);
    let metered = Metered::new(work, &loaded.service.share);
    match tokio::time::timeout_at(deadline.instant(), metered).await {
        Ok(result) => result.map_err(Ended::Guest),
        Err(_) => Err(Ended::Deadline),
    }
}

fn classify(pool: &Pool, ended: Ended) -> Error {
    let service = &pool.loaded.service;
    let who = format_args!("{} {}", service.name, service.revision_short);
    let error = match ended {
        Ended::Deadline => {
            return codes::DEADLINE_EXCEEDED.error(format!("{who} did not answer in time"));
        }
        Ended::Guest(error) => error,
    };
    if error.is::<CpuLimit>() {
        return codes::GUEST_CPU.error(format!("{who} used more CPU time than limits.cpu"));
    }
    if error.is::<MemoryLimit>() {
        return codes::GUEST_MEMORY.error(format!("{who} needs more memory than limits.memory"));
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return admission::overloaded(&service.name);
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return codes::GUEST_TRAP.error(format!("{who} ended itself with exit status {}", exit.0));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => codes::GUEST_TRAP.error(format!("{who} ran over its stack")),
        Some(trap) => codes::GUEST_TRAP.error(format!("{who} trapped: {trap}")),
        // A host function ended the instance; its sentence is the host's own.
        None => {
            tracing::debug!(error = format!("{error:#}"), "a guest broke the contract");
            codes::GUEST_TRAP.error(format!("{who} broke the contract of an import"))
        }
    }
}

/// Lets a kept instance say good-bye.
pub(crate) async fn retire(pool: &Pool, mut instance: Instance) {
    let loaded = &pool.loaded;
    let Some(indices) = &loaded.exports.lifecycle else { return };
    let deadline = Deadline::after(std::time::Duration::from_secs(1));
    let mut state = CallState::idle();
    state.context.deadline = deadline;
    instance.enter(state);
    let work = async {
        let exports = indices.load(&mut instance.store, &instance.linked)?;
        exports.pyairtable_service_lifecycle().call_shutdown(&mut instance.store).await
    };
    if bounded(work, loaded, deadline).await.is_err() {
        tracing::info!(service = %loaded.service.name, "`shutdown` failed; the instance is dropped all the same");
    }
}
