//! From documents to [`Traffic`].

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{
    Action, LoadBalancer, Traffic,
    destination::{DestinationRule, DestinationTable},
    hosts::HostMap,
    outside::{Breaker, CallerMap, EgressLimit, For},
    review::{Review, Visibility},
    route::VirtualService,
    service_entry::Entry,
};
use crate::{
    document::{Document, Head, Metadata},
    finding::Finding,
    mesh::MeshConfig,
};

const NETWORKING: &str = "networking.istio.io";
const OWN: &str = "airhost.dev";

/// Collects the resources of this half, then checks them against each other.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    services: Vec<VirtualService>,
    rules: Vec<DestinationRule>,
    entries: Vec<Entry>,
    breakers: Vec<For<Breaker>>,
    limits: Vec<For<EgressLimit>>,
    /// A rule was refused, so that subsets may be missing because of it.
    rule_refused: bool,
}

impl Builder {
    /// Whether a kind belongs to this half.
    pub(crate) fn takes(group: &str, kind: &str) -> bool {
        matches!(
            (group, kind),
            (NETWORKING, "VirtualService" | "DestinationRule" | "ServiceEntry")
                | (OWN, "CircuitBreaker" | "EgressLimit")
        )
    }

    /// Reads a document of a kind that [`Self::takes`] takes.
    pub(crate) fn add(
        &mut self,
        document: &Document,
        head: &Head,
        mesh: &MeshConfig,
        findings: &mut Vec<Finding>,
    ) {
        match head.kind.value.as_str() {
            "VirtualService" => {
                self.services.extend(read(document, mesh, findings, |review, _, spec| {
                    VirtualService::read(review, spec)
                }));
            }
            "DestinationRule" => {
                let rule = read(document, mesh, findings, |review, _, spec| {
                    DestinationRule::read(review, spec)
                });
                self.rule_refused |= rule.is_none();
                self.rules.extend(rule);
            }
            "ServiceEntry" => self.entries.extend(read(document, mesh, findings, Entry::read)),
            "CircuitBreaker" => {
                self.breakers.extend(read(document, mesh, findings, |review, _, spec| {
                    For::<Breaker>::read(review, spec)
                }));
            }
            "EgressLimit" => {
                self.limits.extend(read(document, mesh, findings, |review, _, spec| {
                    For::<EgressLimit>::read(review, spec)
                }));
            }
            other => findings.push(Finding::error(
                document.at(&head.kind),
                format!("`{other}` is not a kind of traffic policy"),
            )),
        }
    }

    /// Checks the resources against each other and makes the tables that calls are looked up in.
    pub(crate) fn finish(mut self, mesh: &MeshConfig, findings: &mut Vec<Finding>) -> Traffic {
        // What comes first counts where two say the same, whatever order the files came in.
        self.services.sort_by(|a, b| a.place.cmp(&b.place));
        self.rules.sort_by(|a, b| a.place.cmp(&b.place));
        self.entries.sort_by(|a, b| a.entry.place.cmp(&b.entry.place));
        self.breakers.sort_by(|a, b| a.place.cmp(&b.place));
        self.limits.sort_by(|a, b| a.place.cmp(&b.place));

        let rules = DestinationTable::new(&self.rules, &mesh.root_namespace, findings);
        let mut traffic = Traffic {
            services: mesh.namespace.as_str().into(),
            routes: HostMap::default(),
            rules,
            entries: entry_table(&self.entries, findings),
            breakers: CallerMap::breakers(&self.breakers, findings),
            limits: CallerMap::limits(&self.limits),
        };
        if !self.rule_refused {
            for service in &self.services {
                check_subsets(service, &traffic, findings);
            }
        }
        for service in &mut self.services {
            keep_hashed_retries(service, &traffic);
        }
        traffic.routes = route_table(self.services, findings);
        traffic
    }
}

fn read<S: DeserializeOwned, T>(
    document: &Document,
    mesh: &MeshConfig,
    findings: &mut Vec<Finding>,
    read: impl FnOnce(&mut Review<'_>, &Metadata, &S) -> Option<T>,
) -> Option<T> {
    let resource = match document.resource::<S>() {
        Ok(resource) => resource,
        Err(finding) => {
            findings.push(finding);
            return None;
        }
    };
    let mut review = Review::new(document, &resource.metadata, mesh, findings);
    read(&mut review, &resource.metadata, &resource.spec)
}

/// `VirtualService`s by host. Istio does not say which of two for one host counts inside the mesh,
/// so that the second is refused.
fn route_table(
    services: Vec<VirtualService>,
    findings: &mut Vec<Finding>,
) -> HostMap<Vec<Arc<VirtualService>>> {
    let mut table: HostMap<Vec<Arc<VirtualService>>> = HostMap::default();
    for service in services.into_iter().filter(|service| service.in_mesh) {
        let service = Arc::new(service);
        for (host, place) in &service.hosts {
            let others = table.entry(host);
            let clash = others.iter().find(|other| {
                other.is_seen_from(&service.namespace) || service.is_seen_from(&other.namespace)
            });
            match clash {
                Some(other) => findings.push(Finding::error(
                    place.clone(),
                    format!(
                        "{} in {} is a VirtualService for `{host}` too; put the routes of both into one, in the order they are meant",
                        other.resource,
                        other.place
                    ),
                )),
                None => others.push(Arc::clone(&service)),
            }
        }
    }
    table
}

/// `ServiceEntry`s by host; two may be for one host if their ports differ.
fn entry_table(entries: &[Entry], findings: &mut Vec<Finding>) -> HostMap<Vec<Entry>> {
    let mut table: HostMap<Vec<Entry>> = HostMap::default();
    for entry in entries {
        for (host, place) in &entry.hosts {
            let others = table.entry(host);
            let seen_together = |other: &Entry| {
                other.visibility == Visibility::Everywhere
                    || entry.visibility == Visibility::Everywhere
                    || other.namespace == entry.namespace
            };
            let clash = others.iter().find(|other| {
                seen_together(other)
                    && other.entry.ports.iter().any(|port| entry.entry.port(port.number).is_some())
            });
            match clash {
                Some(other) => findings.push(Finding::error(
                    place.clone(),
                    format!(
                        "{} in {} is a ServiceEntry for the same port of `{host}`; remove one",
                        other.entry.resource, other.entry.place
                    ),
                )),
                None => others.push(entry.clone()),
            }
        }
    }
    table
}

/// A route that names a subset which nobody defines would answer 503 to every call.
fn check_subsets(service: &VirtualService, traffic: &Traffic, findings: &mut Vec<Finding>) {
    let client = service.client(&traffic.services);
    for reference in &service.subsets {
        let (host, subset) = (&*reference.host, &*reference.subset);
        if traffic.destination(client, host, Some(subset), 0).is_ok() {
            continue;
        }
        let known = traffic.rules.subsets(client, host, traffic.owner(host));
        let remedy = if known.is_empty() {
            "add it to a DestinationRule for that host".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        findings.push(Finding::error(
            reference.place.clone(),
            format!("no DestinationRule defines the subset `{subset}` of {host}; {remedy}"),
        ));
    }
}

/// Under consistent hashing a retry stays with the endpoint, unless the policy says otherwise
/// (Istio: `DefaultConsistentHashPolicy`, for routes with a single destination).
fn keep_hashed_retries(service: &mut VirtualService, traffic: &Traffic) {
    let client: Arc<str> = service.client(&traffic.services).into();
    for route in service.routes.iter_mut().filter(|route| !route.names_previous) {
        let Action::Forward(forward) = &route.route.action else { continue };
        let Some(only) = forward.only() else { continue };
        let (subset, port) = (only.subset.as_deref(), only.port.unwrap_or(0));
        let policy = traffic.destination(&client, &only.host, subset, port);
        if policy.is_ok_and(|p| matches!(p.load_balancer, LoadBalancer::ConsistentHash(_))) {
            Arc::make_mut(&mut route.route).retries.ignore_previous = false;
        }
    }
}
