//! Which `DestinationRule` holds for a call: everything is merged beforehand, so that a lookup
//! hashes and compares.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use super::{Blocks, DestinationPolicy, DestinationRule, MissingSubset, Policy};
use crate::{
    finding::Finding,
    traffic::{
        hosts::{HostMap, service_of},
        review::Visibility,
    },
};

/// What holds where no rule does.
static DEFAULT: LazyLock<Arc<DestinationPolicy>> = LazyLock::new(Arc::default);

/// The rules of all namespaces.
#[derive(Clone, Debug, Default)]
pub(in crate::traffic) struct DestinationTable {
    namespaces: HashMap<Arc<str>, Namespace>,
    root: Arc<str>,
}

#[derive(Clone, Debug, Default)]
struct Namespace {
    /// Those that its own workloads see.
    own: HostMap<DestinationRules>,
    /// Those that others see too.
    shared: HostMap<DestinationRules>,
}

/// The rules of one host, merged.
#[derive(Clone, Debug, Default)]
pub(in crate::traffic) struct DestinationRules {
    host: Ports,
    subsets: HashMap<Box<str>, Ports>,
}

/// Policies by port.
#[derive(Clone, Debug, Default)]
struct Ports {
    any: Arc<DestinationPolicy>,
    /// In their order.
    own: Vec<(u16, Arc<DestinationPolicy>)>,
}

impl Ports {
    fn get(&self, port: u16) -> &Arc<DestinationPolicy> {
        let found = self.own.binary_search_by_key(&port, |(port, _)| *port);
        found.map_or(&self.any, |index| &self.own[index].1)
    }

    fn new(
        ports: impl IntoIterator<Item = u16>,
        policy: impl Fn(Option<u16>) -> DestinationPolicy,
    ) -> Self {
        let own = ports.into_iter().map(|port| (port, Arc::new(policy(Some(port)))));
        Self { any: Arc::new(policy(None)), own: own.collect() }
    }
}

impl DestinationTable {
    /// Merges the rules of each host in each namespace. They come in the order of files and lines.
    pub(in crate::traffic) fn new(
        rules: &[DestinationRule],
        root: &str,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut table = Self { root: root.into(), ..Self::default() };
        let mut groups: BTreeMap<_, Vec<&DestinationRule>> = BTreeMap::new();
        for rule in rules {
            groups.entry((&rule.namespace, &rule.host)).or_default().push(rule);
        }
        for ((namespace, host), group) in groups {
            let merged = DestinationRules::merge(&group, Some(findings));
            let namespace = table.namespaces.entry(Arc::clone(namespace)).or_default();
            namespace.own.insert(host, merged);
            let shared: Vec<&DestinationRule> = group
                .into_iter()
                .filter(|rule| rule.visibility == Visibility::Everywhere)
                .collect();
            if !shared.is_empty() {
                // What is to be said of them was said above.
                namespace.shared.insert(host, DestinationRules::merge(&shared, None));
            }
        }
        table
    }

    /// The rules for a host in full: of the first of the caller's namespace, the service's and the
    /// root that has any, those of its most specific host (Istio: `destinationRule`).
    fn find(&self, client: &str, host: &str, owner: Option<&str>) -> Option<&DestinationRules> {
        let of = |namespace: &str, own: bool| {
            let rules = self.namespaces.get(namespace)?;
            if own { rules.own.find(host, Some) } else { rules.shared.find(host, Some) }
        };
        let owner = service_of(host).map(|(_, namespace)| namespace).or(owner);
        of(client, true)
            .or_else(|| owner.filter(|owner| *owner != client).and_then(|owner| of(owner, false)))
            .or_else(|| of(&self.root, &*self.root == client))
    }

    /// The policy of a call.
    pub(in crate::traffic) fn get(
        &self,
        client: &str,
        host: &str,
        owner: Option<&str>,
        subset: Option<&str>,
        port: u16,
    ) -> Result<&Arc<DestinationPolicy>, MissingSubset> {
        let rules = self.find(client, host, owner);
        match (rules, subset) {
            (None, None) => Ok(&DEFAULT),
            (Some(rules), None) => Ok(rules.host.get(port)),
            (rules, Some(subset)) => rules
                .and_then(|rules| rules.subsets.get(subset))
                .map(|ports| ports.get(port))
                .ok_or_else(|| MissingSubset { host: host.to_owned(), subset: subset.to_owned() }),
        }
    }

    /// The subsets of a host, in their order.
    pub(in crate::traffic) fn subsets(
        &self,
        client: &str,
        host: &str,
        owner: Option<&str>,
    ) -> Vec<&str> {
        let Some(rules) = self.find(client, host, owner) else { return Vec::new() };
        let mut names: Vec<&str> = rules.subsets.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }
}

impl DestinationRules {
    /// Several rules of one host: the subsets of all, and the first `trafficPolicy`
    /// (Istio: `mergeDestinationRule`).
    fn merge(rules: &[&DestinationRule], mut findings: Option<&mut Vec<Finding>>) -> Self {
        let mut say = |place, message| {
            if let Some(findings) = &mut findings {
                findings.push(Finding::warning(place, message));
            }
        };
        let resources: Vec<_> = rules.iter().map(|rule| Arc::clone(&rule.resource)).collect();
        let mut first: Option<&DestinationRule> = None;
        for rule in rules {
            let Some((_, place)) = &rule.policy else { continue };
            match first {
                None => first = Some(rule),
                Some(first) => say(
                    place.clone(),
                    format!(
                        "this `trafficPolicy` has no effect: that of {} in {} is for the same host and comes first",
                        first.resource, first.place
                    ),
                ),
            }
        }
        let top = first.and_then(|rule| rule.policy.as_ref()).map(|(policy, _)| policy);
        let none = Policy::default();
        let top = top.unwrap_or(&none);
        let host = Ports::new(top.ports.keys().copied(), |port| {
            top.of_port(port).clone().policy(&BTreeMap::new(), &resources)
        });
        let mut subsets: HashMap<Box<str>, Ports> = HashMap::new();
        for subset in rules.iter().flat_map(|rule| &rule.subsets) {
            if subsets.contains_key(&subset.name) {
                say(
                    subset.place.clone(),
                    format!(
                        "this subset has no effect: another DestinationRule for the same host, which comes first, has `{}` too",
                        subset.name
                    ),
                );
                continue;
            }
            let own = subset.policy.as_ref().unwrap_or(&none);
            let mut ports: Vec<u16> = top.ports.keys().chain(own.ports.keys()).copied().collect();
            ports.sort_unstable();
            ports.dedup();
            let blocks = |port| -> Blocks { top.of_port(port).overridden(own, port) };
            let ports = Ports::new(ports, |port| blocks(port).policy(&subset.labels, &resources));
            subsets.insert(subset.name.clone(), ports);
        }
        Self { host, subsets }
    }
}
