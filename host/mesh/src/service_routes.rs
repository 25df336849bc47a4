//! What every service port answers from the host itself.

use std::sync::Arc;

use airhost_core::{Body, Call, Caller, Dispatch, Response, Result, ServiceName, Target, codes};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use crate::surface::ALLOW_ATTR;

/// What the host knows of its services.
#[async_trait]
pub trait ServiceFacts: Send + Sync {
    /// Whether the service lives: instances can be made.
    async fn health(&self, service: &ServiceName) -> Report;
    /// Whether it can take requests now: an active revision, stores and brokers reachable, the
    /// component's own check.
    async fn readiness(&self, service: &ServiceName) -> Report;
    /// The service's metrics in Prometheus' text format.
    fn metrics(&self, service: &ServiceName) -> Bytes;
    /// The OpenAPI document of the active revision, as JSON.
    fn openapi(&self, service: &ServiceName) -> Option<Bytes>;
}

/// The answer to a probe.
#[derive(Clone, Debug)]
pub struct Report {
    /// 200 or 503.
    pub ok: bool,
    /// What was looked at: a JSON object.
    pub details: serde_json::Value,
}

/// Which of the host's paths a port answers; the others go to the service.
#[derive(Clone, Copy, Debug)]
pub struct HostPaths {
    /// `/health` and `/ready`.
    pub probes: bool,
    /// `/metrics`.
    pub metrics: bool,
    /// `/openapi.json`. The gateway answers this one itself: it merges those of all services.
    pub openapi: bool,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self { probes: true, metrics: true, openapi: true }
    }
}

/// A service's port: `/health`, `/ready`, `/metrics` and `/openapi.json` from the host, everything
/// else to what is behind it (the mesh, or the gateway's routes), which keeps the deadline.
pub struct ServiceRoutes {
    /// None where calls name their service themselves.
    service: Option<ServiceName>,
    paths: HostPaths,
    facts: Arc<dyn ServiceFacts>,
    next: Arc<dyn Dispatch>,
}

impl ServiceRoutes {
    /// The port of a service, in front of what dispatches to it.
    #[must_use]
    pub fn new(
        service: ServiceName,
        paths: HostPaths,
        facts: Arc<dyn ServiceFacts>,
        next: Arc<dyn Dispatch>,
    ) -> Self {
        Self { service: Some(service), paths, facts, next }
    }

    /// The same in front of all services, for calls that stay in the process: of services to one
    /// another, and of the host. What came in at a port has passed that port's own.
    #[must_use]
    pub fn inside(facts: Arc<dyn ServiceFacts>, next: Arc<dyn Dispatch>) -> Self {
        Self { service: None, paths: HostPaths::default(), facts, next }
    }

    /// Whose paths a call asks for.
    fn service<'a>(&'a self, call: &'a Call) -> Option<&'a ServiceName> {
        match (&self.service, &call.target, &call.context.caller) {
            (None, Target::Service(_), Caller::Public) | (None, Target::External, _) => None,
            (Some(service), ..) | (None, Target::Service(service), _) => Some(service),
        }
    }

    fn host_path(&self, path: &str) -> Option<HostPath> {
        // Service paths are longer than these, or begin otherwise: one comparison rules out most.
        match path.as_bytes().get(1)? {
            b'h' if self.paths.probes && path == "/health" => Some(HostPath::Health),
            b'r' if self.paths.probes && path == "/ready" => Some(HostPath::Ready),
            b'm' if self.paths.metrics && path == "/metrics" => Some(HostPath::Metrics),
            b'o' if self.paths.openapi && path == "/openapi.json" => Some(HostPath::OpenApi),
            _ => None,
        }
    }

    async fn answer(&self, service: &ServiceName, path: HostPath) -> Result<Response> {
        match path {
            HostPath::Health => Ok(report(&self.facts.health(service).await)),
            HostPath::Ready => Ok(report(&self.facts.readiness(service).await)),
            HostPath::Metrics => {
                Ok(content("text/plain; version=0.0.4; charset=utf-8", self.facts.metrics(service)))
            }
            HostPath::OpenApi => match self.facts.openapi(service) {
                Some(document) => Ok(content("application/json", document)),
                None => Err(codes::REQUEST_NO_ROUTE.error("the service has no OpenAPI document")),
            },
        }
    }
}

impl std::fmt::Debug for ServiceRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceRoutes")
            .field("service", &self.service)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum HostPath {
    Health,
    Ready,
    Metrics,
    OpenApi,
}

#[async_trait]
impl Dispatch for ServiceRoutes {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        let path = self.host_path(call.request.uri().path());
        let Some((service, path)) = self.service(&call).zip(path) else {
            return self.next.dispatch(call).await;
        };
        let deadline = call.context.deadline.instant();
        if !matches!(*call.request.method(), Method::GET | Method::HEAD) {
            let error = codes::REQUEST_METHOD.error("the host's own paths are read with GET");
            return Err(error.with(ALLOW_ATTR, "GET, HEAD"));
        }
        tokio::time::timeout_at(deadline, self.answer(service, path)).await.unwrap_or_else(|_| {
            Err(codes::DEADLINE_EXCEEDED.error("the service's state could not be learnt in time"))
        })
    }
}

fn report(report: &Report) -> Response {
    let mut response = content("application/json", Bytes::from(report.details.to_string()));
    if !report.ok {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn content(kind: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
