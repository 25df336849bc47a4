//! The catalogue of metrics: every family the host has, as fields of typed structs.
//!
//! A handle ([`ServiceMetrics`], [`EdgeMetrics`]) is looked up once per service or per pair of
//! workloads and then held; counting is an indexed atomic add, without hashing a label. That is
//! why this is not `prometheus-client`, whose families hash the label set on every access and
//! whose histograms take a lock on every observation. Label values come from closed sets and from
//! names of deployed services, so that no client can make a series.
//!
//! Whoever knows numbers already, as the mesh of its endpoints, tells them when they are asked for
//! ([`Metrics::register`]).

mod calls;
mod cell;
mod exposition;
mod process;
mod render;
mod statuses;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use airhost_core::ServiceName;
use arc_swap::ArcSwap;
use http::{Method, StatusCode};
use parking_lot::RwLock;

use calls::Edges;
pub use calls::{Destination, Edge, EdgeMetrics, Protocol, Reporter, Security, Seen, Side};
pub use cell::{Buckets, Counter, Gauge, Histogram, Snapshot};
pub use exposition::{Format, Kind, Page};
use statuses::Statuses;

/// Upper bounds of `http_request_duration_seconds`.
static SECONDS: Buckets = Buckets {
    unit: 1_000_000_000,
    bounds: &[
        (500_000, "0.0005"),
        (1_000_000, "0.001"),
        (2_500_000, "0.0025"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (25_000_000, "0.025"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
        (200_000_000, "0.2"),
        (500_000_000, "0.5"),
        (1_000_000_000, "1"),
        (2_500_000_000, "2.5"),
        (5_000_000_000, "5"),
        (10_000_000_000, "10"),
        (30_000_000_000, "30"),
    ],
};

/// All metrics of a node.
pub struct Metrics {
    /// Log lines that were dropped because the sink was too slow
    /// (`airhost_log_lines_dropped_total`).
    pub log_lines_dropped: Counter,
    services: RwLock<BTreeMap<ServiceName, Arc<ServiceMetrics>>>,
    edges: Edges,
    known: ArcSwap<Known>,
    collectors: RwLock<Vec<Weak<dyn Collect>>>,
}

/// What was said of the services of this node.
#[derive(Debug, Default)]
struct Known {
    version: u64,
    services: BTreeMap<ServiceName, Side>,
}

/// Tells of itself when metrics are asked for: what is known elsewhere already and need not be
/// counted a second time.
pub trait Collect: Send + Sync {
    /// Writes its families, each of them once and whole. It must not wait.
    fn collect(&self, page: &mut Page);
}

/// What is counted for one service on this node.
#[derive(Debug)]
pub struct ServiceMetrics {
    /// Requests that it served.
    pub http: HttpMetrics,
    /// Its instances.
    pub guest: GuestMetrics,
    /// Its outbox.
    pub outbox: OutboxMetrics,
    /// Deploys of it (`airhost_deploys_total`).
    pub deploys: DeployMetrics,
    /// Its database connections.
    pub database: DatabaseMetrics,
}

/// `http_requests_total{service,method,status}` and `http_request_duration_seconds{service}`.
#[derive(Debug)]
pub struct HttpMetrics {
    methods: [OnceLock<Box<Statuses>>; METHODS.len()],
    duration: Histogram,
}

/// Methods that have a label of their own; all others share `OTHER`.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"];

impl HttpMetrics {
    /// Counts one request.
    pub fn record(&self, method: &Method, status: StatusCode, duration: Duration) {
        let index =
            METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        self.methods[index].get_or_init(Statuses::new).add(status);
        self.duration.record(duration);
    }

    /// How many requests were answered with a status in the range, over all methods.
    #[must_use]
    pub fn count(&self, statuses: std::ops::Range<u16>) -> u64 {
        self.methods
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|table| table.nonzero())
            .filter(|(status, _)| status.is_some_and(|status| statuses.contains(&status)))
            .map(|(_, count)| count)
            .sum()
    }

    /// The distribution of durations, for canary analysis.
    #[must_use]
    pub fn duration(&self) -> &Histogram {
        &self.duration
    }
}

/// `airhost_guest_*`: the instances of a service.
#[derive(Debug, Default)]
pub struct GuestMetrics {
    /// Instances at work now (`airhost_guest_instances_busy`).
    pub instances_busy: Gauge,
    /// Requests that wait for an instance (`airhost_guest_queue_depth`).
    pub queue_depth: Gauge,
    /// CPU time in guest code, in nanoseconds (`airhost_guest_cpu_seconds_total`).
    pub cpu_nanos: Counter,
    /// The largest linear memory an instance had, in bytes (`airhost_guest_memory_peak_bytes`).
    pub memory_peak: Gauge,
    /// Lines over the limits (`airhost_guest_log_lines_dropped_total`).
    pub log_lines_dropped: Counter,
    traps: [Counter; TRAPS.len()],
}

/// Error codes that have a trap label of their own; all others share `other`.
const TRAPS: [&str; 8] = [
    "guest.trap",
    "guest.cpu-limit",
    "guest.memory-limit",
    "guest.no-response",
    "guest.output-limit",
    "guest.init",
    "deadline.exceeded",
    "other",
];

impl GuestMetrics {
    /// Counts an instance that ended in an error with this code (`airhost_guest_traps_total`).
    pub fn trap(&self, code: &str) {
        let index = TRAPS.iter().position(|name| *name == code).unwrap_or(TRAPS.len() - 1);
        self.traps[index].add(1);
    }
}

/// The outbox of a service: what is committed and not yet sent.
#[derive(Debug, Default)]
pub struct OutboxMetrics {
    /// Age of the oldest event, in milliseconds (`airhost_outbox_lag_seconds`).
    pub lag_millis: Gauge,
    /// Number of events (`airhost_outbox_pending_events`).
    pub pending: Gauge,
}

/// How a deploy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeployResult {
    /// The revision serves.
    Promoted,
    /// It served, and the old one serves again.
    RolledBack,
    /// It was found unfit before it served.
    Refused,
    /// The host failed.
    Failed,
}

const DEPLOY_RESULTS: [&str; 4] = ["promoted", "rolled-back", "refused", "failed"];

/// `airhost_deploys_total{service,result}`.
#[derive(Debug, Default)]
pub struct DeployMetrics([Counter; DEPLOY_RESULTS.len()]);

impl DeployMetrics {
    /// Counts one deploy.
    pub fn record(&self, result: DeployResult) {
        self.0[result as usize].add(1);
    }
}

/// `db_pool_connections{service,state}` and `db_pool_connections_max{service}`.
#[derive(Debug, Default)]
pub struct DatabaseMetrics {
    /// Connections in use.
    pub busy: Gauge,
    /// Open connections that nobody uses.
    pub idle: Gauge,
    /// The most there may be; the families are left out while it is 0.
    pub max: Gauge,
}

impl Metrics {
    /// An empty catalogue.
    #[must_use]
    pub fn new() -> Self {
        Self::of_cluster("")
    }

    /// An empty catalogue, for a mesh whose cluster has this name (`source_cluster`,
    /// `destination_cluster`).
    #[must_use]
    pub fn of_cluster(cluster: &str) -> Self {
        process::note_start();
        Self {
            log_lines_dropped: Counter::default(),
            services: RwLock::default(),
            edges: Edges::new(cluster),
            known: ArcSwap::default(),
            collectors: RwLock::default(),
        }
    }

    /// The handle of a service; hold it.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Arc<ServiceMetrics> {
        if let Some(found) = self.services.read().get(name) {
            return Arc::clone(found);
        }
        Arc::clone(self.services.write().entry(name.clone()).or_insert_with(|| {
            Arc::new(ServiceMetrics {
                http: HttpMetrics {
                    methods: std::array::from_fn(|_| OnceLock::new()),
                    duration: Histogram::new(&SECONDS),
                },
                guest: GuestMetrics::default(),
                outbox: OutboxMetrics::default(),
                deploys: DeployMetrics::default(),
                database: DatabaseMetrics::default(),
            })
        }))
    }

    /// The handle of an edge between workloads; hold it. Beyond 4 096 edges, those that are new
    /// share the name `other`.
    #[must_use]
    pub fn edge(&self, edge: &Edge) -> Arc<EdgeMetrics> {
        self.edges.get(edge)
    }

    /// Says what the labels of the services of this node are, in the place of what was said before.
    pub fn know(&self, services: impl IntoIterator<Item = (ServiceName, Side)>) {
        let services: BTreeMap<_, _> = services.into_iter().collect();
        self.known.rcu(|before| Known { version: before.version + 1, services: services.clone() });
    }

    /// The edge from clients to a service, which is in plain text or without a client's
    /// certificate; it lasts for as long as [`Metrics::known_version`] stays the same.
    #[must_use]
    pub fn from_clients(&self, service: &ServiceName) -> Arc<EdgeMetrics> {
        let known = self.known.load();
        let side = known.services.get(service).cloned();
        let side = side.unwrap_or_else(|| Side::named(service.as_str()));
        self.edge(&Edge {
            reporter: Reporter::Destination,
            source: Side::default(),
            service: Destination::of(&side),
            // Nobody has asked for it (Istio: both principals are unknown without mTLS).
            destination: Side { principal: Arc::default(), ..side },
            security: Security::None,
        })
    }

    /// Changes when something else is said of the services of this node.
    #[must_use]
    pub fn known_version(&self) -> u64 {
        self.known.load().version
    }

    /// Lets somebody tell of itself for as long as it is there.
    pub fn register(&self, collector: &Arc<impl Collect + 'static>) {
        let collector: Weak<dyn Collect> = Arc::downgrade(collector) as _;
        let mut collectors = self.collectors.write();
        collectors.retain(|known| known.strong_count() > 0);
        collectors.push(collector);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
