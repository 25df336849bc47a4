//! The catalogue of metrics: every family the host has, as fields of typed structs.
//!
//! A handle ([`ServiceMetrics`], [`EdgeMetrics`]) is looked up once per service or per pair of
//! services and then held; counting is an indexed atomic add, without hashing a label. That is
//! why this is not `prometheus-client`, whose families hash the label set on every access and
//! whose histograms take a lock on every observation. Label values come from closed sets and from
//! names of deployed services, so that no client can make a series.

mod cell;
mod exposition;
mod process;
mod render;
mod statuses;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use airhost_core::ServiceName;
use http::{Method, StatusCode};
use parking_lot::RwLock;

pub use cell::{Buckets, Counter, Gauge, Histogram};
use statuses::Statuses;

use crate::ResponseFlag;

/// Most pairs of services that are told apart; calls of further ones are counted under `other`.
const MAX_EDGES: usize = 4096;

/// Upper bounds of `http_request_duration_seconds`.
static SECONDS: Buckets = Buckets {
    unit: Duration::from_secs(1),
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

/// Upper bounds of `istio_request_duration_milliseconds`: Istio's own, up to a minute.
static MILLISECONDS: Buckets = Buckets {
    unit: Duration::from_millis(1),
    bounds: &[
        (500_000, "0.5"),
        (1_000_000, "1"),
        (5_000_000, "5"),
        (10_000_000, "10"),
        (25_000_000, "25"),
        (50_000_000, "50"),
        (100_000_000, "100"),
        (250_000_000, "250"),
        (500_000_000, "500"),
        (1_000_000_000, "1000"),
        (2_500_000_000, "2500"),
        (5_000_000_000, "5000"),
        (10_000_000_000, "10000"),
        (30_000_000_000, "30000"),
        (60_000_000_000, "60000"),
    ],
};

/// All metrics of a node.
#[derive(Debug)]
pub struct Metrics {
    /// Log lines that were dropped because the sink was too slow
    /// (`airhost_log_lines_dropped_total`).
    pub log_lines_dropped: Counter,
    services: RwLock<BTreeMap<ServiceName, Arc<ServiceMetrics>>>,
    edges: RwLock<BTreeMap<EdgeKey, Arc<EdgeMetrics>>>,
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

/// Which side of a call counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reporter {
    /// The caller's.
    Source,
    /// The callee's.
    Destination,
}

/// How the call was protected (`connection_security_policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// In process between known identities, or mTLS.
    MutualTls,
    /// Plain text.
    None,
    /// Not known, as Istio's clients report.
    Unknown,
}

/// `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP, also in process.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// The labels of a pair of services.
#[derive(Clone, Copy, Debug)]
pub struct Edge<'a> {
    /// Which side counts.
    pub reporter: Reporter,
    /// The caller's name: a service, `unknown` for a client at a listener, or `airhost`.
    pub source: &'a str,
    /// The callee's name: a service, or a host of the caller's egress grants. Never a name that a
    /// client or a guest chose.
    pub destination: &'a str,
    /// How it was protected.
    pub security: Security,
    /// Which protocol.
    pub protocol: Protocol,
}

type EdgeKey = (Box<str>, Box<str>, Reporter, Security, Protocol);

/// `istio_requests_total` and `istio_request_duration_milliseconds` of one pair of services.
/// Durations have no `response_code` and `response_flags` labels: twenty buckets for each of them
/// would be most of a scrape.
#[derive(Debug)]
pub struct EdgeMetrics {
    labels: String,
    flags: [OnceLock<Box<Statuses>>; ResponseFlag::ALL.len()],
    duration: Histogram,
}

impl EdgeMetrics {
    /// Counts one call. `status` is what the caller saw, also if the host made it up.
    pub fn record(&self, status: StatusCode, flag: ResponseFlag, duration: Duration) {
        self.flags[flag as usize].get_or_init(Statuses::new).add(status);
        self.duration.record(duration);
    }
}

impl Metrics {
    /// An empty catalogue.
    #[must_use]
    pub fn new() -> Self {
        process::note_start();
        Self {
            log_lines_dropped: Counter::default(),
            services: RwLock::default(),
            edges: RwLock::default(),
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

    /// The handle of a pair of services; hold it. Beyond 4 096 pairs, those that are new share
    /// the names `other`.
    #[must_use]
    pub fn edge(&self, edge: &Edge<'_>) -> Arc<EdgeMetrics> {
        let key = |source: &str, destination: &str| -> EdgeKey {
            (source.into(), destination.into(), edge.reporter, edge.security, edge.protocol)
        };
        let mut wanted = key(edge.source, edge.destination);
        if let Some(found) = self.edges.read().get(&wanted) {
            return Arc::clone(found);
        }
        let mut edges = self.edges.write();
        if edges.len() >= MAX_EDGES && !edges.contains_key(&wanted) {
            wanted = key("other", "other");
        }
        let labels = render::edge_labels(&wanted);
        Arc::clone(edges.entry(wanted).or_insert_with(|| {
            Arc::new(EdgeMetrics {
                labels,
                flags: std::array::from_fn(|_| OnceLock::new()),
                duration: Histogram::new(&MILLISECONDS),
            })
        }))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
