//! The access log: one line for every request, also for those that were dropped on the way.

use std::{borrow::Cow, sync::Arc, time::Duration};

use airhost_core::{CorrelationId, ServiceName, Tenant, TraceContext};
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::{
    ResponseFlag,
    log::{HOST, Level, Logs},
};

/// Longest path that is written, in bytes.
const MAX_PATH: usize = 1024;

/// What is known of a request. Fields are filled in as they become known.
#[derive(Clone, Debug)]
pub struct Record {
    /// The service that answers; none where no route was found.
    pub service: Option<ServiceName>,
    /// The first digits of the revision that answered.
    pub revision: Option<Cow<'static, str>>,
    /// The method.
    pub method: Method,
    /// The path; a query in it is cut off when it is written.
    pub path: Arc<str>,
    /// The status, once it was sent.
    pub status: Option<StatusCode>,
    /// Why, if it was not the service's own answer.
    pub flag: ResponseFlag,
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
            service: None,
            revision: None,
            method,
            path: path.into(),
            status: None,
            flag: ResponseFlag::None,
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
/// happens; without a status by then, the client left first (status 499, flag `DC`).
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
        let (status, flag) = match (record.status, record.flag) {
            (Some(status), flag) => (status.as_u16(), flag),
            (None, ResponseFlag::None) => (499, ResponseFlag::DownstreamCancelled),
            (None, flag) => (499, flag),
        };
        let level = if status >= 500 { Level::Error } else { Level::Info };
        let service = record.service.as_ref().map_or(HOST, ServiceName::as_str);
        self.logs.line(service, level, |line| {
            line.text("revision", record.revision.as_deref().unwrap_or_default());
            line.text("node", self.logs.node());
            line.text("correlation_id", record.correlation.as_str());
            line.hex("trace_id", &record.trace.trace_id);
            line.hex("span_id", &record.trace.span_id);
            line.text("tenant", record.tenant.as_ref().map_or("", Tenant::as_str));
            line.text("target", "access");
            line.text("method", record.method.as_str());
            let path = record.path.split('?').next().unwrap_or_default();
            line.text("path", &path[..path.floor_char_boundary(MAX_PATH)]);
            line.number("status", u64::from(status));
            line.text("flags", flag.as_str());
            line.millis("duration_ms", self.began.elapsed());
            line.number("bytes_received", record.bytes_received);
            line.number("bytes_sent", record.bytes_sent);
            if let Some(caller) = &record.caller {
                line.service("caller", caller);
            }
            line.text("route", record.route.as_deref().unwrap_or_default());
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Telemetry;

    fn record() -> Record {
        let trace = TraceContext::generate();
        let mut record =
            Record::new(Method::GET, "/users?token=x", CorrelationId::generate(), trace);
        record.service = Some("user-service".parse().unwrap());
        record
    }

    fn only_line(logs: &Logs) -> Value {
        let lines = logs.recent("user-service");
        assert_eq!(lines.len(), 1);
        serde_json::from_str(&lines[0]).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_leaves_one_line() {
        let logs = Telemetry::discard().logs;
        let mut access = Access::begin(&logs, record());
        tokio::time::advance(Duration::from_micros(1500)).await;
        access.record.status = Some(StatusCode::NOT_FOUND);
        access.record.bytes_sent = 12;
        access.record.caller = Some("api-gateway".parse().unwrap());
        drop(access);
        let line = only_line(&logs);
        for (name, value) in [
            ("level", Value::from("info")),
            ("target", "access".into()),
            ("method", "GET".into()),
            ("path", "/users".into()),
            ("status", 404.into()),
            ("flags", "-".into()),
            ("duration_ms", 1.5.into()),
            ("bytes_sent", 12.into()),
            ("caller", "api-gateway".into()),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
    }

    #[tokio::test]
    async fn a_dropped_request_leaves_one_too() {
        let logs = Telemetry::discard().logs;
        let access = Access::begin(&logs, record());
        let task = tokio::spawn(async move {
            let _access = access;
            std::future::pending::<()>().await;
        });
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let line = only_line(&logs);
        assert_eq!(line["status"], 499);
        assert_eq!(line["flags"], "DC");
    }
}
