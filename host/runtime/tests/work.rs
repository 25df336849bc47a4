//! Events, jobs and ticks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::{sync::Arc, time::Duration};

use airhost_core::{
    CallContext, Caller, Clock, CorrelationId, Deadline, SpiffeId, Tenant, TrustDomain,
};
use airhost_events::{Deliver, Delivery, Envelope, Event, Outcome};
use airhost_jobs::{JobSpec, JobState, Jobs, KindRule, Tick, Worker, WorkerConfig};
use airhost_storage::sql::{Access, Database, Migration, Phase, Sqlite, SqliteConfig, Value};
use support::{Host, service};
use tokio_util::sync::CancellationToken;

struct Setting {
    host: Host,
    database: Arc<Sqlite>,
    jobs: Jobs,
    _folder: tempfile::TempDir,
}

async fn setting() -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(folder.path().join("worker.db"))
        .with_host_schemas([airhost_jobs::SCHEMA]);
    let database = Arc::new(Sqlite::open(config).await.unwrap());
    let notes = Migration {
        name: "0001_notes".to_owned(),
        phase: Phase::Expand,
        sql: "CREATE TABLE notes (id text PRIMARY KEY, note text NOT NULL);".to_owned(),
    };
    database.migrate(&[notes], false).await.unwrap();
    let rule = KindRule { max_attempts: 3, deadline: Duration::from_secs(5) };
    let kinds = ["work", "fail"].map(|kind| (kind.to_owned(), rule)).into();
    let jobs = Jobs::new(service("worker"), kinds, database.clone(), Clock::system());
    let host = Host::new();
    host.deploy_with("worker", "worker", |deployment| {
        deployment.environment.database = Some(database.clone());
        deployment.environment.jobs = Some(jobs.clone());
    })
    .await;
    Setting { host, database, jobs, _folder: folder }
}

fn context(tenant: &str) -> CallContext {
    CallContext {
        tenant: Some(Tenant::new(tenant)),
        correlation: CorrelationId::accept("corr").unwrap(),
        ..CallContext::root(Caller::Host, Deadline::after(Duration::from_secs(20)))
    }
}

fn delivery(subject: &str) -> Delivery {
    let source: SpiffeId = TrustDomain::default().identity(&service("source"));
    let event = Event {
        topic: "thing.happened".to_owned(),
        subject: subject.to_owned(),
        data: "{}".to_owned(),
        attrs: Vec::new(),
    };
    let event = Envelope::seal(event, &source, &context("t1"), 1, None).unwrap();
    Delivery { event: Arc::new(event), attempt: 1, position: 1 }
}

async fn notes(database: &Sqlite) -> Vec<Vec<Value>> {
    let deadline = Deadline::after(Duration::from_secs(5));
    database
        .query("SELECT id, note FROM notes ORDER BY id", Vec::new(), deadline)
        .await
        .unwrap()
        .rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_consumed_in_the_hosts_transaction() {
    let Setting { host, database, _folder, .. } = setting().await;
    let name = service("worker");
    let begin = async || {
        let tx =
            database.begin(Access::Write, Deadline::after(Duration::from_secs(4))).await.unwrap();
        Arc::from(tx)
    };
    let tx: Arc<dyn airhost_storage::sql::Transaction> = begin().await;
    let batch = ["one", "later", "dead", "call", "commit"].map(delivery).into();
    let outcomes = host.runtime.deliver(&name, batch, Some(tx.clone())).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Outcome::Ack,
            Outcome::Retry(Some(Duration::from_millis(1_500))),
            Outcome::Dead("asked for it".to_owned()),
            Outcome::Dead("tx.open".to_owned()),
            Outcome::Dead("tx.open".to_owned()),
        ]
    );
    assert!(notes(&database).await.is_empty(), "nothing is there before the host commits");
    tx.commit().await.unwrap();
    let expect = vec![vec![Value::Text("one".to_owned()), Value::Text("t1".to_owned())]];
    assert_eq!(notes(&database).await, expect);

    let tx: Arc<dyn airhost_storage::sql::Transaction> = begin().await;
    let batch = ["two", "trap"].map(delivery).into();
    let error = host.runtime.deliver(&name, batch, Some(tx.clone())).await.unwrap_err();
    assert_eq!(error.code, "guest.trap");
    tx.rollback().await.unwrap();
    assert_eq!(notes(&database).await, expect);

    let outcomes = host.runtime.deliver(&name, vec![delivery("three")], None).await.unwrap();
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tick_puts_a_job_and_the_job_runs() {
    let Setting { host, jobs, _folder, .. } = setting().await;
    let stop = CancellationToken::new();
    let worker = Worker::new(jobs.clone(), host.runtime.clone(), WorkerConfig::default());
    let worker = tokio::spawn(worker.run(stop.clone()));
    let spec = |kind: &str| JobSpec {
        kind: kind.to_owned(),
        payload: b"payload".to_vec(),
        ..JobSpec::default()
    };
    let context = context("t1");
    let ended = async |id: &str| loop {
        let status = jobs.status(id, &context).await.unwrap();
        if !matches!(status.state, JobState::Waiting | JobState::Running) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let bounded = Duration::from_secs(15);
    let id = jobs.put(spec("work"), &context, None).await.unwrap();
    let status = tokio::time::timeout(bounded, ended(&id)).await.unwrap();
    assert_eq!(
        (status.state, status.output.as_deref()),
        (JobState::Succeeded, Some(&b"1 payload t1 corr"[..]))
    );
    let id = jobs.put(spec("fail"), &context, None).await.unwrap();
    let status = tokio::time::timeout(bounded, ended(&id)).await.unwrap();
    assert_eq!(
        (status.state, status.last_error.as_deref()),
        (JobState::Failed, Some("worker.invalid"))
    );

    host.runtime.tick(&service("worker"), "nightly", 7).await.unwrap();
    stop.cancel();
    worker.await.unwrap();

    let error = host.runtime.tick(&service("nobody"), "nightly", 7).await.unwrap_err();
    assert_eq!(error.code, "guest.no-revision");
    host.deploy("echo", "echo").await;
    let error = host.runtime.tick(&service("echo"), "nightly", 7).await.unwrap_err();
    assert_eq!(error.code, "guest.no-export");
}
