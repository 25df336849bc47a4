//! Events, jobs, ticks and subject data: what the host calls on its own account.

use std::sync::Arc;

use airhost_core::{CallContext, Caller, Deadline, Principal, Result, ServiceName, codes};
use airhost_events::{Deliver, Delivery, Outcome};
use airhost_jobs::{RunJob, RunningJob, Tick};
use airhost_storage::sql::Access;
use airhost_telemetry::trace::Kind;
use async_trait::async_trait;

use crate::{
    bindings::consumer::exports::pyairtable::events::consumer as wit,
    generation::Pool,
    glue::{from_guest, jobs::Job, sql::Transaction},
    invoke::{self, Admitted},
    runtime::Runtime,
    state::CallState,
    trace,
};

fn no_export(pool: &Pool, interface: &str) -> airhost_core::Error {
    codes::GUEST_NO_EXPORT
        .error(format!("{} does not export `{interface}`", pool.loaded.service.name))
}

#[async_trait]
impl Deliver for Runtime {
    async fn deliver(
        &self,
        service: &ServiceName,
        batch: Vec<Delivery>,
        tx: Option<Arc<dyn airhost_storage::sql::Transaction>>,
    ) -> Result<Vec<Outcome>> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let pool = self.enter(service)?;
        let mut context =
            CallContext::root(Caller::Host, Deadline::after(pool.loaded.service.limits.wall));
        context.correlation = first.event.correlation.clone();
        let (topic, trace) = (first.event.topic.clone(), first.event.trace);
        let mut span = trace::work(&pool, Kind::Consume, topic, &trace, &context.correlation);
        span.set("events", i64::try_from(batch.len()).unwrap_or(i64::MAX));
        context.trace = span.context();
        // A batch of one tenant has that tenant; what is mixed has none.
        let tenant = &first.event.tenant;
        if batch.iter().all(|delivery| delivery.event.tenant == *tenant) {
            context.tenant = tenant.clone();
        }
        let (running, service) = (Arc::clone(&pool.loaded.service), service.clone());
        let work = running.movable(async move {
            let admitted = Admitted::new(pool, &mut context).await?;
            let pool = &*admitted.pool;
            let Some(indices) = &pool.loaded.exports.consumer else {
                return Err(no_export(pool, "pyairtable:events/consumer"));
            };
            let count = batch.len();
            let deliveries: Vec<_> = batch.iter().map(delivery).collect();
            let mut state = CallState::new(context, None);
            if let Some(tx) = &tx {
                state.transactions = 1;
                state.open_writes = usize::from(tx.access() == Access::Write);
            }
            let outcomes = invoke::run(pool, state, async |instance| {
                let store = &mut instance.store;
                let exports = indices.load(&mut *store, &instance.linked)?;
                let consumer = exports.pyairtable_events_consumer();
                let Some(tx) = tx else {
                    return consumer.call_consume(&mut *store, &deliveries, None).await;
                };
                let own = store.data_mut().push(Transaction::of_host(tx))?;
                let borrowed = wasmtime::component::Resource::new_borrow(own.rep());
                let outcomes =
                    consumer.call_consume(&mut *store, &deliveries, Some(borrowed)).await?;
                store.data_mut().delete(own)?;
                Ok(outcomes)
            })
            .await?;
            if outcomes.len() != count {
                return Err(codes::GUEST_TRAP.error(format!(
                    "{service} answered {} outcomes for {count} events",
                    outcomes.len()
                )));
            }
            Ok(outcomes
                .into_iter()
                .map(|outcome| match outcome {
                    wit::Outcome::Ack => Outcome::Ack,
                    wit::Outcome::Retry(millis) => {
                        Outcome::Retry(millis.map(std::time::Duration::from_millis))
                    }
                    wit::Outcome::Dead(reason) => Outcome::Dead(reason),
                })
                .collect())
        });
        trace::spanned(span, work).await
    }
}

fn delivery(delivery: &Delivery) -> wit::Delivery {
    let event = &delivery.event;
    wit::Delivery {
        id: event.id.to_string(),
        topic: event.topic.clone(),
        source: event.source.clone(),
        subject: event.subject.clone(),
        time: event.time,
        tenant: event.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        actor: event.actor.clone(),
        correlation_id: event.correlation.as_str().to_owned(),
        data: event.data.get().to_owned(),
        attempt: delivery.attempt,
        position: delivery.position,
    }
}

#[async_trait]
impl RunJob for Runtime {
    async fn run(&self, service: &ServiceName, job: Arc<RunningJob>) -> Result<Vec<u8>> {
        let pool = self.enter(service)?;
        let mut context = CallContext::root(Caller::Host, job.deadline);
        context.correlation = job.correlation.clone();
        context.tenant = job.tenant.clone();
        // The actor is named for the log and for events; it proves nothing and grants nothing.
        context.principal = actor(&job);
        let kind = job.kind.clone();
        let mut span = trace::work(&pool, Kind::Job, kind, &job.trace, &context.correlation);
        span.set("attempt", i64::from(job.attempt));
        context.trace = span.context();
        let running = Arc::clone(&pool.loaded.service);
        let work = running.movable(async move {
            // A job has its own time, longer than a request's.
            let admitted = Admitted::for_work(pool, &context).await?;
            let pool = &*admitted.pool;
            let Some(indices) = &pool.loaded.exports.job else {
                return Err(no_export(pool, "pyairtable:service/job-handler"));
            };
            invoke::run(pool, CallState::new(context, None), async |instance| {
                let store = &mut instance.store;
                let handle = store.data_mut().push(Job(job))?;
                let exports = indices.load(&mut *store, &instance.linked)?;
                exports.pyairtable_service_job_handler().call_run(&mut *store, handle).await
            })
            .await?
            .map_err(from_guest)
        });
        trace::spanned(span, work).await
    }
}

/// Who caused a job, where that is known with the tenant.
fn actor(job: &RunningJob) -> Option<Arc<Principal>> {
    Some(Arc::new(Principal {
        subject: job.actor.clone()?,
        issuer: String::new(),
        tenant: job.tenant.clone()?,
        roles: Vec::new(),
        scopes: Vec::new(),
        session: None,
        expires_at: 0,
        claims: Vec::new(),
    }))
}

#[async_trait]
impl Tick for Runtime {
    async fn tick(&self, service: &ServiceName, name: &str, due_micros: i64) -> Result<()> {
        let pool = self.enter(service)?;
        let mut context =
            CallContext::root(Caller::Host, Deadline::after(pool.loaded.service.limits.wall));
        let span = trace::tick(&pool, name, &context);
        let (running, name) = (Arc::clone(&pool.loaded.service), name.to_owned());
        let work = running.movable(async move {
            let admitted = Admitted::new(pool, &mut context).await?;
            let pool = &*admitted.pool;
            let Some(indices) = &pool.loaded.exports.tick else {
                return Err(no_export(pool, "pyairtable:service/tick-handler"));
            };
            invoke::run(pool, CallState::new(context, None), async |instance| {
                let exports = indices.load(&mut instance.store, &instance.linked)?;
                exports
                    .pyairtable_service_tick_handler()
                    .call_tick(&mut instance.store, &name, due_micros)
                    .await
            })
            .await?
            .map_err(from_guest)
        });
        trace::spanned(span, work).await
    }
}
