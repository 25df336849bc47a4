//! One record for each request: what the access log and the request metrics are made of.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use airhost_core::{CorrelationId, RouteMatch, ServiceName, TraceContext};
use http::{HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};

use crate::flags::ResponseFlags;

/// What is known of a request once its response is over, or the client is gone.
#[derive(Debug)]
pub struct AccessRecord {
    /// The service whose listener took it.
    pub service: ServiceName,
    /// The method.
    pub method: Method,
    /// Path and query as sent. A log shows the path only: queries hold personal data.
    pub target: Option<PathAndQuery>,
    /// HTTP/1.0, 1.1 or 2.
    pub version: Version,
    /// The status sent; 499 when the client left before there was one (nginx's convention).
    pub status: StatusCode,
    /// Why the host decided, if it did.
    pub flags: ResponseFlags,
    /// The code of the error that was answered.
    pub code: Option<Cow<'static, str>>,
    /// The gateway route that matched.
    pub route: Option<Arc<RouteMatch>>,
    /// From the head's arrival to the response's end.
    pub duration: Duration,
    /// Request body, in bytes.
    pub received: u64,
    /// Response body, in bytes.
    pub sent: u64,
    /// The client.
    pub client: Option<IpAddr>,
    /// Its `User-Agent`.
    pub user_agent: Option<HeaderValue>,
    /// The correlation id.
    pub correlation: CorrelationId,
    /// The trace.
    pub trace: TraceContext,
}

/// Takes the records. It is called on the serving threads and must not wait.
pub trait AccessLog: Send + Sync {
    /// Called once for each request.
    fn record(&self, record: &AccessRecord);
}

/// Keeps no record.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAccessLog;

impl AccessLog for NoAccessLog {
    fn record(&self, _: &AccessRecord) {}
}

/// What the mesh tells the listener about a response it made or moved. It travels as an extension
/// of the response, out of reach of guests.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Why the host decided.
    pub flags: ResponseFlags,
    /// The gateway route.
    pub route: Option<Arc<RouteMatch>>,
    /// The code of the error that was answered.
    pub code: Option<Cow<'static, str>>,
}
