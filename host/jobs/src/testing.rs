//! What the tests of this crate share.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use airhost_core::{CallContext, Caller, Clock, Deadline, ServiceName, Tenant};
use airhost_storage::sql::{Database, Sqlite, SqliteConfig};
use tokio::time::Instant;

use crate::SCHEMA;

/// A wall clock that goes only when it is told to.
#[derive(Clone)]
pub(crate) struct Hands(Arc<AtomicI64>);

impl Hands {
    pub(crate) fn at(micros: i64) -> Self {
        Self(Arc::new(AtomicI64::new(micros)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Clock::of(move || hands.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        let micros = i64::try_from(duration.as_micros()).expect("a test's duration");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

pub(crate) fn service() -> ServiceName {
    "sync-service".parse().expect("a name")
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

pub(crate) fn context(tenant: Option<&str>) -> CallContext {
    CallContext { tenant: tenant.map(Tenant::new), ..CallContext::root(Caller::Host, soon()) }
}

pub(crate) async fn database(folder: &Path) -> Arc<dyn Database> {
    let config = SqliteConfig::new(folder.join("service.db")).with_host_schemas([SCHEMA]);
    Arc::new(Sqlite::open(config).await.expect("a database"))
}

/// Waits, for no longer than 20 s, until something is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !so().await {
        assert!(Instant::now() < limit, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
