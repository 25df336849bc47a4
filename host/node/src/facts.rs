//! What the host answers about its services: probes, metrics, API documents.

use std::{sync::Arc, time::Duration};

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

fn word(ok: bool) -> &'static str {
    if ok { "alive" } else { "dead" }
}
