//! The `istio_*` families: what both sides of a call between workloads count, with Istio's labels.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use airhost_core::ServiceName;
use arc_swap::ArcSwap;
use http::StatusCode;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{
    cell::{Buckets, Counter, Histogram},
    exposition::{Kind, Page, label},
};
use crate::ResponseFlag;

/// Most edges that are told apart; calls over further ones are counted under `other`.
const MAX_EDGES: usize = 4096;
/// Most series over all edges; what would need one more is counted in its edge's `other`.
const MAX_SERIES: usize = 16_384;
/// Most series of one edge: statuses are a service's own choice.
const MAX_SERIES_OF_EDGE: usize = 64;
/// A series that nothing was added to for so long is dropped (linkerd: `METRICS_RETAIN_IDLE`).
const IDLE: Duration = Duration::from_secs(600);
/// What is not known (Istio: proxy, `Unknown`).
const UNKNOWN: &str = "unknown";

/// Upper bounds of `istio_request_duration_milliseconds`: Istio's own, up to a minute.
static MILLISECONDS: Buckets = Buckets {
    unit: 1_000_000,
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

/// Upper bounds of `istio_request_bytes` and `istio_response_bytes`: powers of ten, as Istio's
/// Mixer had them.
static BYTES: Buckets = Buckets {
    unit: 1,
    bounds: &[
        (1, "1"),
        (10, "10"),
        (100, "100"),
        (1_000, "1000"),
        (10_000, "10000"),
        (100_000, "100000"),
        (1_000_000, "1000000"),
        (10_000_000, "10000000"),
        (100_000_000, "100000000"),
    ],
};

/// Which side of a call counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reporter {
    /// The caller's.
    Source,
    /// The callee's.
    Destination,
}

impl Reporter {
    fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// How the call was protected (`connection_security_policy`). Only the destination knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// In process between known identities, or mTLS.
    MutualTls,
    /// Plain text, or TLS without a certificate of the client.
    None,
    /// Not known, as Istio's clients report.
    Unknown,
}

impl Security {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::None => "none",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// `request_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP, also in process.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

/// One of the two workloads of a call. What is empty is `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// `*_workload`, and `*_app` and `*_canonical_service`, which are the same here.
    pub workload: Arc<str>,
    /// `*_workload_namespace`.
    pub namespace: Arc<str>,
    /// `*_principal`: the SPIFFE id.
    pub principal: Arc<str>,
    /// `*_version`, and `*_canonical_revision`: the first digits of the revision.
    pub version: Arc<str>,
}

impl Side {
    /// A workload of which only the name is known.
    #[must_use]
    pub fn named(workload: &str) -> Self {
        Self { workload: workload.into(), ..Self::default() }
    }
}

/// The service that was called, which may have several workloads or none that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// `destination_service`: its host in full, as `user-service.pyairtable.svc.cluster.local`.
    pub host: Arc<str>,
    /// `destination_service_name`.
    pub name: Arc<str>,
    /// `destination_service_namespace`.
    pub namespace: Arc<str>,
}

impl Destination {
    /// The service that a workload of the platform is of: the one of its name.
    #[must_use]
    pub fn of(side: &Side) -> Self {
        let (name, namespace) = (&side.workload, &side.namespace);
        let host = match &**namespace {
            "" => Arc::clone(name),
            namespace => format!("{name}.{namespace}.svc.cluster.local").into(),
        };
        Self { host, name: Arc::clone(name), namespace: Arc::clone(namespace) }
    }
}

/// The labels of a pair of workloads that call one another. None of them may be a name that a
/// client or a guest chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Which side counts.
    pub reporter: Reporter,
    /// Who calls.
    pub source: Side,
    /// Who answers.
    pub destination: Side,
    /// Which service was asked.
    pub service: Destination,
    /// How it was protected.
    pub security: Security,
}

impl Edge {
    fn other(&self) -> Self {
        let side = Side::named("other");
        Self {
            reporter: self.reporter,
            service: Destination::of(&side),
            source: side.clone(),
            destination: side,
            security: self.security,
        }
    }

    /// Whether the calls are for a service's own page: those that it reports itself.
    fn is_of(&self, service: &ServiceName) -> bool {
        let side = match self.reporter {
            Reporter::Source => &self.source,
            Reporter::Destination => &self.destination,
        };
        *side.workload == *service.as_str()
    }
}

/// What was seen of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which protocol.
    pub protocol: Protocol,
    /// `response_code`: what the caller saw, also if the host made it up; 0 if the caller left
    /// before there was a response (Envoy: `%RESPONSE_CODE%`).
    pub status: u16,
    /// `grpc_response_status`, if there was one.
    pub grpc_status: Option<u16>,
    /// Why, if it was not the destination's own answer.
    pub flag: ResponseFlag,
    /// Until the end of the response.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// gRPC messages of the request.
    pub request_messages: u64,
    /// gRPC messages of the response.
    pub response_messages: u64,
}

impl Seen {
    /// A call that was refused before anything of it moved.
    #[must_use]
    pub fn refused(status: StatusCode, flag: ResponseFlag) -> Self {
        Self {
            protocol: Protocol::Http,
            status: status.as_u16(),
            grpc_status: None,
            flag,
            duration: Duration::ZERO,
            request_bytes: 0,
            response_bytes: 0,
            request_messages: 0,
            response_messages: 0,
        }
    }
}

/// What tells the series of an edge apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Of {
        protocol: Protocol,
        status: u16,
        grpc_status: Option<u16>,
        flag: ResponseFlag,
    },
    /// All that came when there were too many.
    Other,
}

impl Key {
    fn of(seen: &Seen) -> Self {
        let Seen { protocol, status, grpc_status, flag, .. } = *seen;
        Self::Of { protocol, status, grpc_status, flag }
    }
}

#[derive(Debug)]
struct Series {
    key: Key,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    request_messages: Counter,
    response_messages: Counter,
    /// How many calls there were when somebody last looked, and since when there are so many.
    last: Mutex<(u64, Instant)>,
}

impl Series {
    fn new(key: Key) -> Self {
        Self {
            key,
            duration: Histogram::new(&MILLISECONDS),
            request_bytes: Histogram::new(&BYTES),
            response_bytes: Histogram::new(&BYTES),
            request_messages: Counter::default(),
            response_messages: Counter::default(),
            last: Mutex::new((0, Instant::now())),
        }
    }

    fn add(&self, seen: &Seen) {
        self.duration.record(seen.duration);
        self.request_bytes.observe(seen.request_bytes);
        self.response_bytes.observe(seen.response_bytes);
        if seen.protocol == Protocol::Grpc {
            self.request_messages.add(seen.request_messages);
            self.response_messages.add(seen.response_messages);
        }
    }

    /// Whether nothing was added for too long.
    fn is_idle(&self, now: Instant) -> bool {
        let count = self.duration.count();
        let mut last = self.last.lock();
        if last.0 != count {
            *last = (count, now);
        }
        now.saturating_duration_since(last.1) >= IDLE
    }

    fn labels(&self, of_edge: &str) -> String {
        let mut text = of_edge.to_owned();
        match self.key {
            Key::Of { protocol, status, grpc_status, flag } => {
                let protocol = if protocol == Protocol::Grpc { "grpc" } else { "http" };
                label(&mut text, "request_protocol", protocol);
                label(&mut text, "response_code", &status.to_string());
                // A label without a text is the same as none, which is what Istio has for HTTP.
                let grpc = grpc_status.map_or_else(String::new, |status| status.to_string());
                label(&mut text, "grpc_response_status", &grpc);
                label(&mut text, "response_flags", flag.as_str());
            }
            Key::Other => {
                label(&mut text, "request_protocol", "other");
                label(&mut text, "response_code", "other");
                label(&mut text, "grpc_response_status", "");
                label(&mut text, "response_flags", "other");
            }
        }
        text
    }
}

/// What is counted for one [`Edge`]. A handle that is held for long stays good: series that were
/// dropped because nobody called come back with the next call.
#[derive(Debug)]
pub struct EdgeMetrics {
    /// Those that all series have.
    labels: String,
    series: ArcSwap<Vec<Arc<Series>>>,
    /// Held while `series` is replaced.
    change: Mutex<()>,
    /// Over all edges.
    total: Arc<AtomicUsize>,
}

impl EdgeMetrics {
    fn new(edge: &Edge, cluster: &str, total: Arc<AtomicUsize>) -> Self {
        Self {
            labels: labels(edge, cluster),
            series: ArcSwap::default(),
            change: Mutex::default(),
            total,
        }
    }

    /// Counts one call.
    pub fn record(&self, seen: &Seen) {
        let key = Key::of(seen);
        // Few statuses are usual, and the first that was seen is nearly always the one.
        if let Some(series) = self.series.load().iter().find(|series| series.key == key) {
            return series.add(seen);
        }
        self.grow(key).add(seen);
    }

    fn grow(&self, key: Key) -> Arc<Series> {
        let _change = self.change.lock();
        let mut series = Vec::clone(&self.series.load());
        let find = |series: &[Arc<Series>], key| {
            series.iter().find(|series| series.key == key).map(Arc::clone)
        };
        if let Some(known) = find(&series, key) {
            return known;
        }
        let full = series.len() >= MAX_SERIES_OF_EDGE || self.total.load(Relaxed) >= MAX_SERIES;
        let key = if full { Key::Other } else { key };
        if let Some(other) = find(&series, key) {
            return other;
        }
        let new = Arc::new(Series::new(key));
        series.push(Arc::clone(&new));
        self.total.fetch_add(1, Relaxed);
        self.series.store(Arc::new(series));
        new
    }

    /// Drops the series that nothing was added to for too long; answers whether there are any left.
    fn sweep(&self, now: Instant) -> bool {
        let idle = |series: &Arc<Series>| series.is_idle(now);
        if !self.series.load().iter().any(idle) {
            return !self.series.load().is_empty();
        }
        let _change = self.change.lock();
        let before = self.series.load_full();
        let left: Vec<_> = before.iter().filter(|series| !idle(series)).cloned().collect();
        self.total.fetch_sub(before.len() - left.len(), Relaxed);
        let any = !left.is_empty();
        self.series.store(Arc::new(left));
        any
    }
}

/// All edges of a node.
#[derive(Debug)]
pub(super) struct Edges {
    cluster: Box<str>,
    edges: RwLock<BTreeMap<Edge, Arc<EdgeMetrics>>>,
    series: Arc<AtomicUsize>,
}

impl Edges {
    pub(super) fn new(cluster: &str) -> Self {
        Self { cluster: cluster.into(), edges: RwLock::default(), series: Arc::default() }
    }

    pub(super) fn get(&self, edge: &Edge) -> Arc<EdgeMetrics> {
        if let Some(found) = self.edges.read().get(edge) {
            return Arc::clone(found);
        }
        let mut edges = self.edges.write();
        if edges.len() >= MAX_EDGES && !edges.contains_key(edge) {
            drop(edges);
            self.sweep(Instant::now());
            edges = self.edges.write();
        }
        let full = edges.len() >= MAX_EDGES && !edges.contains_key(edge);
        let key = if full { edge.other() } else { edge.clone() };
        let new = EdgeMetrics::new(&key, &self.cluster, Arc::clone(&self.series));
        Arc::clone(edges.entry(key).or_insert_with(|| Arc::new(new)))
    }

    /// Drops series without calls for ten minutes, and edges that have none and that nobody holds.
    fn sweep(&self, now: Instant) {
        let all: Vec<_> = self.edges.read().values().cloned().collect();
        let empty = all.iter().filter(|edge| !edge.sweep(now)).count();
        drop(all);
        if empty > 0 {
            let unused = |edge: &Arc<EdgeMetrics>| {
                Arc::strong_count(edge) == 1 && edge.series.load().is_empty()
            };
            self.edges.write().retain(|_, edge| !unused(edge));
        }
    }

    /// Writes the families: of all edges, or of those that a service reports.
    pub(super) fn render(&self, page: &mut Page, of: Option<&ServiceName>) {
        self.sweep(Instant::now());
        let edges: Vec<Arc<EdgeMetrics>> = {
            let edges = self.edges.read();
            let wanted = edges.iter().filter(|(edge, _)| of.is_none_or(|name| edge.is_of(name)));
            wanted.map(|(_, edge)| Arc::clone(edge)).collect()
        };
        let mut series: Vec<(String, Arc<Series>)> = Vec::new();
        for edge in &edges {
            let mut all = Vec::clone(&edge.series.load());
            all.sort_by_key(|series| series.key);
            series.extend(all.into_iter().map(|series| (series.labels(&edge.labels), series)));
        }
        page.family("istio_requests_total", Kind::Counter, "Calls between workloads.");
        for (labels, series) in &series {
            page.labelled(labels, series.duration.count());
        }
        type Of<T> = fn(&Series) -> &T;
        let histograms: [(_, _, Of<Histogram>); 3] = [
            ("istio_request_duration_milliseconds", "Duration of calls.", |of| &of.duration),
            ("istio_request_bytes", "Size of requests' bodies.", |of| &of.request_bytes),
            ("istio_response_bytes", "Size of responses' bodies.", |of| &of.response_bytes),
        ];
        for (name, help, histogram) in histograms {
            page.family(name, Kind::Histogram, help);
            for (labels, series) in &series {
                page.histogram(labels, histogram(series));
            }
        }
        let messages: [(_, _, Of<Counter>); 2] = [
            ("istio_request_messages_total", "gRPC messages sent.", |of| &of.request_messages),
            ("istio_response_messages_total", "gRPC messages received.", |of| {
                &of.response_messages
            }),
        ];
        for (name, help, counter) in messages {
            page.family(name, Kind::Counter, help);
            for (labels, series) in &series {
                if matches!(series.key, Key::Of { protocol: Protocol::Grpc, .. }) {
                    page.labelled(labels, counter(series).get());
                }
            }
        }
    }
}

/// The labels of all series of an edge, by Istio's names.
fn labels(edge: &Edge, cluster: &str) -> String {
    fn known(text: &str) -> &str {
        if text.is_empty() { UNKNOWN } else { text }
    }
    let mut text = String::with_capacity(1024);
    label(&mut text, "reporter", edge.reporter.as_str());
    for (prefix, side) in [("source", &edge.source), ("destination", &edge.destination)] {
        let workload = known(&side.workload);
        // A workload without a version is the one there is (Istio: canonical revision `latest`).
        let revision = match (&*side.version, &*side.workload) {
            ("", "") => UNKNOWN,
            ("", _) => "latest",
            (version, _) => version,
        };
        let cluster = if side.workload.is_empty() { UNKNOWN } else { known(cluster) };
        for (name, value) in [
            ("workload", workload),
            ("workload_namespace", known(&side.namespace)),
            ("principal", known(&side.principal)),
            ("app", workload),
            ("version", known(&side.version)),
            ("canonical_service", workload),
            ("canonical_revision", revision),
            ("cluster", cluster),
        ] {
            label(&mut text, &format!("{prefix}_{name}"), value);
        }
    }
    label(&mut text, "destination_service", known(&edge.service.host));
    label(&mut text, "destination_service_name", known(&edge.service.name));
    label(&mut text, "destination_service_namespace", known(&edge.service.namespace));
    label(&mut text, "connection_security_policy", edge.security.as_str());
    text
}

#[cfg(test)]
mod tests;
