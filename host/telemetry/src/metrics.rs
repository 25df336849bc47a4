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
mod statuses;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use airhost_core::ServiceName;
use http::{Method, StatusCode};
use parking_lot::RwLock;

pub use cell::{Buckets, Counter, Gauge, Histogram};
use exposition::{Kind, Page};
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
        let index = METHODS
            .iter()
            .position(|name| *name == method.as_str())
            .unwrap_or(METHODS.len() - 1);
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
        let labels = edge_labels(&wanted);
        Arc::clone(edges.entry(wanted).or_insert_with(|| {
            Arc::new(EdgeMetrics {
                labels,
                flags: std::array::from_fn(|_| OnceLock::new()),
                duration: Histogram::new(&MILLISECONDS),
            })
        }))
    }

    /// Everything in the Prometheus text format 0.0.4
    /// (`text/plain; version=0.0.4; charset=utf-8`).
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::default();
        page.family("airhost_build_info", Kind::Gauge, "The version of the host.");
        page.sample(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
        process::render(&mut page);
        page.family(
            "airhost_log_lines_dropped_total",
            Kind::Counter,
            "Log lines dropped because the sink was too slow.",
        );
        page.sample("", self.log_lines_dropped.get());
        let services: Vec<_> = self.services.read().clone().into_iter().collect();
        render_services(&mut page, &services);
        let edges: Vec<_> = self.edges.read().values().cloned().collect();
        render_edges(&mut page, &edges);
        page.finish()
    }

    /// What concerns one service, in the same format: its own families, and the calls it reports.
    #[must_use]
    pub fn render_service(&self, name: &ServiceName) -> String {
        let mut page = Page::default();
        let service = self.services.read().get(name).cloned();
        if let Some(service) = service {
            render_services(&mut page, &[(name.clone(), service)]);
        }
        let edges: Vec<_> = self
            .edges
            .read()
            .iter()
            .filter(|((source, destination, reporter, ..), _)| match reporter {
                Reporter::Source => **source == *name.as_str(),
                Reporter::Destination => **destination == *name.as_str(),
            })
            .map(|(_, edge)| Arc::clone(edge))
            .collect();
        render_edges(&mut page, &edges);
        page.finish()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn edge_labels((source, destination, reporter, security, protocol): &EdgeKey) -> String {
    let reporter = match reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    };
    let security = match security {
        Security::MutualTls => "mutual_tls",
        Security::None => "none",
        Security::Unknown => "unknown",
    };
    let protocol = match protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
    };
    let mut labels = format!("reporter=\"{reporter}\",source_workload=\"");
    exposition::escape(&mut labels, source);
    labels.push_str("\",destination_workload=\"");
    exposition::escape(&mut labels, destination);
    // Writing to a String cannot fail.
    let _ok = write!(
        labels,
        "\",connection_security_policy=\"{security}\",request_protocol=\"{protocol}\""
    );
    labels
}

type Named = (ServiceName, Arc<ServiceMetrics>);

fn render_services(page: &mut Page, services: &[Named]) {
    page.family("http_requests_total", Kind::Counter, "Requests served, by method and status.");
    for (name, service) in services {
        for (method, table) in METHODS.iter().zip(&service.http.methods) {
            for (status, count) in table.get().into_iter().flat_map(|table| table.nonzero()) {
                let status = Statuses::label(status);
                page.sample(
                    &format!("service=\"{name}\",method=\"{method}\",status=\"{status}\""),
                    count,
                );
            }
        }
    }
    page.family(
        "http_request_duration_seconds",
        Kind::Histogram,
        "Time from the request's head to the response's end.",
    );
    for (name, service) in services {
        page.histogram(&format!("service=\"{name}\""), &service.http.duration);
    }
    let gauges: [(&str, &str, fn(&ServiceMetrics) -> i64); 5] = [
        ("airhost_guest_instances_busy", "Instances at work now.", |s| {
            s.guest.instances_busy.get()
        }),
        ("airhost_guest_queue_depth", "Requests that wait for an instance.", |s| {
            s.guest.queue_depth.get()
        }),
        (
            "airhost_guest_memory_peak_bytes",
            "The largest linear memory an instance had.",
            |s| s.guest.memory_peak.get(),
        ),
        ("airhost_outbox_pending_events", "Events committed and not yet sent.", |s| {
            s.outbox.pending.get()
        }),
        ("db_pool_connections_max", "The most database connections there may be.", |s| {
            s.database.max.get()
        }),
    ];
    for (family, help, value) in gauges {
        page.family(family, Kind::Gauge, help);
        for (name, service) in services {
            page.sample(&format!("service=\"{name}\""), value(service));
        }
    }
    page.family(
        "airhost_outbox_lag_seconds",
        Kind::Gauge,
        "Age of the oldest event that is not yet sent.",
    );
    for (name, service) in services {
        page.sample(
            &format!("service=\"{name}\""),
            service.outbox.lag_millis.get() as f64 / 1000.0,
        );
    }
    page.family("db_pool_connections", Kind::Gauge, "Open database connections, by state.");
    for (name, service) in services {
        for (state, gauge) in [("busy", &service.database.busy), ("idle", &service.database.idle)] {
            page.sample(&format!("service=\"{name}\",state=\"{state}\""), gauge.get());
        }
    }
    page.family(
        "airhost_guest_cpu_seconds_total",
        Kind::Counter,
        "CPU time spent in guest code.",
    );
    for (name, service) in services {
        let seconds = Duration::from_nanos(service.guest.cpu_nanos.get()).as_secs_f64();
        page.sample(&format!("service=\"{name}\""), seconds);
    }
    page.family(
        "airhost_guest_log_lines_dropped_total",
        Kind::Counter,
        "Guests' log lines over their limits.",
    );
    for (name, service) in services {
        page.sample(&format!("service=\"{name}\""), service.guest.log_lines_dropped.get());
    }
    page.family(
        "airhost_guest_traps_total",
        Kind::Counter,
        "Instances that ended in an error, by its code.",
    );
    for (name, service) in services {
        for (code, counter) in TRAPS.iter().zip(&service.guest.traps) {
            page.sample(&format!("service=\"{name}\",code=\"{code}\""), counter.get());
        }
    }
    page.family("airhost_deploys_total", Kind::Counter, "Deploys, by result.");
    for (name, service) in services {
        for (result, counter) in DEPLOY_RESULTS.iter().zip(&service.deploys.0) {
            page.sample(&format!("service=\"{name}\",result=\"{result}\""), counter.get());
        }
    }
}

fn render_edges(page: &mut Page, edges: &[Arc<EdgeMetrics>]) {
    page.family("istio_requests_total", Kind::Counter, "Calls between services.");
    for edge in edges {
        for (flag, table) in ResponseFlag::ALL.iter().zip(&edge.flags) {
            for (status, count) in table.get().into_iter().flat_map(|table| table.nonzero()) {
                let status = Statuses::label(status);
                page.sample(
                    &format!(
                        "{},response_code=\"{status}\",response_flags=\"{flag}\"",
                        edge.labels
                    ),
                    count,
                );
            }
        }
    }
    page.family(
        "istio_request_duration_milliseconds",
        Kind::Histogram,
        "Duration of calls between services.",
    );
    for edge in edges {
        page.histogram(&edge.labels, &edge.duration);
    }
}

#[cfg(test)]
mod tests;
