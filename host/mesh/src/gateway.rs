//! The gateway's routes, matched by the host.
//!
//! Routes are data (`policies/gateway/*.yaml`, see [`RouteTable`]) and compiled once; a request
//! is matched without entering a sandbox. All matched requests go to the gateway component, which
//! sees the route's name and, as route parameters, the path's parts and the route's attributes,
//! decides (who is asking, may they, is it cached) and answers `proxy(call)`. What needs no
//! decision is done here: unknown paths and methods, preflights, sizes, headers, compression.

mod compress;
mod cors;
mod error;
mod file;
mod table;
mod trie;

use std::{
    fmt,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use airhost_core::{
    Body, BodyError, Call, Deadline, Dispatch, Error as CallError, Response, Result, codes,
};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use self::{compress::Coding, cors::CorsPolicy, table::Lookup};
pub use self::{
    error::Error as GatewayError,
    file::Auth,
    table::{Route, RouteTable},
};
use crate::{
    deadline::within_deadline,
    outcome::Outcome,
    surface::{ALLOW_ATTR, Surface},
};

/// Set on every response that does not say otherwise.
const SECURITY: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];
/// Added when the client's connection is encrypted.
const TRANSPORT_SECURITY: HeaderValue =
    HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Matches routes in front of the gateway component.
pub struct Gateway {
    table: ArcSwap<RouteTable>,
    next: Arc<dyn Dispatch>,
}

impl Gateway {
    /// A gateway with these routes; `next` dispatches to the gateway component.
    #[must_use]
    pub fn new(table: RouteTable, next: Arc<dyn Dispatch>) -> Self {
        Self { table: ArcSwap::from_pointee(table), next }
    }

    /// The routes in force.
    #[must_use]
    pub fn routes(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// Puts other routes in force, for the requests that follow.
    pub fn replace(&self, table: RouteTable) {
        self.table.store(Arc::new(table));
    }

    /// Reads the folder again and puts its routes in force, all of them or none.
    ///
    /// # Errors
    /// When a file cannot be read or is not valid; the old routes stay.
    pub fn reload(&self, folder: &Path) -> Result<(), GatewayError> {
        self.replace(RouteTable::load(folder)?);
        Ok(())
    }

    async fn through(&self, mut call: Call, route: &Route) -> Result<Response> {
        if let Some(timeout) = route.timeout {
            call.context.deadline = Deadline::after(timeout);
        }
        limit_body(&mut call, route.body)?;
        if let Some(policy) = &route.request_headers {
            policy.apply(call.request.headers_mut());
        }
        within_deadline(&*self.next, call).await
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("routes", &self.table.load().routes().len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Dispatch for Gateway {
    async fn dispatch(&self, mut call: Call) -> Result<Response> {
        let request = &call.request;
        let path = request.uri().path();
        let encrypted = request.uri().scheme_str() == Some("https");
        if has_dot_segment(path) {
            return Err(codes::REQUEST_INVALID.error("the path has a segment `.` or `..`"));
        }
        let table = self.table.load();
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        if let Some(policy) = preflight(&table, request.method(), host, path, request.headers()) {
            let mut response = policy;
            secure(response.headers_mut(), encrypted);
            return Ok(response);
        }
        let (route, matched) = match table.find(request.method(), host, path, request.headers()) {
            Lookup::Route(route, matched) => (route, matched),
            Lookup::Methods(methods) => {
                let error =
                    codes::REQUEST_METHOD.error(format!("{} is not taken here", request.method()));
                return Err(error.with(ALLOW_ATTR, allow(&methods)));
            }
            Lookup::None => {
                return Err(codes::REQUEST_NO_ROUTE.error("there is nothing at this path"));
            }
        };
        drop(table);
        let origin = request.headers().get(header::ORIGIN).cloned();
        let coding = Coding::negotiate(request.headers()).filter(|_| route.compression);
        let compressible = route.compression && request.method() != Method::HEAD;
        let (surface, path) = (Surface::of(path), path.to_owned());
        let correlation = call.context.correlation.clone();
        call.context.route = Some(Arc::clone(&matched));

        let answer = self.through(call, &route).await;
        let mut response =
            answer.unwrap_or_else(|error| surface.response(&error, &path, &correlation));
        let headers = response.headers_mut();
        if let Some(policy) = &route.cors {
            policy.decorate(origin.as_ref(), headers);
        }
        if let Some(policy) = &route.response_headers {
            policy.apply(headers);
        }
        secure(headers, encrypted);
        response.extensions_mut().get_or_insert_default::<Outcome>().route = Some(matched);
        Ok(if compressible { compress::compress(response, coding) } else { response })
    }
}

/// The answer to a preflight for a route that has a policy.
fn preflight(
    table: &RouteTable,
    method: &Method,
    host: &str,
    path: &str,
    headers: &HeaderMap,
) -> Option<Response> {
    if method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked = Method::from_bytes(asked.as_bytes()).ok()?;
    match table.find(&asked, host, path, headers) {
        Lookup::Route(route, _) => {
            let policy: &CorsPolicy = route.cors.as_deref()?;
            Some(policy.preflight(headers, &route.methods))
        }
        Lookup::Methods(_) | Lookup::None => None,
    }
}

/// `GET` answers `HEAD`, so both are listed.
fn allow(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn secure(headers: &mut HeaderMap, encrypted: bool) {
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(value);
    }
    if encrypted {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(TRANSPORT_SECURITY);
    }
}

/// Whether a segment is `.` or `..`, encoded or not: every client resolves them before it sends,
/// and what sends them wants one side to read the path otherwise than the other.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("/.") && !path.contains('%') {
        return false;
    }
    path.split('/').any(|segment| {
        segment.len() <= "%2e%2e".len()
            && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
    })
}

/// Keeps the route's own limit, which may be lower than the port's.
fn limit_body(call: &mut Call, limit: u64) -> Result<(), CallError> {
    let body = call.request.body_mut();
    if body.size_hint().lower() > limit {
        return Err(codes::BODY_TOO_LARGE.error(format!("the body is larger than {limit} bytes")));
    }
    if matches!(body, Body::Stream(_)) && body.size_hint().exact().is_none() {
        *body = Body::stream(Limited { body: std::mem::take(body), left: limit, limit });
    }
    Ok(())
}

struct Limited {
    body: Body,
    left: u64,
    limit: u64,
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit }))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
