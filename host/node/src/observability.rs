//! The plain port for probes and scrapes.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use airhost_core::{Body, Call, Dispatch, Response, Result, ServiceName, codes};
use airhost_mesh::ServiceFacts;
use airhost_telemetry::metrics::Format;
use async_trait::async_trait;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
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
            ["metrics"] => self.scrape(call.request.headers()).await,
            ["services", name, what] => self.service(name, what).await,
            _ => Err(codes::REQUEST_NO_ROUTE.error(
                "there are /livez, /readyz, /metrics and /services/<name>/{health,ready,metrics}",
            )),
        }
    }
}

impl Observability {
    /// All metrics, in the format and coding that the scraper prefers.
    async fn scrape(&self, headers: &HeaderMap) -> Result<Response> {
        let field = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let format = Format::accepted(field(header::ACCEPT));
        let gzip = takes_gzip(field(header::ACCEPT_ENCODING));
        let metrics = Arc::clone(&self.services.engines.telemetry.metrics);
        // A large node has megabytes of them: that is no work for a serving thread.
        let page = tokio::task::spawn_blocking(move || {
            let page = metrics.render_as(format).into_bytes();
            if gzip { compress(&page) } else { page }
        });
        let page = page.await.map_err(|_| codes::INTERNAL.error("metrics cannot be written"))?;
        let mut response = Response::new(Body::from(page));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }

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
    let kind = HeaderValue::from_static(Format::Prometheus.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Whether an `Accept-Encoding` field takes gzip.
fn takes_gzip(accept: &str) -> bool {
    accept.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let refused = |part: &str| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(refused)
    })
}

/// Labels repeat from line to line: a page becomes about thirty times smaller.
fn compress(page: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 16), Compression::fast());
    // Writing to memory cannot fail.
    let _ok = encoder.write_all(page);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn gzip_is_for_who_takes_it() {
        for (accept, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("x-gzip-not", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(accept), takes, "{accept}");
        }
        let page = "a 1\n".repeat(1000);
        let small = compress(page.as_bytes());
        assert!(small.len() < page.len() / 16);
        let mut read = String::new();
        flate2::read::GzDecoder::new(&small[..]).read_to_string(&mut read).unwrap();
        assert_eq!(read, page);
    }
}
