//! The destinations of calls to one service: all of its endpoints, and subsets of them.

use std::{collections::BTreeMap, sync::Arc};

use airhost_core::ServiceName;
use airhost_policy::{
    Snapshot,
    traffic::{DestinationPolicy, MissingSubset},
};
use arc_swap::ArcSwap;
use parking_lot::RwLock;

use super::table::NodeFacts;
use crate::destination::{
    Balancing, Endpoint, EndpointEvent, EndpointSet, EndpointSpec, Limits, LimitsStatus, Observe,
    SetStatus,
};

/// A service's endpoints, or a subset of them, with the state that calls share. It outlives
/// changes of policies and endpoints.
#[derive(Debug)]
pub(crate) struct Destination {
    policy: ArcSwap<DestinationPolicy>,
    /// Envoy's name of it.
    pub(crate) cluster: Arc<str>,
    pub(crate) endpoints: EndpointSet,
    pub(crate) limits: Arc<Limits>,
}

impl Destination {
    fn new(
        name: String,
        cluster: Arc<str>,
        policy: Arc<DestinationPolicy>,
        node: &NodeFacts,
    ) -> Self {
        Self {
            cluster,
            limits: Limits::new(&policy.limits, policy.retry_budget),
            endpoints: EndpointSet::new(
                balancing(&policy, node),
                rand::random::<u32>() as usize,
                Some(log(name)),
            ),
            policy: ArcSwap::new(policy),
        }
    }

    fn configure(
        &self,
        policy: Arc<DestinationPolicy>,
        node: &NodeFacts,
        endpoints: &[EndpointSpec],
    ) {
        self.limits.configure(&policy.limits, policy.retry_budget);
        self.endpoints.configure(balancing(&policy, node));
        let mine = endpoints.iter().filter(|endpoint| {
            policy.labels.iter().all(|(name, value)| endpoint.labels.get(name) == Some(value))
        });
        self.endpoints.update(mine.cloned());
        self.policy.store(policy);
    }

    /// What is in force.
    pub(crate) fn policy(&self) -> Arc<DestinationPolicy> {
        self.policy.load_full()
    }
}

/// Says what happens to endpoints.
fn log(destination: String) -> Observe {
    Arc::new(move |endpoint: &Endpoint, event| {
        let endpoint = &*endpoint.spec().id;
        match event {
            EndpointEvent::Ejected { cause, duration } => tracing::warn!(
                destination,
                endpoint,
                cause = cause.as_str(),
                seconds = duration.as_secs_f64(),
                "an endpoint that kept failing is left out for a while"
            ),
            EndpointEvent::EjectionRefused { cause } => tracing::warn!(
                destination,
                endpoint,
                cause = cause.as_str(),
                "an endpoint keeps failing and is used on: maxEjectionPercent does not let it be left out"
            ),
            EndpointEvent::Returned => {
                tracing::info!(destination, endpoint, "an endpoint is used again");
            }
            EndpointEvent::Health(healthy) => {
                tracing::info!(destination, endpoint, healthy, "an endpoint's health changed");
            }
        }
    })
}

fn balancing(policy: &DestinationPolicy, node: &NodeFacts) -> Balancing {
    Balancing::of(policy, &node.locality, &node.labels, false)
}

/// All destinations that calls to one service can have.
#[derive(Debug)]
pub(crate) struct ServiceDestinations {
    service: ServiceName,
    namespace: Box<str>,
    port: u16,
    whole: Arc<Destination>,
    others: RwLock<Others>,
}

#[derive(Debug, Default)]
struct Others {
    node: NodeFacts,
    endpoints: Vec<EndpointSpec>,
    subsets: BTreeMap<Arc<str>, Arc<Destination>>,
}

impl ServiceDestinations {
    pub(crate) fn new(service: ServiceName, namespace: &str, port: u16) -> Self {
        let node = NodeFacts::default();
        let cluster = cluster(&service, namespace, port, "");
        let whole = Destination::new(service.to_string(), cluster, Arc::default(), &node);
        let namespace = namespace.into();
        Self { service, namespace, port, whole: Arc::new(whole), others: RwLock::default() }
    }

    /// Puts policies and endpoints in force, for those destinations too that are in use.
    pub(crate) fn configure(
        &self,
        policies: &Snapshot,
        node: &NodeFacts,
        endpoints: Vec<EndpointSpec>,
    ) {
        let mut others = self.others.write();
        if let Ok(policy) = self.policy(policies, None) {
            self.whole.configure(policy, node, &endpoints);
        }
        others.subsets.retain(|subset, destination| match self.policy(policies, Some(subset)) {
            Ok(policy) => {
                destination.configure(policy, node, &endpoints);
                true
            }
            Err(_) => false,
        });
        others.node = node.clone();
        others.endpoints = endpoints;
    }

    fn policy(
        &self,
        policies: &Snapshot,
        subset: Option<&str>,
    ) -> Result<Arc<DestinationPolicy>, MissingSubset> {
        let client = &policies.mesh().namespace;
        policies.traffic().destination(client, self.service.as_str(), subset, self.port)
    }

    /// All endpoints.
    pub(crate) fn whole(&self) -> &Arc<Destination> {
        &self.whole
    }

    /// A subset of the endpoints; its state begins when it is first called.
    pub(crate) fn subset(
        &self,
        policies: &Snapshot,
        subset: &Arc<str>,
    ) -> Result<Arc<Destination>, MissingSubset> {
        if let Some(known) = self.others.read().subsets.get(subset) {
            return Ok(Arc::clone(known));
        }
        let policy = self.policy(policies, Some(subset))?;
        let mut others = self.others.write();
        if let Some(known) = others.subsets.get(subset) {
            return Ok(Arc::clone(known));
        }
        let name = format!("{} ({subset})", self.service);
        let cluster = cluster(&self.service, &self.namespace, self.port, subset);
        let destination = Destination::new(name, cluster, Arc::clone(&policy), &others.node);
        let destination = Arc::new(destination);
        destination.configure(policy, &others.node, &others.endpoints);
        others.subsets.insert(Arc::clone(subset), Arc::clone(&destination));
        Ok(destination)
    }

    /// The destinations in use as they are now, the whole first.
    pub(crate) fn status(&self) -> Vec<DestinationStatus> {
        let status = |subset: Option<&Arc<str>>, destination: &Destination| DestinationStatus {
            service: self.service.clone(),
            subset: subset.cloned(),
            rules: destination.policy().resources.clone(),
            endpoints: destination.endpoints.status(),
            limits: destination.limits.status(),
        };
        let others = self.others.read();
        let subsets = others.subsets.iter().map(|(name, subset)| status(Some(name), subset));
        std::iter::once(status(None, &self.whole)).chain(subsets).collect()
    }
}

/// Istio's name of a destination.
fn cluster(service: &ServiceName, namespace: &str, port: u16, subset: &str) -> Arc<str> {
    format!("outbound|{port}|{subset}|{service}.{namespace}.svc.cluster.local").into()
}

/// A destination at a moment.
#[derive(Clone, Debug)]
pub struct DestinationStatus {
    /// The service.
    pub service: ServiceName,
    /// Which of its endpoints; all where there is none.
    pub subset: Option<Arc<str>>,
    /// The `DestinationRule`s in force for it, `namespace/name`.
    pub rules: Vec<Arc<str>>,
    /// Its endpoints.
    pub endpoints: SetStatus,
    /// What counts against its limits.
    pub limits: LimitsStatus,
}
