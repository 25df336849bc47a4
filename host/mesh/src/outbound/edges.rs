//! The edges that calls are counted on, with the labels of both workloads.

use std::{collections::HashMap, sync::Arc};

use airhost_core::{Caller, Revision, ServiceName, TrustDomain};
use airhost_policy::MeshConfig;
use airhost_telemetry::metrics::{
    Destination, Edge, EdgeMetrics, Metrics, Reporter, Security, Side,
};
use parking_lot::RwLock;

use super::table::Deployed;

/// Callers on other nodes that are told apart; those of further ones are looked up call by call.
const MOST_ARRIVALS: usize = 4_096;
/// What Istio names the destination of a call that nothing lets out.
const BLACK_HOLE: &str = "BlackHoleCluster";

/// Makes the edges of the services that are deployed.
#[derive(Debug)]
pub(crate) struct Edges {
    metrics: Arc<Metrics>,
    trust_domain: TrustDomain,
    namespace: Arc<str>,
    services: HashMap<ServiceName, Arc<str>>,
    /// Of calls whose callers are not on this node.
    arrivals: RwLock<HashMap<(ServiceName, ServiceName), Arc<EdgeMetrics>>>,
}

impl Edges {
    pub(crate) fn new(metrics: &Arc<Metrics>, deployed: &[Deployed], mesh: &MeshConfig) -> Self {
        let version = |revision: Revision| revision.short().into();
        let services = deployed.iter().map(|deployed| {
            let version = deployed.revision.map_or_else(|| "".into(), version);
            (deployed.manifest.name.clone(), version)
        });
        Self {
            metrics: Arc::clone(metrics),
            trust_domain: mesh.trust_domain.clone(),
            namespace: mesh.namespace.as_str().into(),
            services: services.collect(),
            arrivals: RwLock::default(),
        }
    }

    /// A service, in the version that is active on this node.
    fn side(&self, service: &ServiceName) -> Side {
        let version = self.services.get(service).cloned();
        Side { version: version.unwrap_or_default(), ..self.foreign(service) }
    }

    /// A service of another node, whose version nobody has told.
    fn foreign(&self, service: &ServiceName) -> Side {
        Side {
            workload: service.as_str().into(),
            namespace: Arc::clone(&self.namespace),
            principal: self.trust_domain.identity(service).as_str().into(),
            version: Arc::default(),
        }
    }

    /// The services that are deployed, with their labels.
    pub(crate) fn sides(&self) -> impl Iterator<Item = (ServiceName, Side)> + '_ {
        self.services.keys().map(|service| (service.clone(), self.side(service)))
    }

    /// Calls of one service to another, as the caller sees them.
    pub(crate) fn source(&self, caller: &ServiceName, callee: &ServiceName) -> Arc<EdgeMetrics> {
        let destination = self.side(callee);
        self.metrics.edge(&Edge {
            reporter: Reporter::Source,
            source: self.side(caller),
            service: Destination::of(&destination),
            destination,
            security: Security::Unknown,
        })
    }

    /// Calls of one service to another on the same node, as the callee sees them.
    pub(crate) fn destination(
        &self,
        caller: &ServiceName,
        callee: &ServiceName,
    ) -> Arc<EdgeMetrics> {
        self.arrives(self.side(caller), callee)
    }

    fn arrives(&self, source: Side, callee: &ServiceName) -> Arc<EdgeMetrics> {
        let destination = self.side(callee);
        self.metrics.edge(&Edge {
            reporter: Reporter::Destination,
            source,
            service: Destination::of(&destination),
            destination,
            security: Security::MutualTls,
        })
    }

    /// Calls that have come to a service from a service of another node; none for those of
    /// clients, which are counted where they listen, and for the host's own.
    pub(crate) fn arrival(
        &self,
        caller: &Caller,
        callee: &ServiceName,
    ) -> Option<Arc<EdgeMetrics>> {
        let caller = caller.service()?;
        let key = (caller.clone(), callee.clone());
        if let Some(edge) = self.arrivals.read().get(&key) {
            return Some(Arc::clone(edge));
        }
        let edge = self.arrives(self.foreign(caller), callee);
        let mut arrivals = self.arrivals.write();
        if arrivals.len() < MOST_ARRIVALS {
            arrivals.insert(key, Arc::clone(&edge));
        }
        Some(edge)
    }

    /// Calls of a service to a host outside, by the name in its grant.
    pub(crate) fn outside(&self, caller: &ServiceName, host: &str) -> Arc<EdgeMetrics> {
        let host: Arc<str> = host.into();
        self.leaves(
            caller,
            Destination { host: Arc::clone(&host), name: host, ..Destination::default() },
        )
    }

    /// Calls of a service that nothing grants it, whatever they named.
    pub(crate) fn denied(&self, caller: &ServiceName) -> Arc<EdgeMetrics> {
        self.leaves(caller, Destination { name: BLACK_HOLE.into(), ..Destination::default() })
    }

    fn leaves(&self, caller: &ServiceName, service: Destination) -> Arc<EdgeMetrics> {
        self.metrics.edge(&Edge {
            reporter: Reporter::Source,
            source: self.side(caller),
            destination: Side::default(),
            service,
            security: Security::Unknown,
        })
    }
}
