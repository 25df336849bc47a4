//! What the host tells of itself: metrics, log lines, access log, traces, and the tasks that are
//! tracked for drain.
//!
//! Everything here is bounded (rings by bytes, queues by bytes, label sets by closed enums) and
//! never makes a serving thread wait: what does not fit is counted and dropped.
//!
//! ```
//! use std::time::Duration;
//! use airhost_telemetry::Telemetry;
//!
//! let telemetry = Telemetry::discard();
//! let service = telemetry.metrics.service(&"auth-service".parse().unwrap());
//! service.http.record(&http::Method::GET, http::StatusCode::OK, Duration::from_millis(3));
//! assert!(telemetry.metrics.render().contains(
//!     r#"http_requests_total{service="auth-service",method="GET",status="200"} 1"#
//! ));
//! ```

pub mod access;
mod flag;
pub mod log;
pub mod metrics;
pub mod tasks;
pub mod trace;

use std::sync::Arc;

pub use flag::ResponseFlag;
pub use tasks::spawn_named;

/// The three of them, as they are handed from crate to crate.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The catalogue of metrics.
    pub metrics: Arc<metrics::Metrics>,
    /// The log.
    pub logs: log::Logs,
    /// The ring of spans.
    pub traces: Arc<trace::Traces>,
}

impl Telemetry {
    /// Telemetry whose log lines are kept in the rings only, for tests and embedding.
    #[must_use]
    pub fn discard() -> Self {
        let metrics = Arc::new(metrics::Metrics::new());
        let logs = log::Logs::start(log::Config::default(), std::io::sink(), Arc::clone(&metrics));
        Self { metrics, logs, traces: trace::Traces::new(trace::Config::default()) }
    }
}
