//! What is in force for calls: grants, policies and who serves what, as one snapshot.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use airhost_core::{Revision, ServiceName};
use airhost_manifest::{Manifest, Pool};
use airhost_policy::{Inbound, Snapshot, Workload, traffic::MissingSubset};

use super::{
    destinations::{Destination, ServiceDestinations},
    grants::Grants,
};
use crate::destination::{EndpointSpec, Locality};

/// A service of this node: its manifest, and which revision serves.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The manifest of the active revision.
    pub manifest: Arc<Manifest>,
    /// The active revision; it is the label `version`.
    pub revision: Option<Revision>,
}

impl From<&Manifest> for Deployed {
    fn from(manifest: &Manifest) -> Self {
        Self { manifest: Arc::new(manifest.clone()), revision: None }
    }
}

/// What the mesh knows of its own node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its name, unique in the mesh.
    pub name: Arc<str>,
    /// Labels of all workloads on it.
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub locality: Locality,
}

impl Default for NodeFacts {
    fn default() -> Self {
        Self { name: "local".into(), labels: BTreeMap::new(), locality: Locality::default() }
    }
}

/// The snapshot.
pub(crate) struct Table {
    pub(crate) policies: Arc<Snapshot>,
    pub(crate) grants: Grants,
    services: HashMap<ServiceName, Arc<ServicePlan>>,
    /// What a service is that nobody has told of.
    namespace: String,
}

/// How one service is called, and who may.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    /// The service as its default pool is.
    pub(crate) workload: Workload,
    pub(crate) port: u16,
    pub(crate) destinations: Arc<ServiceDestinations>,
    /// What calls that come to a port of this node are sent on to, in Envoy's words.
    pub(crate) inbound_cluster: Arc<str>,
    pub(crate) inbound_host: Arc<str>,
    /// By pool, the default one first.
    doors: Vec<(Arc<str>, Inbound)>,
}

impl ServicePlan {
    /// What holds for what enters a pool.
    pub(crate) fn door(&self, pool: Option<&str>) -> &Inbound {
        let named = pool.and_then(|pool| self.doors.iter().find(|(name, _)| &**name == pool));
        &named.unwrap_or(&self.doors[0]).1
    }

    /// A subset of its endpoints, as policies define it.
    pub(crate) fn subset(
        &self,
        policies: &Snapshot,
        subset: Option<&Arc<str>>,
    ) -> Result<Arc<Destination>, MissingSubset> {
        match subset {
            None => Ok(Arc::clone(self.destinations.whole())),
            Some(subset) => self.destinations.subset(policies, subset),
        }
    }
}

impl Table {
    /// The snapshot of these services under these policies. What goes on from the one before:
    /// paces of grants, and the state of endpoints.
    pub(crate) fn new(
        deployed: &[Deployed],
        policies: &Arc<Snapshot>,
        grants: Grants,
        node: &NodeFacts,
        before: Option<&Self>,
    ) -> Self {
        let namespace = policies.mesh().namespace.clone();
        let services = deployed.iter().map(|deployed| {
            let manifest = &deployed.manifest;
            let pools: Vec<(Arc<str>, Workload)> = manifest
                .pools()
                .map(|pool| (pool.name.as_str().into(), workload(deployed, pool, &namespace, node)))
                .collect();
            let endpoints = pools
                .iter()
                .map(|(pool, workload)| EndpointSpec {
                    labels: workload.labels.clone(),
                    locality: node.locality.clone(),
                    ..EndpointSpec::local(&node.name, pool)
                })
                .collect();
            let kept = before.and_then(|before| before.services.get(&manifest.name));
            let destinations = match kept {
                Some(kept) => Arc::clone(&kept.destinations),
                None => Arc::new({
                    let (name, port) = (manifest.name.clone(), manifest.port);
                    ServiceDestinations::new(name, &namespace, port)
                }),
            };
            destinations.configure(policies, node, endpoints);
            let plan = ServicePlan {
                workload: pools[0].1.clone(),
                port: manifest.port,
                inbound_cluster: format!("inbound|{}||", manifest.port).into(),
                inbound_host: format!("{}/{}", node.name, pools[0].0).into(),
                destinations,
                doors: pools
                    .into_iter()
                    .map(|(pool, workload)| (pool, policies.inbound(&workload)))
                    .collect(),
            };
            (manifest.name.clone(), Arc::new(plan))
        });
        Self { services: services.collect(), policies: Arc::clone(policies), grants, namespace }
    }

    /// How a service is called. One that nobody has told of has no labels but its name: policies
    /// hold for it all the same, and then there is nobody to answer.
    pub(crate) fn plan(&self, service: &ServiceName, node: &NodeFacts) -> Arc<ServicePlan> {
        if let Some(plan) = self.services.get(service) {
            return Arc::clone(plan);
        }
        let workload = Workload {
            service: service.clone(),
            namespace: self.namespace.clone(),
            labels: [("app".to_owned(), service.to_string())].into(),
        };
        let destinations = ServiceDestinations::new(service.clone(), &self.namespace, 0);
        let endpoint = EndpointSpec {
            labels: workload.labels.clone(),
            ..EndpointSpec::local(&node.name, "default")
        };
        destinations.configure(&self.policies, node, vec![endpoint]);
        Arc::new(ServicePlan {
            doors: vec![("default".into(), self.policies.inbound(&workload))],
            workload,
            inbound_cluster: "inbound|0||".into(),
            inbound_host: Arc::clone(&node.name),
            port: 0,
            destinations: Arc::new(destinations),
        })
    }

    /// A service as a caller.
    pub(crate) fn caller(&self, service: &ServiceName) -> Option<&Arc<ServicePlan>> {
        self.services.get(service)
    }

    /// All services, by name.
    pub(crate) fn services(&self) -> Vec<(&ServiceName, &Arc<ServicePlan>)> {
        let mut services: Vec<_> = self.services.iter().collect();
        services.sort_by_key(|(name, _)| *name);
        services
    }
}

/// What selectors and subsets see of a pool. The mesh's own labels cannot be taken by others.
fn workload(deployed: &Deployed, pool: &Pool, namespace: &str, node: &NodeFacts) -> Workload {
    let service = deployed.manifest.name.clone();
    let mut labels = node.labels.clone();
    labels.extend(pool.labels.clone());
    labels.insert("app".to_owned(), service.to_string());
    labels.insert("track".to_owned(), "stable".to_owned());
    if let Some(revision) = deployed.revision {
        labels.insert("version".to_owned(), revision.short());
    }
    Workload { service, namespace: namespace.to_owned(), labels }
}
