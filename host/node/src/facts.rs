//! What the host answers about its services: probes, metrics, API documents.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use airhost_core::{Deadline, ServiceName};
use airhost_mesh::{Report, ServiceFacts};
use airhost_storage::sql::Database as _;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use crate::services::Services;

/// Time for a store to answer a probe.
const PROBE: Duration = Duration::from_secs(2);

/// Answers from what the node knows.
#[derive(Debug)]
pub(crate) struct NodeFacts(pub(crate) Arc<Services>);

#[async_trait]
impl ServiceFacts for NodeFacts {
    async fn health(&self, service: &ServiceName) -> Report {
        let active = self.0.runtime.active(service);
        let ok = active.is_some();
        let revision = active.map(|active| active.revision().short());
        Report {
            ok,
            details: json!({ "service": service, "status": word(ok), "revision": revision }),
        }
    }

    async fn readiness(&self, service: &ServiceName) -> Report {
        let Some(active) = self.0.get(service.as_str()) else {
            return Report {
                ok: false,
                details: json!({ "service": service, "status": "unready", "reason": "no revision serves" }),
            };
        };
        let serves = self.0.runtime.active(service).is_some();
        let database = match &active.database {
            None => None,
            Some(database) => Some(database.ping(Deadline::after(PROBE)).await.is_ok()),
        };
        let ok = serves && database != Some(false);
        let details = json!({
            "service": service,
            "status": if ok { "ready" } else { "unready" },
            "revision": active.revision.short(),
            "checks": { "instances": serves, "database": database },
        });
        Report { ok, details }
    }

    fn metrics(&self, service: &ServiceName) -> Bytes {
        Bytes::from(self.0.engines.telemetry.metrics.render_service(service))
    }

    fn openapi(&self, service: &ServiceName) -> Option<Bytes> {
        self.0.get(service.as_str())?.openapi.clone()
    }
}

/// The same for the mesh, which is there before the services are.
#[derive(Debug, Default)]
pub(crate) struct LateFacts(OnceLock<Weak<Services>>);

impl LateFacts {
    /// From now on there are services.
    pub(crate) fn know(&self, services: &Arc<Services>) {
        // The mesh belongs to the services, so that it must not keep them.
        self.0.get_or_init(|| Arc::downgrade(services));
    }

    fn facts(&self) -> Option<NodeFacts> {
        self.0.get().and_then(Weak::upgrade).map(NodeFacts)
    }
}

fn starting(service: &ServiceName) -> Report {
    Report { ok: false, details: json!({ "service": service, "status": "starting" }) }
}

#[async_trait]
impl ServiceFacts for LateFacts {
    async fn health(&self, service: &ServiceName) -> Report {
        match self.facts() {
            Some(facts) => facts.health(service).await,
            None => starting(service),
        }
    }

    async fn readiness(&self, service: &ServiceName) -> Report {
        match self.facts() {
            Some(facts) => facts.readiness(service).await,
            None => starting(service),
        }
    }

    fn metrics(&self, service: &ServiceName) -> Bytes {
        self.facts().map(|facts| facts.metrics(service)).unwrap_or_default()
    }

    fn openapi(&self, service: &ServiceName) -> Option<Bytes> {
        self.facts()?.openapi(service)
    }
}

fn word(ok: bool) -> &'static str {
    if ok { "alive" } else { "dead" }
}
