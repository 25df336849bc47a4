//! What the host does for a service beside its requests: sends its events and mail, delivers
//! events to it, runs its jobs and ticks, removes what is kept long enough.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use airhost_core::{Deadline, ServiceName};
use airhost_events::{
    Consumer, ConsumerConfig, ConsumerControl, Deliver, Mode, Relay, RelayConfig, TopicRule,
};
use airhost_jobs::{RunJob, Schedule, Tick, Ticks, TicksConfig, Worker, WorkerConfig};
use airhost_mail::{MailRelay, MailRelayConfig, Transport};
use airhost_manifest::{Delivery, Manifest};
use airhost_runtime::Runtime;
use airhost_storage::{
    idempotency::Idempotency,
    sql::{Database, Sqlite, Value},
};
use airhost_telemetry::spawn_named;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{engines::Engines, services::Work};

/// Between two looks for what is kept long enough.
const HOUSEKEEPING: Duration = Duration::from_secs(600);
/// Time for one look.
const HOUSEKEEPING_TIME: Duration = Duration::from_secs(60);

/// The loops of one revision.
pub(crate) struct Loops {
    stop: CancellationToken,
    consumer: Option<ConsumerControl>,
    tasks: TaskTracker,
}

impl Loops {
    /// Starts what the manifest asks for.
    pub(crate) fn start(
        manifest: &Manifest,
        work: Work,
        engines: &Engines,
        runtime: &Arc<Runtime>,
    ) -> Self {
        let mut loops =
            Self { stop: CancellationToken::new(), consumer: None, tasks: TaskTracker::new() };
        let Work { database, outbox, jobs, mail } = work;
        let Some(database) = database else { return loops };
        let name = &manifest.name;
        if let Some(outbox) = outbox {
            let relay = Relay::new(outbox, Arc::clone(&engines.bus), RelayConfig::default());
            loops.run("outbox", |stop| relay.run(stop));
        }
        if let Some(mail) = mail {
            let transport: Arc<dyn Transport> = Arc::clone(&engines.mail) as _;
            let relay = MailRelay::new(mail, transport, MailRelayConfig::default());
            loops.run("mail", |stop| relay.run(stop));
        }
        if !manifest.events.incoming.is_empty() {
            let config = ConsumerConfig::new(topics(manifest));
            let handler: Arc<dyn Deliver> = Arc::clone(runtime) as _;
            let bus = Arc::clone(&engines.bus);
            let (consumer, control) =
                Consumer::new(name.clone(), config, Arc::clone(&database) as _, bus, handler);
            loops.consumer = Some(control);
            loops.run("consumer", |_| consumer.run());
        }
        if let Some(jobs) = jobs.filter(|_| !manifest.jobs.is_empty()) {
            let runner: Arc<dyn RunJob> = Arc::clone(runtime) as _;
            let worker = Worker::new(jobs, runner, WorkerConfig::default());
            loops.run("jobs", |stop| worker.run(stop));
        }
        if !manifest.ticks.is_empty() {
            let config = TicksConfig::new(schedules(manifest));
            let runner: Arc<dyn Tick> = Arc::clone(runtime) as _;
            let ticks = Ticks::new(name.clone(), config, Arc::clone(&database) as _, runner);
            loops.run("ticks", |stop| ticks.run(stop));
        }
        let (name, retention, clock) =
            (name.clone(), manifest.retention.clone(), engines.clock.clone());
        loops.run("housekeeping", |stop| async move {
            while stop.run_until_cancelled(tokio::time::sleep(HOUSEKEEPING)).await.is_some() {
                keep_house(&name, &database, &retention, clock.now_micros()).await;
            }
        });
        loops
    }

    fn run<F>(&mut self, name: &'static str, make: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = make(self.stop.clone());
        spawn_named(name, self.tasks.track_future(task));
    }

    /// Stops them; what is under way is finished first, but not longer than the deadline.
    pub(crate) async fn stop(self, deadline: Deadline) {
        self.stop.cancel();
        if let Some(consumer) = &self.consumer {
            consumer.stop();
        }
        self.tasks.close();
        if tokio::time::timeout_at(deadline.instant(), self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "background work was still running at the end of its time; it will be tried again"
            );
        }
    }
}

fn topics(manifest: &Manifest) -> BTreeMap<String, TopicRule> {
    let rule = |subscription: &airhost_manifest::Subscription| TopicRule {
        mode: match subscription.mode {
            Delivery::ExactlyOnce => Mode::ExactlyOnce,
            Delivery::AtLeastOnce => Mode::AtLeastOnce,
        },
        max_attempts: subscription.max_attempts,
    };
    let subscriptions = manifest.events.incoming.iter();
    subscriptions.map(|one| (one.topic.as_str().to_owned(), rule(one))).collect()
}

fn schedules(manifest: &Manifest) -> BTreeMap<String, Schedule> {
    let mut schedules = BTreeMap::new();
    for (name, schedule) in &manifest.ticks {
        let schedule = match schedule {
            airhost_manifest::Schedule::Every(interval) => Schedule::every(*interval),
            airhost_manifest::Schedule::Cron(cron) => Schedule::cron(cron.as_str()),
        };
        match schedule {
            Ok(schedule) => drop(schedules.insert(name.clone(), schedule)),
            Err(error) => {
                tracing::error!(service = %manifest.name, tick = name, %error, "a tick cannot be scheduled")
            }
        }
    }
    schedules
}

/// Removes answers of idempotent requests after a day, and rows whose retention is over.
async fn keep_house(
    name: &ServiceName,
    database: &Sqlite,
    retention: &[airhost_manifest::Retention],
    now: i64,
) {
    let deadline = Deadline::after(HOUSEKEEPING_TIME);
    let database: &dyn Database = database;
    if let Err(error) = Idempotency::sweep(database, now, deadline).await {
        tracing::warn!(service = %name, %error, "answers of idempotent requests cannot be removed");
    }
    for rule in retention {
        match forget(database, rule, now, deadline).await {
            Ok(0) => {}
            Ok(rows) => {
                tracing::info!(service = %name, table = rule.table, rows, "removed rows whose retention is over")
            }
            Err(error) => {
                tracing::warn!(service = %name, table = rule.table, %error, "retention cannot be applied")
            }
        }
    }
}

/// Deletes rows of a service's own table whose retention is over, in small transactions; answers
/// how many.
async fn forget(
    database: &dyn Database,
    rule: &airhost_manifest::Retention,
    now: i64,
    deadline: Deadline,
) -> airhost_core::Result<u64> {
    let airhost_manifest::Retention { table, column, keep, .. } = rule;
    let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
    let before = Value::Timestamp(now.saturating_sub(keep));
    // The batch ends at the value of its last row, since not every engine deletes with a limit.
    let last = format!(
        "SELECT MAX({column}) FROM (SELECT {column} FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT 500) AS batch"
    );
    let delete = format!("DELETE FROM {table} WHERE {column} <= $1");
    let mut deleted = 0;
    while !deadline.is_over() {
        let rows = database.query(&last, vec![before.clone()], deadline).await?;
        let last = match rows.rows.into_iter().flatten().next() {
            None | Some(Value::Null) => break,
            Some(Value::Bigint(micros) | Value::Timestamp(micros)) => Value::Timestamp(micros),
            Some(other) => other,
        };
        deleted += database.execute(&delete, vec![last], deadline).await?;
    }
    Ok(deleted)
}
