//! What the gateway itself publishes: the OpenAPI document of all services, and a page to read it.

use std::time::Duration;

use sdk::{
    Error, Result,
    cache::{self, Scope},
    config,
    http::{self, Path, Pending, Response},
};
use serde_json::Value;

use crate::domain::merge::merge;

const CACHED: &str = "openapi";
/// How long a document with a service missing is kept.
const INCOMPLETE: Duration = Duration::from_secs(5);

pub(super) fn openapi() -> Result<Response> {
    let document = match cache::get(Scope::Shared, CACHED) {
        Some(document) => document,
        None => make()?,
    };
    Ok(Response::of(200)
        .with("content-type", "application/json")
        .with("cache-control", "public, max-age=60")
        .body_is(document))
}

fn make() -> Result<Vec<u8>> {
    let services: Vec<String> = config::get("documented")?;
    let asked: Vec<Result<Pending>> = services
        .iter()
        .map(|service| {
            http::get(format!("http://{service}/openapi.json"))
                .timeout(Duration::from_secs(2))
                .start()
        })
        .collect();
    let mut documents = vec![(
        "api-gateway".to_owned(),
        serde_json::from_str(&crate::SERVICE.openapi())
            .map_err(|error| Error::internal(format!("the gateway's own document: {error}")))?,
    )];
    let mut ttl = Duration::from_secs(config::get("documents-cache-seconds")?);
    for (service, pending) in services.into_iter().zip(asked) {
        let answer = pending.and_then(Pending::join).and_then(http::Answer::success);
        match answer.and_then(http::Answer::json::<Value>) {
            Ok(document) => documents.push((service, document)),
            Err(error) => {
                ttl = INCOMPLETE;
                sdk::warn!(service = service, "no OpenAPI document: {}", error.detail());
            }
        }
    }
    let merged = merge(documents, crate::SERVICE.version()).to_string().into_bytes();
    if let Err(error) = cache::put(Scope::Shared, CACHED, &merged, ttl, &[]) {
        sdk::debug!("the OpenAPI document is made anew each time: {error}");
    }
    Ok(merged)
}

const PAGE: &str = include_str!("../docs/index.html");
const SCRIPT: &str = include_str!("../docs/reference.js");
const STYLE: &str = include_str!("../docs/reference.css");

pub(super) fn page() -> Response {
    document("text/html; charset=utf-8", PAGE)
}

pub(super) fn part(Path(file): Path<String>) -> Result<Response> {
    match file.as_str() {
        "reference.js" => Ok(document("text/javascript; charset=utf-8", SCRIPT)),
        "reference.css" => Ok(document("text/css; charset=utf-8", STYLE)),
        _ => Err(Error::new(404, "request.no-route", "there is nothing at this path")),
    }
}

/// The page runs nothing but its own script and talks to nobody but the gateway.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

fn document(content_type: &str, text: &str) -> Response {
    Response::of(200)
        .with("content-type", content_type)
        .with("content-security-policy", POLICY)
        .with("cache-control", "public, max-age=300")
        .body_is(text)
}
