//! Whom a call can go to.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use airhost_policy::traffic::{self as policy, ServicePort};

use super::outlier::Counters;

/// Where an endpoint or a caller is, from the wide to the narrow; empty where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// As `eu-central-1` (`topology.kubernetes.io/region`).
    pub region: String,
    /// As `eu-central-1a` (`topology.kubernetes.io/zone`).
    pub zone: String,
    /// As `rack-7` (`topology.istio.io/subzone`).
    pub subzone: String,
}

impl Locality {
    /// Reads Istio's form `region/zone/subzone`, whose end may be missing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), subzone: part() }
    }

    /// Whether nothing is known of it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }

    /// 0 in the same subzone, 1 in the same zone, 2 in the same region, 3 elsewhere (Istio:
    /// pilot/pkg/networking/util `LbPriority`).
    #[must_use]
    pub fn distance(&self, other: &Self) -> u32 {
        if self.region != other.region {
            3
        } else if self.zone != other.zone {
            2
        } else {
            u32::from(self.subzone != other.subzone)
        }
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, zone, subzone } = self;
        match (zone.is_empty(), subzone.is_empty()) {
            (_, false) => write!(f, "{region}/{zone}/{subzone}"),
            (false, true) => write!(f, "{region}/{zone}"),
            (true, true) => f.write_str(region),
        }
    }
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// In process: a pool of this node.
    Local {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// Through another node.
    Remote {
        /// The node's name.
        node: Arc<str>,
        /// The pool's name there.
        pool: Arc<str>,
        /// Where the node listens for other nodes.
        socket: SocketAddr,
    },
    /// A host outside, by address.
    External(SocketAddr),
    /// A host outside, by a name that is resolved when it is called.
    Named {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
}

/// What is known of an endpoint by whoever found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Names it within its destination, and is the same on every node: consistent hashing leads
    /// a key to the same endpoint from wherever it is asked.
    pub id: Arc<str>,
    /// How it is reached.
    pub address: Address,
    /// What subsets and preferences select by.
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub locality: Locality,
    /// Its share beside others; 0 counts as 1.
    pub weight: u32,
}

impl EndpointSpec {
    /// A pool of this node, which is called `node`.
    #[must_use]
    pub fn local(node: &str, pool: &str) -> Self {
        Self::new(format!("{node}/{pool}"), Address::Local { pool: pool.into() })
    }

    /// A pool of another node.
    #[must_use]
    pub fn remote(node: &str, pool: &str, socket: SocketAddr) -> Self {
        let address = Address::Remote { node: node.into(), pool: pool.into(), socket };
        Self::new(format!("{node}/{pool}"), address)
    }

    /// A host outside, by address.
    #[must_use]
    pub fn external(socket: SocketAddr) -> Self {
        Self::new(socket.to_string(), Address::External(socket))
    }

    /// A host outside, by name.
    #[must_use]
    pub fn named(host: &str, port: u16) -> Self {
        Self::new(format!("{host}:{port}"), Address::Named { host: host.into(), port })
    }

    /// An endpoint that a `ServiceEntry` lists, for calls to one of its ports.
    #[must_use]
    pub fn listed(endpoint: &policy::Endpoint, port: &ServicePort) -> Self {
        let port = endpoint.port(port);
        let spec = match &endpoint.address {
            policy::Address::Ip(ip) => Self::external(SocketAddr::new(*ip, port)),
            policy::Address::Name(name) => Self::named(name, port),
        };
        Self {
            labels: endpoint.labels.clone(),
            locality: endpoint.locality.as_deref().map(Locality::parse).unwrap_or_default(),
            weight: endpoint.weight,
            ..spec
        }
    }

    fn new(id: String, address: Address) -> Self {
        Self {
            id: id.into(),
            address,
            labels: BTreeMap::new(),
            locality: Locality::default(),
            weight: 1,
        }
    }

    /// Whether it is the same as another one, whatever is said of it: one that moved is new.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.address == other.address
    }
}

/// What changes while an endpoint is used. It stays when the endpoint's labels or weight change.
#[derive(Debug)]
pub(super) struct State {
    /// Never used twice in a set.
    pub(super) serial: u64,
    pub(super) active: AtomicU32,
    pub(super) healthy: AtomicBool,
    pub(super) ejected: AtomicBool,
    pub(super) counters: Counters,
}

/// An endpoint of a destination, with its live state.
#[derive(Debug)]
pub struct Endpoint {
    spec: EndpointSpec,
    state: Arc<State>,
}

impl Endpoint {
    /// One that was not there before.
    pub(super) fn fresh(spec: EndpointSpec, serial: u64) -> Self {
        let state = State {
            serial,
            active: AtomicU32::new(0),
            healthy: AtomicBool::new(true),
            ejected: AtomicBool::new(false),
            counters: Counters::default(),
        };
        Self { spec, state: Arc::new(state) }
    }

    /// The same one, of which something else is said.
    pub(super) fn described(&self, spec: EndpointSpec) -> Self {
        Self { spec, state: Arc::clone(&self.state) }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// What is known of it.
    #[must_use]
    pub fn spec(&self) -> &EndpointSpec {
        &self.spec
    }

    /// How it is reached.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.spec.address
    }

    /// Its share beside others, at least 1.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.spec.weight.max(1)
    }

    /// Requests under way to it from this destination.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.state.active.load(Relaxed)
    }

    /// Whether it is said to be well (see [`EndpointSet::set_health`](super::EndpointSet)).
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.state.healthy.load(Relaxed)
    }

    /// Whether outlier detection has put it out for a while.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.state.ejected.load(Relaxed)
    }

    pub(super) fn is_available(&self) -> bool {
        self.is_healthy() && !self.is_ejected()
    }
}

/// The endpoint of one try. It counts as under way there until this is dropped, which is to be
/// when the answer's body is over.
#[derive(Debug)]
#[must_use]
pub struct Picked {
    endpoint: Arc<Endpoint>,
    level: u8,
}

impl Picked {
    pub(super) fn new(endpoint: Arc<Endpoint>, level: u8) -> Self {
        endpoint.state.active.fetch_add(1, Relaxed);
        Self { endpoint, level }
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Its level of preference: 0 is the nearest that there is.
    pub(super) fn level(&self) -> u8 {
        self.level
    }
}

impl Deref for Picked {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.state.active.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localities_are_as_far_as_their_first_difference() {
        let here = Locality::parse("eu/eu-1/a");
        for (there, distance) in [
            ("eu/eu-1/a", 0),
            ("eu/eu-1/b", 1),
            ("eu/eu-1", 1),
            ("eu/eu-2/a", 2),
            ("eu", 2),
            ("us/eu-1/a", 3),
            ("", 3),
        ] {
            let locality = Locality::parse(there);
            assert_eq!(here.distance(&locality), distance, "{there}");
            assert_eq!(locality.to_string(), there);
        }
        assert!(Locality::parse("").is_unknown());
    }

    #[test]
    fn a_pool_has_one_id_wherever_it_is_seen_from() {
        let there = EndpointSpec::remote("n1", "standard", "10.0.0.1:15008".parse().unwrap());
        let here = EndpointSpec::local("n1", "standard");
        assert_eq!(there.id, here.id);
        assert!(!there.is(&here));
    }

    #[test]
    fn a_request_is_under_way_until_it_is_dropped() {
        let endpoint = Arc::new(Endpoint::fresh(EndpointSpec::local("n", "p"), 1));
        let first = Picked::new(Arc::clone(&endpoint), 0);
        let described = endpoint.described(EndpointSpec { weight: 0, ..endpoint.spec().clone() });
        assert_eq!((described.active(), described.weight()), (1, 1));
        drop(first);
        assert_eq!(endpoint.active(), 0);
    }
}
