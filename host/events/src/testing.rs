//! What the tests of this crate share: a real database, a real log, and a way to pull the plug at
//! any step.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use airhost_core::{CallContext, Caller, Clock, Deadline, Result, ServiceName, TrustDomain, codes};
use airhost_storage::sql::{
    Access, Applied, Database, Migration, Phase, Rows, Sqlite, SqliteConfig, Transaction, Value,
};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    Bus, Envelope, Event, Outbox, OutboxParts, SCHEMA, Schemas,
    bus::{FetchLimit, GroupInfo, Log, LogConfig, Record, Subscription, TopicInfo},
};

pub(crate) fn service() -> ServiceName {
    "reader-service".parse().expect("a name")
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

pub(crate) fn context() -> CallContext {
    CallContext::root(Caller::Host, soon())
}

pub(crate) async fn database(folder: &Path) -> Arc<dyn Database> {
    let config = SqliteConfig::new(folder.join("service.db")).with_host_schemas([SCHEMA]);
    let database = Sqlite::open(config).await.expect("a database");
    let effects = Migration {
        name: "0001_effects".into(),
        phase: Phase::Expand,
        sql: "CREATE TABLE effects (place bigint NOT NULL PRIMARY KEY, subject text NOT NULL, \
              number bigint NOT NULL)"
            .into(),
    };
    database.migrate(&[effects], false).await.expect("migrated");
    Arc::new(database)
}

pub(crate) async fn log(folder: &Path) -> Log {
    Log::open(LogConfig::new(folder.join("bus.db"))).await.expect("a log")
}

pub(crate) fn outbox(database: Arc<dyn Database>) -> Outbox {
    let service = "writer-service".parse().expect("a name");
    Outbox::new(OutboxParts {
        identity: TrustDomain::default().identity(&service),
        service,
        topics: ["numbers".to_owned(), "letters".to_owned()].into(),
        schemas: Arc::new(Schemas::default()),
        database,
        clock: Clock::system(),
    })
}

pub(crate) fn event(topic: &str, subject: &str, number: u64) -> Event {
    Event {
        topic: topic.into(),
        subject: subject.into(),
        data: format!(r#"{{"number":{number}}}"#),
        attrs: Vec::new(),
    }
}

pub(crate) fn envelope(topic: &str, subject: &str, number: u64) -> Arc<Envelope> {
    let source = TrustDomain::default().identity(&service());
    let event = event(topic, subject, number);
    Arc::new(Envelope::seal(event, &source, &context(), 0, None).expect("an envelope"))
}

pub(crate) fn number(event: &Envelope) -> i64 {
    let data: serde_json::Value = serde_json::from_str(event.data.get()).expect("JSON");
    data["number"].as_i64().expect("a number")
}

/// Waits, for no longer than 20 s, until something is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !so().await {
        assert!(Instant::now() < limit, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Counts steps and cuts the power at one of them: before it has an effect, or right after, so
/// that nobody learns of it. Afterwards nothing works any more.
#[derive(Debug)]
pub(crate) struct Plug {
    at: usize,
    after: bool,
    steps: AtomicUsize,
    pulled: AtomicBool,
}

impl Plug {
    pub(crate) fn new(at: usize, after: bool) -> Arc<Self> {
        let (steps, pulled) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { at, after, steps, pulled })
    }

    pub(crate) fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::SeqCst)
    }

    pub(crate) async fn step<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let dead = || codes::SQL_UNAVAILABLE.error("the plug was pulled");
        if self.is_pulled() {
            return Err(dead());
        }
        if self.steps.fetch_add(1, Ordering::SeqCst) != self.at {
            return work.await;
        }
        if self.after {
            drop(work.await);
        }
        self.pulled.store(true, Ordering::SeqCst);
        Err(dead())
    }
}

/// A database behind a plug.
pub(crate) struct Plugged<T: ?Sized> {
    pub(crate) inner: Arc<T>,
    pub(crate) plug: Arc<Plug>,
}

#[async_trait]
impl Database for Plugged<dyn Database> {
    async fn query(&self, sql: &str, params: Vec<Value>, deadline: Deadline) -> Result<Rows> {
        self.plug.step(self.inner.query(sql, params, deadline)).await
    }
    async fn execute(&self, sql: &str, params: Vec<Value>, deadline: Deadline) -> Result<u64> {
        self.plug.step(self.inner.execute(sql, params, deadline)).await
    }
    async fn begin(&self, access: Access, deadline: Deadline) -> Result<Box<dyn Transaction>> {
        let inner = self.plug.step(self.inner.begin(access, deadline)).await?;
        Ok(Box::new(PluggedTransaction { inner, plug: Arc::clone(&self.plug) }))
    }
    async fn migrate(&self, migrations: &[Migration], contract: bool) -> Result<Applied> {
        self.inner.migrate(migrations, contract).await
    }
    async fn probe_migrations(&self, migrations: &[Migration]) -> Result<()> {
        self.inner.probe_migrations(migrations).await
    }
    async fn host_query(&self, sql: &str, params: Vec<Value>, deadline: Deadline) -> Result<Rows> {
        self.plug.step(self.inner.host_query(sql, params, deadline)).await
    }
    async fn host_execute(&self, sql: &str, params: Vec<Value>, deadline: Deadline) -> Result<u64> {
        self.plug.step(self.inner.host_execute(sql, params, deadline)).await
    }
    async fn ping(&self, deadline: Deadline) -> Result<()> {
        self.inner.ping(deadline).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

struct PluggedTransaction {
    inner: Box<dyn Transaction>,
    plug: Arc<Plug>,
}

#[async_trait]
impl Transaction for PluggedTransaction {
    fn access(&self) -> Access {
        self.inner.access()
    }
    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Rows> {
        self.plug.step(self.inner.query(sql, params)).await
    }
    async fn execute(&self, sql: &str, params: Vec<Value>) -> Result<u64> {
        self.plug.step(self.inner.execute(sql, params)).await
    }
    async fn host_query(&self, sql: &str, params: Vec<Value>) -> Result<Rows> {
        self.plug.step(self.inner.host_query(sql, params)).await
    }
    async fn host_execute(&self, sql: &str, params: Vec<Value>) -> Result<u64> {
        self.plug.step(self.inner.host_execute(sql, params)).await
    }
    fn on_commit(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.inner.on_commit(wake);
    }
    async fn commit(&self) -> Result<()> {
        self.plug.step(self.inner.commit()).await
    }
    async fn rollback(&self) -> Result<()> {
        self.plug.step(self.inner.rollback()).await
    }
}

#[async_trait]
impl Bus for Plugged<dyn Bus> {
    async fn append(&self, events: &[Arc<Envelope>]) -> Result<()> {
        self.plug.step(self.inner.append(events)).await
    }
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>> {
        let inner = self.plug.step(self.inner.subscribe(group, topics)).await?;
        Ok(Box::new(PluggedSubscription { inner, plug: Arc::clone(&self.plug) }))
    }
    async fn forget(&self, group: &str) -> Result<()> {
        self.inner.forget(group).await
    }
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.inner.topics().await
    }
    async fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.inner.groups().await
    }
    async fn tail(&self, topics: &[String], after: Option<u64>, max: usize) -> Result<Vec<Record>> {
        self.inner.tail(topics, after, max).await
    }
}

struct PluggedSubscription {
    inner: Box<dyn Subscription>,
    plug: Arc<Plug>,
}

#[async_trait]
impl Subscription for PluggedSubscription {
    async fn fetch(&mut self, limit: FetchLimit) -> Result<Vec<Record>> {
        // Waiting for an event is no step: only what arrives can be lost.
        let records = self.inner.fetch(limit).await?;
        self.plug.step(async { Ok(records) }).await
    }
    async fn commit(&mut self) -> Result<()> {
        self.plug.step(self.inner.commit()).await
    }
}
