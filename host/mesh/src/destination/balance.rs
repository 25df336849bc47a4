//! Whose turn it is: from an immutable snapshot, in constant time and without allocation (with a
//! logarithm for consistent hashing).

mod levels;
mod ring;
mod weights;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use airhost_policy::traffic::{
    self as policy, ConsistentHash, DestinationPolicy, HashKey, LoadBalancer, Outlier, RetryPolicy,
};
use http::{HeaderMap, Uri, header};
use rand::Rng;

use self::{
    levels::{Level as Count, Loads},
    ring::{Node, Ring},
    weights::{Alias, below, turns},
};
use super::{
    endpoint::{Endpoint, EndpointSpec, Locality, Picked},
    outlier::Detector,
};

/// Picks again at most, when one falls on an endpoint that was tried before (Istio:
/// `hostSelectionRetryMaxAttempts`).
const PICKS_AGAIN: u32 = 5;
/// After so many tries their levels are left out, and after so many more those of these (Istio:
/// `PreviousPrioritiesConfig.UpdateFrequency`).
const TRIES_PER_LEVEL: usize = 2;

/// How the endpoints of a destination share its calls: `trafficPolicy`, as far as it says so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balancing {
    /// `loadBalancer`.
    pub load_balancer: LoadBalancer,
    /// `loadBalancer.localityLbSetting`; none when it is switched off. It is heeded only while
    /// something tells which endpoints are well: `outlier`, or `health`.
    pub preference: Option<Preference>,
    /// `outlierDetection`.
    pub outlier: Option<Outlier>,
    /// Whether somebody calls [`EndpointSet::set_health`](super::EndpointSet::set_health).
    pub health: bool,
}

impl Balancing {
    /// As a policy says, for callers at this place with these labels: those of the node, for all
    /// its services share the state of a destination. `health` is as in [`Balancing::health`].
    #[must_use]
    pub fn of(
        policy: &DestinationPolicy,
        own: &Locality,
        labels: &BTreeMap<String, String>,
        health: bool,
    ) -> Self {
        Self {
            load_balancer: policy.load_balancer.clone(),
            preference: Preference::of(&policy.locality, own, labels),
            outlier: policy.outlier.clone(),
            health,
        }
    }
}

/// Which endpoints are preferred by a caller at some place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// Where the caller is. When that is not known, places are of no matter.
    pub own: Locality,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// `failoverPriority`: labels (`name`, or `name=value` in place of the caller's own) that an
    /// endpoint should share with the caller, the first of them most of all.
    pub priority: Vec<Box<str>>,
    /// `failover`: from a region to the one that is next for it.
    pub failover: Vec<(Box<str>, Box<str>)>,
}

impl Preference {
    /// As a policy says, for callers at this place with these labels; none if it says that places
    /// are of no matter.
    #[must_use]
    pub fn of(
        policy: &policy::Locality,
        own: &Locality,
        labels: &BTreeMap<String, String>,
    ) -> Option<Self> {
        policy.enabled.then(|| Self {
            own: own.clone(),
            labels: labels.clone(),
            priority: policy.priority.clone(),
            failover: policy.failover.clone(),
        })
    }

    /// How far an endpoint is from what is wanted; 0 is best. The numbers have gaps.
    fn rank(&self, spec: &EndpointSpec) -> u32 {
        let missed = self.priority.iter().position(|wanted| !self.shares(wanted, spec));
        let by_labels = missed.map_or(0, |at| (self.priority.len() - at) as u32);
        // Istio: `failoverPriority` alone leaves the places to its labels.
        if self.own.is_unknown() || (!self.priority.is_empty() && self.failover.is_empty()) {
            return by_labels * 5;
        }
        by_labels * 5 + self.distance(&spec.locality)
    }

    /// Istio: pilot/pkg/networking/core/loadbalancer `applyLocalityFailover`.
    fn distance(&self, locality: &Locality) -> u32 {
        let distance = self.own.distance(locality);
        let next = self.failover.iter().find(|(from, _)| **from == *self.own.region);
        let elsewhere = next.is_some_and(|(_, to)| **to != *locality.region);
        distance + u32::from(distance == 3 && elsewhere)
    }

    fn shares(&self, wanted: &str, spec: &EndpointSpec) -> bool {
        let label = |name: &str, labels: &BTreeMap<String, String>, at: &Locality| {
            labels.get(name).cloned().unwrap_or_else(|| match name {
                "topology.kubernetes.io/region" => at.region.clone(),
                "topology.kubernetes.io/zone" => at.zone.clone(),
                "topology.istio.io/subzone" => at.subzone.clone(),
                _ => String::new(),
            })
        };
        match wanted.split_once('=') {
            Some((name, value)) => label(name, &spec.labels, &spec.locality) == value,
            None => {
                label(wanted, &spec.labels, &spec.locality)
                    == label(wanted, &self.labels, &self.own)
            }
        }
    }
}

/// The key of a request for consistent hashing; none when it has not got what is hashed, and any
/// endpoint will do.
#[must_use]
pub fn hash_key(
    settings: &ConsistentHash,
    headers: &HeaderMap,
    uri: &Uri,
    client: Option<IpAddr>,
) -> Option<u64> {
    match &settings.key {
        HashKey::Header(name) => {
            let values = headers.get_all(name).iter();
            values.fold(None, |hash, value| {
                Some(ring::hash_more(hash.unwrap_or(0), value.as_bytes()))
            })
        }
        HashKey::Cookie(name) => {
            let cookies = headers.get_all(header::COOKIE).iter();
            let pairs = cookies.filter_map(|field| field.to_str().ok()).flat_map(|f| f.split(';'));
            let found = pairs.filter_map(|pair| pair.trim().split_once('=')).find(|p| p.0 == name);
            found.map(|(_, value)| ring::hash(value.trim_matches('"').as_bytes()))
        }
        HashKey::SourceIp => client.map(|address| match address {
            IpAddr::V4(address) => ring::hash(&address.octets()),
            IpAddr::V6(address) => ring::hash(&address.octets()),
        }),
        HashKey::QueryParameter(name) => {
            let pairs =
                uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.into_iter().find(|p| p.0 == name).map(|(_, value)| ring::hash(value.as_bytes()))
        }
    }
}

/// What the tries of one call have been through. It allocates when a try has failed, not before.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    endpoints: Vec<u64>,
    /// Bit n is level n.
    levels: u16,
    /// The levels that are left out by now.
    left_out: u16,
    ignore_previous: bool,
    remote_localities: bool,
}

impl Tried {
    /// Nothing yet, of a call that is tried again in this way.
    #[must_use]
    pub fn new(policy: &RetryPolicy) -> Self {
        Self {
            ignore_previous: policy.ignore_previous,
            remote_localities: policy.remote_localities,
            ..Self::default()
        }
    }

    /// A try has failed that went to this endpoint.
    pub fn add(&mut self, picked: &Picked) {
        self.endpoints.push(picked.state().serial);
        self.levels |= 1 << picked.level();
        if self.remote_localities && self.endpoints.len().is_multiple_of(TRIES_PER_LEVEL) {
            self.left_out = self.levels;
        }
    }

    fn avoids(&self, endpoint: &Endpoint) -> bool {
        self.ignore_previous && self.endpoints.contains(&endpoint.state().serial)
    }
}

/// The endpoints of a destination as they are at a moment, and the tables to pick from.
#[derive(Debug)]
pub(super) struct Snapshot {
    members: Box<[Arc<Endpoint>]>,
    levels: Box<[Level]>,
    loads: Loads,
    /// Whether keys are of any matter.
    hashing: bool,
    pub(super) detector: Option<Arc<Detector>>,
}

/// The endpoints of one level that are used now.
#[derive(Debug)]
struct Level {
    members: Box<[u32]>,
    choice: Choice,
}

#[derive(Debug)]
enum Choice {
    LeastRequest,
    LeastRequestWeighted(Alias),
    Random,
    RandomWeighted(Alias),
    Turns(Box<[u32]>),
    Ring(Ring),
}

impl Snapshot {
    /// The tables for these endpoints. They are kept in the order of their ids, which is the same
    /// on every node.
    pub(super) fn new(
        mut members: Vec<Arc<Endpoint>>,
        balancing: &Balancing,
        detector: Option<Arc<Detector>>,
    ) -> Self {
        members.sort_by(|a, b| a.spec().id.cmp(&b.spec().id));
        let grouped = group(&members, balancing);
        let counts: Vec<Count> = grouped
            .iter()
            .map(|level| Count {
                healthy: level.iter().filter(|at| members[**at as usize].is_available()).count(),
                all: level.len(),
            })
            .collect();
        let panic_below = balancing.outlier.as_ref().map_or(0, |o| o.least_healthy_percent);
        let loads = Loads::new(&counts, panic_below);
        let levels = grouped.iter().enumerate().map(|(level, all)| {
            Level::new(all, &members, loads.is_panic(level), &balancing.load_balancer)
        });
        Self {
            levels: levels.collect(),
            loads,
            hashing: matches!(balancing.load_balancer, LoadBalancer::ConsistentHash(_)),
            members: members.into(),
            detector,
        }
    }

    /// Whether endpoints are used that are not well, because too few are.
    pub(super) fn is_panic(&self) -> bool {
        (0..self.levels.len()).any(|level| self.loads.is_panic(level))
    }

    /// The endpoint for the next try, and its level; none when nobody is there who is well.
    /// `turn` counts the turns of round robin.
    pub(super) fn pick(
        &self,
        key: Option<u64>,
        tried: &Tried,
        turn: &AtomicUsize,
        random: &mut impl Rng,
    ) -> Option<(&Arc<Endpoint>, u8)> {
        let mut picked = self.pick_once(key, tried, turn, random)?;
        for _ in 0..PICKS_AGAIN {
            // A key leads to the same one again (Istio: no `retryIgnorePreviousHosts` then).
            if !tried.avoids(picked.0) {
                break;
            }
            picked = self.pick_once(key, tried, turn, random)?;
        }
        Some(picked)
    }

    fn pick_once(
        &self,
        key: Option<u64>,
        tried: &Tried,
        turn: &AtomicUsize,
        random: &mut impl Rng,
    ) -> Option<(&Arc<Endpoint>, u8)> {
        let key = key.filter(|_| self.hashing);
        let at = if self.levels.len() > 1 {
            // A key stays in its level (Envoy: ThreadAwareLoadBalancerBase::chooseHost).
            let roll =
                key.map_or_else(|| below(random.next_u64(), 100) as u32, |key| (key % 100) as u32);
            if tried.left_out == 0 {
                self.loads.level(roll)
            } else {
                self.loads.without(tried.left_out).level(roll)
            }
        } else {
            0
        };
        let level = self.levels.get(at)?;
        let member = level.pick(&self.members, key, turn, random)?;
        Some((&self.members[member as usize], at as u8))
    }
}

/// The members by level, without gaps.
fn group(members: &[Arc<Endpoint>], balancing: &Balancing) -> Vec<Vec<u32>> {
    let all = || (0..members.len() as u32).collect::<Vec<_>>();
    let known = balancing.outlier.is_some() || balancing.health;
    let Some(preference) = balancing.preference.as_ref().filter(|_| known) else {
        return if members.is_empty() { Vec::new() } else { vec![all()] };
    };
    let mut ranks: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (member, at) in members.iter().zip(0_u32..) {
        ranks.entry(preference.rank(member.spec())).or_default().push(at);
    }
    let mut levels: Vec<Vec<u32>> = ranks.into_values().collect();
    // What is farther than there are levels is all the same.
    if levels.len() > levels::MOST {
        let rest: Vec<u32> = levels.drain(levels::MOST - 1..).flatten().collect();
        levels.push(rest);
    }
    levels
}

impl Level {
    fn new(
        all: &[u32],
        members: &[Arc<Endpoint>],
        panic: bool,
        load_balancer: &LoadBalancer,
    ) -> Self {
        let is_used = |at: &u32| panic || members[*at as usize].is_available();
        let used: Box<[u32]> = all.iter().copied().filter(is_used).collect();
        let weights: Vec<u32> = used.iter().map(|at| members[*at as usize].weight()).collect();
        let even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let choice = match load_balancer {
            // Callers name hosts, not addresses: there is nothing else to pass through to.
            LoadBalancer::LeastRequest | LoadBalancer::Passthrough if even => Choice::LeastRequest,
            LoadBalancer::LeastRequest | LoadBalancer::Passthrough => {
                Choice::LeastRequestWeighted(Alias::new(&weights))
            }
            LoadBalancer::Random if even => Choice::Random,
            LoadBalancer::Random => Choice::RandomWeighted(Alias::new(&weights)),
            LoadBalancer::RoundRobin => Choice::Turns(turns(&weights)),
            LoadBalancer::ConsistentHash(settings) => {
                let node = |at: &u32| {
                    let member = &members[*at as usize];
                    Node { id: &member.spec().id, weight: member.weight(), used: is_used(at) }
                };
                let nodes: Vec<_> = all.iter().map(node).collect();
                Choice::Ring(Ring::new(&nodes, settings.minimum_ring_size))
            }
        };
        let members = if matches!(choice, Choice::Ring(_)) { all.into() } else { used };
        Self { members, choice }
    }

    fn pick(
        &self,
        members: &[Arc<Endpoint>],
        key: Option<u64>,
        turn: &AtomicUsize,
        random: &mut impl Rng,
    ) -> Option<u32> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let at = match &self.choice {
            Choice::Ring(ring) => ring.find(key.unwrap_or_else(|| random.next_u64()))? as usize,
            _ if count == 1 => 0,
            Choice::Random => below(random.next_u64(), count),
            Choice::RandomWeighted(alias) => alias.draw(random.next_u64()),
            Choice::Turns(turns) => turns[turn.fetch_add(1, Relaxed) % turns.len()] as usize,
            Choice::LeastRequest => {
                let first = below(random.next_u64(), count);
                let other = below(random.next_u64(), count - 1);
                let second = if other < first { other } else { other + 1 };
                self.less_busy(members, first, second)
            }
            Choice::LeastRequestWeighted(alias) => {
                let first = alias.draw(random.next_u64());
                // Another one, if it is not too unlikely.
                let draws = (0..4).map(|_| alias.draw(random.next_u64()));
                let second = draws.into_iter().find(|second| *second != first).unwrap_or(first);
                self.less_busy(members, first, second)
            }
        };
        Some(self.members[at])
    }

    /// The one with fewer requests for its weight; the first when they are the same, so that idle
    /// endpoints are picked by their weights exactly.
    ///
    /// Envoy weighs by `weight / (active + 1)` in a schedule, which costs a lock and a logarithm
    /// for each pick. Two that are drawn by weight and compared by `active / weight` have the same
    /// shares while they are idle, and requests under way in proportion to their weights.
    fn less_busy(&self, members: &[Arc<Endpoint>], first: usize, second: usize) -> usize {
        let load = |at: usize| {
            let member = &members[self.members[at] as usize];
            (u64::from(member.active()), u64::from(member.weight()))
        };
        let ((active_1, weight_1), (active_2, weight_2)) = (load(first), load(second));
        if active_2 * weight_1 < active_1 * weight_2 { second } else { first }
    }
}

#[cfg(test)]
mod tests;
