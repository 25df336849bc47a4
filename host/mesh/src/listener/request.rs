//! From the wire to a call, and from its answer back to the wire.

use std::{net::IpAddr, sync::Arc};

use airhost_core::{
    Body, BodyError, Call, CallContext, Caller, CorrelationId, Deadline, Error, Priority,
    Propagated, Request, Response, Target, TraceContext, codes,
};
use airhost_telemetry::{
    access::{Access, Record},
    trace::{ActiveSpan, Kind, Traces},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};

use super::{
    Connection,
    body::{RequestBody, ResponseBody, TooSlow},
    config::PortSettings,
    record::Pending,
    upgrade,
};
use crate::{headers, outcome::Outcome, surface::Surface, upgrade::UpgradeRequest};

/// The field that names a piece of work, in and out.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Answers one request.
pub(crate) async fn answer(
    connection: Arc<Connection>,
    request: http::Request<Incoming>,
) -> http::Response<ResponseBody> {
    let (mut parts, incoming) = request.into_parts();
    connection.marks.request_begins();
    let port = Arc::clone(&connection.port);
    let settings = **port.settings.load();
    let client = connection.peer.client(&parts.headers, &port.config.trusted_proxies);
    let mut context =
        context(&parts.headers, &settings, connection.peer.address.ip().to_canonical(), client);
    let span = begin(&port.traces, &parts.headers, &mut context);
    let span = span.map(|span| span.service(&port.config.service));
    let surface = Surface::of(parts.uri.path());
    let path = parts.uri.path_and_query().cloned();
    let head = parts.method == Method::HEAD;
    let mut record = Record::new(
        parts.method.clone(),
        parts.uri.path(),
        context.correlation.clone(),
        context.trace,
    );
    record.service = Some(port.config.service.clone());
    note(&mut record, &parts, &connection);
    let mut pending = Pending::new(
        connection,
        Access::begin(&port.logs, record),
        span,
        &parts.headers,
        Some(client),
    );

    let correlation = context.correlation.clone();
    let client_upgrade = parts.extensions.remove::<OnUpgrade>();
    let result = match prepare(&mut parts, &mut pending, incoming, &settings).await {
        Ok(body) => {
            parts.extensions.insert(pending.trail());
            let call = Call {
                target: Target::Service(port.config.service.clone()),
                request: Request::from_parts(parts, body),
                context,
                attrs: Vec::new(),
                pool: None,
            };
            port.dispatch.dispatch(call).await
        }
        Err(error) => Err(error),
    };
    let response = result.unwrap_or_else(|error| {
        let path = path.as_ref().map_or("", PathAndQuery::path);
        surface.response(&error, path, &correlation)
    });
    finish(response, pending, &correlation, head, client_upgrade, (surface, path))
}

fn context(
    headers: &HeaderMap,
    settings: &PortSettings,
    source: IpAddr,
    client: IpAddr,
) -> CallContext {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    CallContext {
        caller: Caller::Public,
        principal: None,
        tenant: None,
        deadline: Deadline::after(settings.wall),
        correlation: text(CORRELATION)
            .and_then(CorrelationId::accept)
            .unwrap_or_else(CorrelationId::generate),
        trace: TraceContext::generate(),
        depth: 0,
        priority: Priority::Normal,
        source_ip: Some(source),
        client_ip: Some(client),
        route: None,
        propagated: None,
    }
}

/// Goes on with the client's trace, or begins one; none if nobody records it. The span is named
/// when it ends.
fn begin(
    traces: &Arc<Traces>,
    headers: &HeaderMap,
    context: &mut CallContext,
) -> Option<ActiveSpan> {
    let client = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let mut parent = [0; 8];
    let client = client.and_then(TraceContext::parse);
    context.propagated = Propagated::read(headers, client.is_some());
    if let Some(client) = client {
        parent = client.span_id;
        context.trace = client.child();
    }
    traces
        .records(&context.trace)
        .then(|| traces.span(Kind::Server, "request", &context.trace, parent, &context.correlation))
}

/// Notes for the access log what the client says in the head.
fn note(record: &mut Record, parts: &Parts, connection: &Connection) {
    let text = |name: HeaderName| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.map(Box::from)
    };
    let authority = parts.uri.authority().map(|authority| authority.as_str().into());
    record.version = parts.version;
    record.authority = authority.or_else(|| text(header::HOST));
    record.user_agent = text(header::USER_AGENT);
    record.forwarded_for = text(HeaderName::from_static("x-forwarded-for"));
    record.remote = Some(connection.peer.address);
}

/// Checks and cleans the head, and gets the body ready.
async fn prepare(
    parts: &mut Parts,
    pending: &mut Pending,
    incoming: Incoming,
    settings: &PortSettings,
) -> Result<Body, Error> {
    let connection = Arc::clone(pending.connection());
    let config = &connection.port.config;
    check_target(parts, &connection)?;
    let https = connection.peer.forwarded_https(&parts.headers);
    let protocol = headers::strip_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = protocol.filter(|_| parts.version == Version::HTTP_11) {
        parts.extensions.insert(UpgradeRequest { protocol });
    }
    headers::strip_identity(&mut parts.headers, connection.peer.trusted);
    if https {
        set_scheme(parts);
    }
    if incoming.is_end_stream() {
        return Ok(Body::Empty);
    }
    let length = incoming.size_hint().exact();
    if let Some(length) = length.filter(|length| *length > settings.body) {
        let message = format!("the body has {length} bytes, {} are taken", settings.body);
        return Err(codes::BODY_TOO_LARGE.error(message));
    }
    let expects = parts.headers.remove(header::EXPECT).is_some();
    let body = RequestBody::new(
        incoming,
        Arc::clone(&connection.marks),
        pending.count_received(),
        settings.body,
    );
    // A client that asks before it sends is answered by whoever reads the body.
    let Some(length) = length.filter(|length| *length <= settings.inline_body && !expects) else {
        return Ok(Body::stream(body));
    };
    let size = u32::try_from(length).unwrap_or(u32::MAX);
    let Ok(_permit) = connection.port.inline_budget.try_acquire_many(size) else {
        return Ok(Body::stream(body));
    };
    let deadline = Deadline::after(settings.wall).instant();
    match tokio::time::timeout_at(deadline, gather(body, length)).await {
        Ok(gathered) => gathered.map(Body::from).map_err(|error| refuse(error, &config.service)),
        Err(_) => Err(codes::BODY_TOO_SLOW.error("the body did not come in time")),
    }
}

/// The whole of a body of known length; a body in one piece is not copied.
async fn gather(mut body: RequestBody, length: u64) -> Result<Bytes, BodyError> {
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if pieces.is_empty() && whole.is_empty() {
            whole = data;
        } else {
            if pieces.is_empty() {
                pieces.reserve(usize::try_from(length).unwrap_or(0));
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&data);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

fn refuse(error: BodyError, service: &airhost_core::ServiceName) -> Error {
    if let BodyError::Truncated(cause) = &error
        && cause.is::<TooSlow>()
    {
        return codes::BODY_TOO_SLOW.error("the body came too slowly");
    }
    tracing::debug!(%service, %error, "a request body could not be read");
    error.into()
}

/// Takes origin-form targets, and absolute-form ones for the hosts that are served; afterwards
/// `Host` says what was asked for in every version of HTTP.
fn check_target(parts: &mut Parts, connection: &Connection) -> Result<(), Error> {
    let config = &connection.port.config;
    let length = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if length > config.uri_bytes {
        let message = format!("the target has {length} bytes, {} are taken", config.uri_bytes);
        return Err(codes::REQUEST_URI_TOO_LONG.error(message));
    }
    if parts.method == Method::CONNECT {
        return Err(codes::REQUEST_MISDIRECTED.error("nothing is tunnelled from here"));
    }
    let Some(authority) = parts.uri.authority().cloned() else {
        if parts.version == Version::HTTP_11 && !one_host(&parts.headers) {
            return Err(codes::REQUEST_INVALID.error("there must be exactly one Host field"));
        }
        return Ok(());
    };
    if parts.version != Version::HTTP_2 && !serves(connection, authority.host()) {
        let message = format!("the host `{}` is not served here", authority.host());
        return Err(codes::REQUEST_MISDIRECTED.error(message));
    }
    let host = HeaderValue::from_str(authority.as_str())
        .map_err(|_| codes::REQUEST_INVALID.error("the target's authority is not valid"))?;
    parts.headers.insert(header::HOST, host);
    let path =
        parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    Ok(())
}

fn one_host(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().count() == 1
}

/// Whether an absolute-form target may name the host: one that is configured, or this listener
/// by its own address.
fn serves(connection: &Connection, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    connection.port.config.absolute_hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
        || host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical() == connection.local.ip().to_canonical())
}

/// Writes the client's scheme into the target, where the runtime reads it.
fn set_scheme(parts: &mut Parts) {
    let authority =
        parts.headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if let (Some(authority), Some(path)) = (authority, parts.uri.path_and_query().cloned()) {
        let uri =
            Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(path).build();
        if let Ok(uri) = uri {
            parts.uri = uri;
        }
    }
}

/// Makes a response fit for the wire.
fn finish(
    mut response: Response,
    mut pending: Pending,
    correlation: &CorrelationId,
    head: bool,
    client_upgrade: Option<OnUpgrade>,
    (surface, path): (Surface, Option<PathAndQuery>),
) -> http::Response<ResponseBody> {
    let outcome = response.extensions_mut().remove::<Outcome>();
    let protocol = headers::strip_hop_by_hop(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(switched) = upgrade::splice(&mut response, protocol, client_upgrade)
    {
        pending.head(response.status(), response.headers(), outcome);
        switched.run(pending);
        return with_correlation(response, correlation).map(|_| ResponseBody::switched());
    }
    if response.status().is_informational() {
        let error = codes::RESPONSE_INVALID.error("the service answered with an interim status");
        let path = path.as_ref().map_or("", PathAndQuery::path);
        response = surface.response(&error, path, correlation);
    }
    let outcome = outcome.or_else(|| response.extensions_mut().remove());
    pending.head(response.status(), response.headers(), outcome);
    set_length(&mut response, head);
    with_correlation(response, correlation).map(|body| ResponseBody::new(body, pending))
}

fn with_correlation(mut response: Response, correlation: &CorrelationId) -> Response {
    if let Ok(value) = HeaderValue::from_str(correlation.as_str()) {
        response.headers_mut().insert(CORRELATION, value);
    }
    response
}

/// Lets `Content-Length` be true: a wrong one would break the connection's framing.
fn set_length(response: &mut Response, head: bool) {
    let length = response.body().size_hint().exact();
    let status = response.status();
    let bodiless = head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if !bodiless {
        if length.is_some() {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        return;
    }
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    } else if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::Empty;
}
