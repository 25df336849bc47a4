//! The edge that clients' requests are counted on.

use std::sync::Arc;

use airhost_core::ServiceName;
use airhost_telemetry::metrics::{EdgeMetrics, Metrics, Seen};
use arc_swap::ArcSwap;

/// From clients to a listener's service, in the version of it that serves.
#[derive(Debug)]
pub(crate) struct FromClients {
    metrics: Arc<Metrics>,
    service: ServiceName,
    /// With the version of what was known when it was made.
    edge: ArcSwap<(u64, Arc<EdgeMetrics>)>,
}

impl FromClients {
    pub(crate) fn new(metrics: &Arc<Metrics>, service: ServiceName) -> Self {
        let edge = (metrics.known_version(), metrics.from_clients(&service));
        Self { metrics: Arc::clone(metrics), service, edge: ArcSwap::from_pointee(edge) }
    }

    /// Counts a request.
    pub(crate) fn record(&self, seen: &Seen) {
        let version = self.metrics.known_version();
        let current = self.edge.load();
        if current.0 == version {
            return current.1.record(seen);
        }
        let edge = self.metrics.from_clients(&self.service);
        edge.record(seen);
        self.edge.store(Arc::new((version, edge)));
    }
}
