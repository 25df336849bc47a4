//! The access log: one line for every request, also for those that were dropped on the way.
//!
//! A line has Istio's keys (pilot/pkg/model/telemetry_logging.go) beside those of every line of
//! the host. Whether it is written is the access log's own affair ([`Config`]), not that of the
//! log's levels.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use airhost_core::{CorrelationId, ServiceName, Tenant, TraceContext};
use http::{Method, StatusCode, Version};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::{
    ResponseFlag,
    log::{HOST, Level, Logs},
};

/// Longest path that is written, in bytes.
const MAX_PATH: usize = 1024;
/// Longest header field that is written, in bytes.
const MAX_FIELD: usize = 256;

/// Which lines are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Of requests that came to a listener. All.
    pub inbound: Lines,
    /// Of calls that services make. None.
    pub outbound: Lines,
    /// The share of the lines that are no failures, from 0 to 1. All. The lines of one trace are
    /// all written or none.
    pub sample: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { inbound: Lines::All, outbound: Lines::Off, sample: 1.0 }
    }
}

impl Config {
    /// Whether a line is written once it is known how the request ended.
    fn wants(&self, record: &Record, status: u16, flag: ResponseFlag) -> bool {
        let lines = match record.direction {
            Direction::Inbound => self.inbound,
            Direction::Outbound => self.outbound,
        };
        let failed = status >= 500 || !matches!(flag, ResponseFlag::None);
        match lines {
            Lines::Off => false,
            Lines::Failures => failed,
            Lines::All => failed || self.samples(&record.trace),
        }
    }

    fn samples(&self, trace: &TraceContext) -> bool {
        if self.sample >= 1.0 {
            return true;
        }
        // The last bytes of an id are random in every version (W3C Trace Context Level 2, 3.2.2.3).
        let [.., a, b, c, d] = trace.trace_id;
        f64::from(u32::from_be_bytes([a, b, c, d])) < self.sample * f64::from(u32::MAX)
    }
}

/// Which lines of one kind are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// None.
    Off,
    /// Those with a status of 500 or more, or with a flag.
    Failures,
    /// All.
    All,
}

/// Which side of the mesh a request passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// It came to a listener.
    #[default]
    Inbound,
    /// A service made it.
    Outbound,
}

/// Where a request was sent on to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Envoy's name of the destination: `outbound|<port>|<subset>|<host>`, or `inbound|<port>||`
    /// for a pool of this node that was not chosen by a route.
    pub cluster: Option<Arc<str>>,
    /// The endpoint: an address, or `<node>/<pool>` in process.
    pub host: Option<Arc<str>>,
    /// The mesh's route that was taken.
    pub route: Option<Arc<str>>,
}

/// What is known of a request. Fields are filled in as they become known.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which side of the mesh it passed.
    pub direction: Direction,
    /// The service that answers, or of an outbound call the one that made it; none where no route
    /// was found.
    pub service: Option<ServiceName>,
    /// The first digits of the revision that answered.
    pub revision: Option<Cow<'static, str>>,
    /// The method.
    pub method: Method,
    /// The path; a query in it is cut off when it is written.
    pub path: Arc<str>,
    /// The version of HTTP.
    pub version: Version,
    /// What the client called us.
    pub authority: Option<Box<str>>,
    /// What the client says that it is.
    pub user_agent: Option<Box<str>>,
    /// What came before us, by `X-Forwarded-For` as it came.
    pub forwarded_for: Option<Box<str>>,
    /// The other end of the connection.
    pub remote: Option<SocketAddr>,
    /// The identity that the other end has proven, a SPIFFE id.
    pub peer: Option<Arc<str>>,
    /// The status, once it was sent.
    pub status: Option<StatusCode>,
    /// Why, if it was not the service's own answer.
    pub flag: ResponseFlag,
    /// Why in a word, as Envoy's `%RESPONSE_CODE_DETAILS%`; none stands for `via_upstream`.
    pub details: Option<Cow<'static, str>>,
    /// Where it was sent on to.
    pub upstream: Upstream,
    /// Until the head of the response was there.
    pub upstream_time: Option<Duration>,
    /// Body bytes of the request.
    pub bytes_received: u64,
    /// Body bytes of the response.
    pub bytes_sent: u64,
    /// The calling service; none for a client.
    pub caller: Option<ServiceName>,
    /// The gateway route that matched.
    pub route: Option<Arc<str>>,
    /// Whose data.
    pub tenant: Option<Tenant>,
    /// The work it belongs to.
    pub correlation: CorrelationId,
    /// The server's span.
    pub trace: TraceContext,
}

impl Record {
    /// The record of a request that has just arrived.
    #[must_use]
    pub fn new(
        method: Method,
        path: impl Into<Arc<str>>,
        correlation: CorrelationId,
        trace: TraceContext,
    ) -> Self {
        Self {
            direction: Direction::Inbound,
            service: None,
            revision: None,
            method,
            path: path.into(),
            version: Version::HTTP_11,
            authority: None,
            user_agent: None,
            forwarded_for: None,
            remote: None,
            peer: None,
            status: None,
            flag: ResponseFlag::None,
            details: None,
            upstream: Upstream::default(),
            upstream_time: None,
            bytes_received: 0,
            bytes_sent: 0,
            caller: None,
            route: None,
            tenant: None,
            correlation,
            trace,
        }
    }
}

/// A request under way. Its line is written when this is dropped, exactly once, wherever that
/// happens; without a status by then, the client left first (status 0, flag `DC`).
#[derive(Debug)]
pub struct Access {
    /// What is known.
    pub record: Record,
    logs: Logs,
    began: Instant,
}

impl Access {
    /// Begins the record of a request.
    #[must_use]
    pub fn begin(logs: &Logs, record: Record) -> Self {
        Self { record, logs: logs.clone(), began: Instant::now() }
    }

    /// How long it has taken so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let record = &self.record;
        let left = matches!((record.status, record.flag), (None, ResponseFlag::None));
        let flag = if left { ResponseFlag::DownstreamCancelled } else { record.flag };
        let status = record.status.map_or(0, |status| status.as_u16());
        if !self.logs.access().wants(record, status, flag) {
            return;
        }
        let duration = self.began.elapsed();
        let level = if status >= 500 { Level::Error } else { Level::Info };
        let service = record.service.as_ref().map_or(HOST, ServiceName::as_str);
        let details = match &record.details {
            Some(details) => details,
            None if record.status.is_none() => "downstream_remote_disconnect",
            None => "via_upstream",
        };
        let route = record.upstream.route.as_ref().or(record.route.as_ref());
        let gateway_route = record.route.as_ref().filter(|_| record.upstream.route.is_some());
        self.logs.line_of_any_level(service, level, |line| {
            line.text("revision", record.revision.as_deref().unwrap_or_default());
            line.text("node", self.logs.node());
            line.text("correlation_id", record.correlation.as_str());
            line.hex("trace_id", &record.trace.trace_id);
            line.hex("span_id", &record.trace.span_id);
            line.text("tenant", record.tenant.as_ref().map_or("", Tenant::as_str));
            line.text("target", "access");
            line.text(
                "direction",
                match record.direction {
                    Direction::Inbound => "inbound",
                    Direction::Outbound => "outbound",
                },
            );
            let started = SignedDuration::try_from(duration).unwrap_or_default();
            line.time("start_time", Timestamp::now() - started);
            line.text("method", record.method.as_str());
            let path = record.path.split('?').next().unwrap_or_default();
            line.text("path", &path[..path.floor_char_boundary(MAX_PATH)]);
            line.text("protocol", protocol(record.version));
            line.number("response_code", u64::from(status));
            line.text("response_flags", flag.as_str());
            line.text("response_code_details", details);
            line.number("bytes_received", record.bytes_received);
            line.number("bytes_sent", record.bytes_sent);
            line.millis("duration", duration);
            if let Some(time) = record.upstream_time {
                line.millis("upstream_service_time", time);
            }
            let fields = [
                ("authority", &record.authority),
                ("user_agent", &record.user_agent),
                ("x_forwarded_for", &record.forwarded_for),
            ];
            for (name, value) in fields {
                let value = value.as_deref().unwrap_or_default();
                line.text(name, &value[..value.floor_char_boundary(MAX_FIELD)]);
            }
            line.text("request_id", record.correlation.as_str());
            if let Some(remote) = record.remote {
                line.shown("downstream_remote_address", &remote);
            }
            line.text("downstream_peer_uri_san", record.peer.as_deref().unwrap_or_default());
            line.text("upstream_host", record.upstream.host.as_deref().unwrap_or_default());
            line.text("upstream_cluster", record.upstream.cluster.as_deref().unwrap_or_default());
            line.text("route_name", route.map_or("", |route| route));
            line.text("gateway_route", gateway_route.map_or("", |route| route));
            if let Some(caller) = &record.caller {
                line.service("caller", caller);
            }
        });
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests;
