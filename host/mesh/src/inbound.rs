//! The door of a service: what happens to a call between its arrival and the instance, wherever it
//! came from.
//!
//! ```text
//! arrival ─ path normalized ─ CUSTOM ─ DENY ─ ALLOW (AUDIT and dry-run beside) ─▶ instance
//! ```
//!
//! A call that never leaves the process meets the same door as one from another node.

use std::borrow::Cow;

use airhost_core::{Body, Call, Caller, Response, codes};
use airhost_policy::{
    Inbound, path,
    security::{DENIED, Decision, Request},
};
use airhost_telemetry::ResponseFlag;
use http::{HeaderValue, StatusCode, Uri, header};

use crate::outcome::Outcome;

/// The workload that a call has arrived at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) service: &'a str,
    pub(crate) port: u16,
    pub(crate) mode: airhost_policy::PathNormalization,
}

/// What became of a call at the door.
pub(crate) enum Passed {
    /// It may enter.
    In,
    /// This is its answer.
    Answered(Box<Response>),
}

/// Lets a call in, or answers it. `tell` is told of every decision that somebody may want to know
/// of: denials, and what audits and dry runs have seen.
pub(crate) fn pass(
    door: &Inbound,
    arrival: Arrival<'_>,
    call: &mut Call,
    tell: impl FnOnce(&Decision, &Caller),
) -> airhost_core::Result<Passed> {
    // The host's own work (probes, jobs, deliveries) is not the mesh's traffic.
    if call.context.caller == Caller::Host {
        return Ok(Passed::In);
    }
    normalize(call, arrival.mode)?;
    let request = &call.request;
    let uri = request.uri();
    let (peer, source_ip) = match &call.context.caller {
        Caller::Service { identity, .. } => (Some(identity), None),
        Caller::Public | Caller::Host => (None, call.context.source_ip),
    };
    let decision = door.authorization.decide(&Request {
        peer,
        source_ip,
        remote_ip: call.context.client_ip.or(source_ip),
        port: arrival.port,
        method: request.method().as_str(),
        ..Request::new(authority(request, arrival.service), uri.path(), request.headers())
    });
    if !decision.allowed || !decision.audited.is_empty() || decision.dry_run.is_some() {
        tell(&decision, &call.context.caller);
    }
    Ok(if decision.allowed { Passed::In } else { Passed::Answered(Box::new(denied(&decision))) })
}

/// The authority as the caller sent it.
pub(crate) fn authority<'a>(request: &'a airhost_core::Request, service: &'a str) -> &'a str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or(service),
    }
}

/// Puts the path into the one form that is decided on and forwarded.
fn normalize(call: &mut Call, mode: airhost_policy::PathNormalization) -> airhost_core::Result<()> {
    let uri = call.request.uri();
    let path = match path::normalize(uri.path(), mode) {
        Ok(Cow::Borrowed(path)) if path == uri.path() => return Ok(()),
        Ok(path) => path,
        Err(error) => return Err(codes::REQUEST_INVALID.error(error.to_string())),
    };
    let changed = match uri.query() {
        Some(query) => format!("{path}?{query}").parse(),
        None => path.parse(),
    };
    let changed = changed.map_err(|_| codes::REQUEST_INVALID.error("the path is not valid"))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(changed);
    *call.request.uri_mut() = Uri::from_parts(parts)
        .map_err(|_| codes::REQUEST_INVALID.error("the path is not valid"))?;
    Ok(())
}

fn denied(decision: &Decision) -> Response {
    let mut response = Response::new(Body::from(DENIED));
    *response.status_mut() = StatusCode::FORBIDDEN;
    let text = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    // As Envoy writes it, with the rule's place.
    let rule = decision.rule.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let outcome = Outcome {
        flag: ResponseFlag::PolicyDenied,
        route: None,
        details: Some(format!("rbac_access_denied_matched_policy[{rule}]").into()),
    };
    response.extensions_mut().insert(outcome);
    response
}
