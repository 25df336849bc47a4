//! The plain port for probes and scrapes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use airhost_core::{Body, Call, Dispatch, Response, Result, ServiceName, codes};
use airhost_mesh::ServiceFacts;
use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{facts::NodeFacts, services::Services};

/// Answers `/livez`, `/readyz`, `/metrics` and `/services/<name>/{health,ready,metrics}`.
pub(crate) struct Observability {
    pub(crate) services: Arc<Services>,
    pub(crate) facts: Arc<NodeFacts>,
    /// Cleared when the node begins to drain, so that no new traffic is sent to it.
    pub(crate) accepting: Arc<AtomicBool>,
}

#[async_trait]
impl Dispatch for Observability {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        let path = call.request.uri().path();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["livez"] => Ok(document(true, &json!({ "status": "alive" }))),
            ["readyz"] => Ok(self.ready().await),
            ["metrics"] => Ok(metrics(self.services.engines.telemetry.metrics.render().into())),
            ["services", name, what] => self.service(name, what).await,
            _ => Err(codes::REQUEST_NO_ROUTE.error(
                "there are /livez, /readyz, /metrics and /services/<name>/{health,ready,metrics}",
            )),
        }
    }
}

impl Observability {
    async fn ready(&self) -> Response {
        let mut unready = Vec::new();
        for service in self.services.all() {
            let report = self.facts.readiness(&service.manifest.name).await;
            if !report.ok {
                unready.push(report.details);
            }
        }
        let accepting = self.accepting.load(Ordering::Relaxed);
        let ok = accepting && unready.is_empty();
        let status = match (ok, accepting) {
            (true, _) => "ready",
            (false, true) => "unready",
            (false, false) => "draining",
        };
        document(ok, &json!({ "status": status, "unready": unready }))
    }

    async fn service(&self, name: &str, what: &str) -> Result<Response> {
        let known = self.services.get(name).map(|service| service.manifest.name.clone());
        let name: ServiceName =
            known.ok_or_else(|| codes::REQUEST_NO_ROUTE.error("there is no such service here"))?;
        match what {
            "health" => {
                let report = self.facts.health(&name).await;
                Ok(document(report.ok, &report.details))
            }
            "ready" => {
                let report = self.facts.readiness(&name).await;
                Ok(document(report.ok, &report.details))
            }
            "metrics" => Ok(metrics(self.facts.metrics(&name).into())),
            _ => Err(codes::REQUEST_NO_ROUTE.error("a service has health, ready and metrics")),
        }
    }
}

fn document(ok: bool, details: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(details.to_string()));
    *response.status_mut() = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn metrics(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
