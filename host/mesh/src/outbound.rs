//! Calls of services: to services of the platform, and to hosts outside.
//!
//! ```text
//! call ─ grant? ─┬─ a service: by the policies' routes, limits and retries (`inside.rs`)
//!                └─ a host outside: breaker ─ pace ─ secrets ─ connection ─ answer
//! ```

mod address;
pub mod breaker;
mod client;
mod decisions;
mod destinations;
mod edges;
mod gauges;
mod grants;
mod inside;
mod pacing;
mod retry_after;
mod table;

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use airhost_core::{
    Call, CallContext, Caller, Dispatch, Error, Priority, Response, Result, ServiceName, Target,
    codes,
};
use airhost_manifest::{Injection, Scheme};
use airhost_policy::{Snapshot, Workload, traffic::CircuitBreakerSettings};
use airhost_telemetry::{
    ResponseFlag, Telemetry,
    access::{Access, Direction, Lines, Record, Upstream},
    metrics::Seen,
    trace::{ActiveSpan, Kind, Status, capped, method},
};
use async_trait::async_trait;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header, uri::Authority};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use self::{
    breaker::Breakers,
    client::{Outside, Way},
    edges::Edges,
    grants::{Grants, InsideGrant, OutsideGrant, pace_keys},
    inside::Inside,
    retry_after::retry_after,
    table::Table,
};
pub use self::{
    client::{Roots, RootsError},
    decisions::{DecisionCount, DecisionKind},
    destinations::DestinationStatus,
    table::{Deployed, NodeFacts},
};
use crate::{
    destination::{Faults, MirrorCounts},
    flags::{BREAKER_ATTR, response_flag},
    headers, inbound,
    outcome::Outcome,
    recording::{Recording, describe},
    trail::Trail,
};

/// Puts secrets into calls outside, as the manifest's `[[secrets.inject]]` rules say.
#[async_trait]
pub trait InjectSecrets: Send + Sync {
    /// Sets the header fields of the rules, replacing what the caller has set. `rules` are those
    /// for the call's host; `caller` is whose manifest they are of.
    ///
    /// # Errors
    /// When a secret is not there or may not be used; the call is not made then.
    async fn inject(
        &self,
        caller: &ServiceName,
        rules: &[&Injection],
        call: &mut Call,
    ) -> Result<()>;
}

/// How calls outside are made.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// Time for a TCP connection. 5 s.
    pub connect_timeout: Duration,
    /// Calls under way from one service to one host; more are refused (503, `UO`). 512.
    pub in_flight: usize,
    /// Whose TLS certificates are believed.
    pub roots: Roots,
    /// When breakers open.
    pub breaker: Arc<CircuitBreakerSettings>,
    /// Hosts that are somewhere else: `api.airtable.com` at `http://127.0.0.1:9000` while
    /// developing. Grants, paces and secrets are those of the host that was named; the place may
    /// be a private address.
    pub overrides: HashMap<String, Uri>,
    /// This node.
    pub node: NodeFacts,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            in_flight: 512,
            roots: Roots::default(),
            breaker: Arc::default(),
            overrides: HashMap::new(),
            node: NodeFacts::default(),
        }
    }
}

/// Who, where to, and under which pace key.
pub type BreakerKey = (ServiceName, Box<str>, Box<str>);

/// Takes the calls of services (and of listeners, for services) where they may go.
pub struct Mesh {
    inside: Arc<Inside>,
    /// What the table is made of. Held while one is made, so that no change is lost.
    sources: Mutex<Sources>,
    outside: Outside,
    breakers: Arc<Breakers<BreakerKey>>,
    injector: Option<Arc<dyn InjectSecrets>>,
    config: OutboundConfig,
    telemetry: Telemetry,
}

/// What the mesh was told last.
struct Sources {
    services: Vec<Deployed>,
    policies: Arc<Snapshot>,
}

impl Mesh {
    /// A mesh in front of the services of this node. Until [`Mesh::update`] no service may call
    /// anything, and until [`Mesh::enforce`] there are no policies.
    ///
    /// # Errors
    /// When the additional root certificates are not valid.
    pub fn new(
        local: Arc<dyn Dispatch>,
        injector: Option<Arc<dyn InjectSecrets>>,
        config: OutboundConfig,
        telemetry: &Telemetry,
    ) -> Result<Self, RootsError> {
        let policies = Arc::new(Snapshot::default());
        let grants = Grants::default();
        let table = Table::new(&[], &policies, grants, &config.node, None);
        let edges = Edges::new(&telemetry.metrics, &[], policies.mesh());
        let inside = Arc::new(Inside::new(local, config.node.clone(), table, edges));
        telemetry.metrics.register(&inside);
        Ok(Self {
            inside,
            sources: Mutex::new(Sources { services: Vec::new(), policies }),
            outside: Outside::new(&config.roots, config.connect_timeout)?,
            breakers: Breakers::new(None),
            injector,
            config,
            telemetry: telemetry.clone(),
        })
    }

    /// Puts the grants of these services (all that are active) in force, as one snapshot. Paces and
    /// the state of endpoints that did not change go on where they were.
    pub fn update<D: Into<Deployed>>(&self, services: impl IntoIterator<Item = D>) {
        let mut sources = self.sources.lock();
        sources.services = services.into_iter().map(Into::into).collect();
        self.publish(&sources);
    }

    /// Puts policies in force in the place of those before, for every call from now on.
    pub fn enforce(&self, policies: Arc<Snapshot>) {
        let mut sources = self.sources.lock();
        sources.policies = policies;
        self.publish(&sources);
    }

    /// Under the lock.
    fn publish(&self, sources: &Sources) {
        let before = self.inside.table.load_full();
        let manifests = sources.services.iter().map(|service| &*service.manifest);
        let in_flight = self.config.in_flight;
        let metrics = &self.telemetry.metrics;
        let edges = Edges::new(metrics, &sources.services, sources.policies.mesh());
        metrics.know(edges.sides());
        let grants = Grants::new(manifests, &before.grants, in_flight, &edges);
        let node = &self.config.node;
        let table = Table::new(&sources.services, &sources.policies, grants, node, Some(&before));
        self.inside.edges.store(Arc::new(edges));
        self.inside.table.store(Arc::new(table));
    }

    /// The destinations that are services, by service, each with its subsets that were called.
    #[must_use]
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        self.inside.destinations()
    }

    /// The circuit breakers that have seen failures.
    #[must_use]
    pub fn breakers(&self) -> Vec<breaker::BreakerStatus<BreakerKey>> {
        self.breakers.list()
    }

    /// Faults that are set by hand.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inside.faults
    }

    /// What became of the copies that routes have sent to mirrors.
    #[must_use]
    pub fn mirrored(&self) -> MirrorCounts {
        self.inside.mirrors.counts()
    }

    /// The policies in force.
    #[must_use]
    pub fn policies(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inside.table.load().policies)
    }

    /// A service as selectors and subsets see its default pool, and its port; none where it is not
    /// deployed.
    #[must_use]
    pub fn workload(&self, service: &ServiceName) -> Option<(Workload, u16)> {
        let table = self.inside.table.load();
        table.caller(service).map(|plan| (plan.workload.clone(), plan.port))
    }

    /// What policies decided that somebody may want to know.
    #[must_use]
    pub fn decisions(&self) -> Vec<DecisionCount> {
        self.inside.decisions.list()
    }

    /// The caller's grant for a service; none for callers that need none.
    fn may_call(
        &self,
        context: &CallContext,
        service: &ServiceName,
    ) -> Result<Option<Arc<InsideGrant>>> {
        let Caller::Service { name, .. } = &context.caller else { return Ok(None) };
        let table = self.inside.table.load();
        let caller = table.grants.of(name);
        if let Some(grant) = caller.and_then(|caller| caller.inside(service)) {
            return Ok(Some(Arc::clone(grant)));
        }
        if let Some(caller) = caller {
            let refused = Seen::refused(StatusCode::FORBIDDEN, ResponseFlag::PolicyDenied);
            caller.denied.record(&refused);
        }
        Err(codes::CALL_DENIED.error(format!("{name} may not call {service}")))
    }

    /// The caller's grant for a host, if it has one.
    fn grant(&self, caller: &ServiceName, place: &Place) -> Result<Arc<OutsideGrant>> {
        let table = self.inside.table.load();
        let of_caller = table.grants.of(caller);
        if let Some(grant) =
            of_caller.and_then(|of| of.outside(place.scheme, &place.host, place.port))
        {
            return Ok(Arc::clone(grant));
        }
        if let Some(of_caller) = of_caller {
            let refused = Seen::refused(StatusCode::FORBIDDEN, ResponseFlag::PolicyDenied);
            of_caller.denied.record(&refused);
        }
        let scheme = if place.scheme == Scheme::Https { "https" } else { "http" };
        Err(codes::CALL_DENIED
            .error(format!("{caller} may not call {scheme}://{}:{}", place.host, place.port)))
    }

    /// The span of a call. What a client asks of a listener has one there already.
    fn span(&self, call: &Call) -> Option<ActiveSpan> {
        let context = &call.context;
        if context.caller == Caller::Public || !self.telemetry.traces.records(&context.trace) {
            return None;
        }
        let (method, uri) = (method(call.request.method()), call.request.uri());
        let name = match &call.target {
            Target::Service(service) => format!("{method} {service}"),
            Target::External => format!("{method} {}", uri.host().unwrap_or_default()),
        };
        let traces = &self.telemetry.traces;
        let mut span = traces.child(Kind::Client, name, &context.trace, &context.correlation);
        span.set("http.request.method", method);
        match &call.target {
            Target::Service(service) => {
                span.set("server.address", service.to_string());
                span.set("url.path", capped(uri.path()).to_owned());
            }
            // Paths of hosts outside may be secrets: the address of a web hook is one.
            Target::External => {
                span.set("server.address", uri.host().unwrap_or_default().to_owned());
                if let Some(port) = uri.port_u16() {
                    span.set("server.port", i64::from(port));
                }
            }
        }
        Some(match context.caller.service() {
            Some(caller) => span.service(caller),
            None => span,
        })
    }

    /// The line of a service's call in the access log, if it may be wanted.
    fn line(&self, call: &Call) -> Option<Box<Access>> {
        let logs = &self.telemetry.logs;
        let caller = call.context.caller.service()?;
        if logs.access().outbound == Lines::Off {
            return None;
        }
        let request = &call.request;
        let path = match &call.target {
            Target::Service(_) => request.uri().path(),
            Target::External => "",
        };
        let (correlation, trace) = (call.context.correlation.clone(), call.context.trace);
        let mut record = Record::new(request.method().clone(), path, correlation, trace);
        record.direction = Direction::Outbound;
        record.service = Some(caller.clone());
        record.tenant = call.context.tenant.clone();
        record.version = request.version();
        record.authority = Some(match &call.target {
            Target::Service(service) => inbound::authority(request, service.as_str()).into(),
            Target::External => request.uri().host().unwrap_or_default().into(),
        });
        Some(Box::new(Access::begin(logs, record)))
    }

    async fn forward(
        &self,
        mut call: Call,
        span: Option<&mut ActiveSpan>,
        trail: Option<&Trail>,
        line: &mut Option<Box<Access>>,
    ) -> Result<Response> {
        if call.context.deadline.is_over() {
            return Err(
                codes::DEADLINE_EXCEEDED.error("the deadline was over before the call was made")
            );
        }
        if call.context.depth > CallContext::MAX_DEPTH {
            return Err(codes::CALL_DEPTH.error("more than 16 calls are nested in one another"));
        }
        match &call.target {
            Target::Service(service) => {
                let grant = self.may_call(&call.context, service)?;
                let service = service.clone();
                let Some(grant) = grant else {
                    return self.inside.call(call, &service, None, trail).await;
                };
                let recording =
                    Recording::begin(&grant.source, &mut call.request).with_line(line.take());
                let result = self.inside.call(call, &service, Some(&grant), trail).await;
                recording.end(result, trail)
            }
            // Few calls go outside: their larger future is kept off the path of the others.
            Target::External => Box::pin(self.call_outside(call, span, trail, line)).await,
        }
    }

    async fn call_outside(
        &self,
        mut call: Call,
        span: Option<&mut ActiveSpan>,
        trail: Option<&Trail>,
        line: &mut Option<Box<Access>>,
    ) -> Result<Response> {
        let Caller::Service { name, .. } = &call.context.caller else {
            return Err(codes::CALL_DENIED.error("only services call hosts outside"));
        };
        let caller = name.clone();
        let place = Place::of(call.request.uri())?;
        let grant = self.grant(&caller, &place)?;
        if let Some(trail) = trail {
            let Place { host, port, .. } = &place;
            let cluster = format!("outbound|{port}||{host}").into();
            trail.to(&cluster, &format!("{host}:{port}").into());
        }
        let recording = Recording::begin(&grant.metrics, &mut call.request).with_line(line.take());
        recording.end(self.through(call, &caller, &place, &grant, span).await, trail)
    }

    async fn through(
        &self,
        mut call: Call,
        caller: &ServiceName,
        place: &Place,
        grant: &OutsideGrant,
        span: Option<&mut ActiveSpan>,
    ) -> Result<Response> {
        let moved = self.config.overrides.get(&place.host);
        let private = grant.egress.private || moved.is_some();
        if !private && place.address.is_some_and(|address| !address::is_public(address)) {
            return Err(
                codes::CALL_DENIED.error("private addresses need `private = true` in the grant")
            );
        }
        let keys = pace_keys(
            &grant.egress.pace,
            call.request.uri().path(),
            &credential(&call),
            &place.host,
        );
        let breaker = (
            caller.clone(),
            Box::from(&*place.host),
            keys.first().map(|key| key.1.clone()).unwrap_or_default(),
        );
        if let Some(left) = self.breakers.open_for(&breaker) {
            return Err(open(left));
        }
        let Ok(permit) = Arc::clone(&grant.slots).try_acquire_owned() else {
            let error = codes::CALL_OVERLOADED
                .error(format!("too many calls to {} are under way", place.host));
            return Err(error.retry_after(Duration::from_secs(1)));
        };
        let mut turn = None;
        if let Some(pacer) = &grant.pacer {
            let tenant = call.context.tenant.as_ref().map_or("", |tenant| tenant.as_str());
            let began = Instant::now();
            let paced =
                pacer.acquire(keys.clone(), tenant, priority(&call), call.context.deadline).await;
            let waited = began.elapsed().as_millis();
            if let Some(span) = span.filter(|_| waited > 0) {
                span.set("paced_ms", i64::try_from(waited).unwrap_or(i64::MAX));
            }
            turn = Some(paced.map_err(|paced| {
                let error = codes::CALL_PACED
                    .error(format!("the limit of calls to {} is used up", place.host));
                error.retry_after(paced.retry_after)
            })?);
        }
        let pass = self.breakers.admit(breaker, &self.config.breaker).map_err(open)?;
        prepare(&mut call, place);
        self.inject(&mut call, caller, place, grant).await?;
        if let Some(base) = moved {
            *call.request.uri_mut() = at(base, call.request.uri())?;
        }
        let way = Way { private, deadline: call.context.deadline };
        let result = self.outside.send(call.request, way, permit).await;
        drop(turn);
        // A pass that is dropped instead (the caller left) counts for nothing.
        pass.judge(&result);
        if let (Some(pacer), Ok(response)) = (&grant.pacer, &result)
            && response.status() == StatusCode::TOO_MANY_REQUESTS
        {
            pacer.refused(&keys, retry_after(response.headers()));
        }
        result.map(clean)
    }

    async fn inject(
        &self,
        call: &mut Call,
        caller: &ServiceName,
        place: &Place,
        grant: &OutsideGrant,
    ) -> Result<()> {
        let rules: Vec<&Injection> = grant
            .injections
            .iter()
            .filter(|rule| rule.host.matches(&place.host, place.port, place.scheme.port()))
            .collect();
        if rules.is_empty() {
            return Ok(());
        }
        match &self.injector {
            Some(injector) => injector.inject(caller, &rules, call).await,
            None => Err(codes::SECRETS_UNAVAILABLE.error("this node has no vault")),
        }
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Dispatch for Mesh {
    async fn dispatch(&self, mut call: Call) -> Result<Response> {
        if let Some(propagated) = &call.context.propagated {
            propagated.write(call.request.headers_mut(), call.target != Target::External);
        }
        let mut span = self.span(&call);
        if let Some(span) = &span {
            call.context.trace = span.context();
        }
        let mut line = self.line(&call);
        let asked = call.request.extensions().get::<Arc<Trail>>().map(Arc::clone);
        let own = Trail::default();
        let trail = asked.as_deref().or((span.is_some() || line.is_some()).then_some(&own));
        let result = self.forward(call, span.as_mut(), trail, &mut line).await;
        // A call that got to an edge has its line written there, when its answer is over.
        if let Some(line) = &mut line {
            describe(line, &result, trail);
        }
        if let Some(span) = span {
            end(span, &result, trail);
        }
        result
    }
}

/// Ends a call's span with what became of it.
fn end(mut span: ActiveSpan, result: &Result<Response>, trail: Option<&Trail>) {
    let facts = trail.map(Trail::facts).unwrap_or_default();
    let Upstream { cluster, host, route } = facts.upstream;
    let told = [("mesh.route", route), ("mesh.cluster", cluster), ("mesh.endpoint", host)];
    for (name, value) in told {
        if let Some(value) = value {
            span.set(name, value);
        }
    }
    if facts.retries > 0 {
        span.set("http.request.resend_count", i64::from(facts.retries));
    }
    let (flag, status) = match result {
        Ok(response) => {
            let flag = response.extensions().get::<Outcome>().map(|outcome| outcome.flag);
            (flag.unwrap_or_default(), Status::Http(response.status().as_u16()))
        }
        Err(error) => (response_flag(error), Status::Error(error.code.clone())),
    };
    if flag != ResponseFlag::None {
        span.set("mesh.response_flags", flag.as_str());
    }
    span.end(status);
}

/// Where a URL leads.
#[derive(Debug)]
struct Place {
    scheme: Scheme,
    /// In lower case.
    host: String,
    /// The host, if it is an address.
    address: Option<IpAddr>,
    port: u16,
    authority: Authority,
}

impl Place {
    fn of(uri: &Uri) -> Result<Self> {
        let wrong = |message: &str| codes::CALL_INVALID.error(message);
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(wrong("the URL must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("the URL has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("the URL must not have a user or password"));
        }
        let host = authority.host().to_ascii_lowercase();
        // A dot at the end names the same host and would pass for another one.
        if host.is_empty() || host.ends_with('.') {
            return Err(wrong("the URL's host is not valid"));
        }
        let port = authority.port_u16().unwrap_or_else(|| scheme.port());
        let address = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        // What a resolver may take for an address must be one: `0x7f.1`, `2130706433`.
        let last = host.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if address.is_none() && numeric {
            return Err(wrong("the URL's host is neither a name nor an address"));
        }
        Ok(Self { scheme, host, address, port, authority: authority.clone() })
    }
}

/// Lets the request be one of a new connection, with what travels along.
fn prepare(call: &mut Call, place: &Place) {
    let headers = call.request.headers_mut();
    let _kept_as_an_extension = headers::strip_hop_by_hop(headers);
    headers::strip_identity(headers, false);
    if let Ok(host) = HeaderValue::from_str(place.authority.as_str()) {
        headers.insert(header::HOST, host);
    }
    if let Ok(trace) = HeaderValue::from_str(&call.context.trace.to_string()) {
        headers.insert(HeaderName::from_static("traceparent"), trace);
    }
    if let Ok(correlation) = HeaderValue::from_str(call.context.correlation.as_str()) {
        headers.insert(HeaderName::from_static("x-correlation-id"), correlation);
    }
}

/// What stands for the credential of a call: what names the injected secret, or a digest of what
/// the caller sends itself.
fn credential(call: &Call) -> String {
    if let Some(scope) = attr(call, "secret-scope") {
        let tenant = call.context.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        return format!("{tenant}/{scope}");
    }
    match call.request.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            Sha256::digest(value.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        None => String::new(),
    }
}

fn priority(call: &Call) -> Priority {
    match attr(call, "priority") {
        Some("low") => Priority::Low,
        Some("normal") => Priority::Normal,
        Some("high") => Priority::High,
        _ => call.context.priority,
    }
}

fn attr<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.attrs.iter().find(|(attr, _)| attr == name).map(|(_, value)| value.as_str())
}

/// The same path at another place.
fn at(base: &Uri, uri: &Uri) -> Result<Uri> {
    let prefix = base.path().trim_end_matches('/');
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut parts = base.clone().into_parts();
    parts.path_and_query = format!("{prefix}{path}").parse().ok();
    Uri::from_parts(parts)
        .map_err(|_| codes::INTERNAL.error("the host's override is not a base URL"))
}

fn open(left: Duration) -> Error {
    let (name, value) = BREAKER_ATTR;
    let left = left.max(Duration::from_millis(1));
    codes::CALL_UNREACHABLE
        .error("the circuit breaker of the host is open")
        .with(name, value)
        .retry_after(left)
}

/// The connection's own fields stay at the connection, but for a switch of protocols, which the
/// listener needs.
fn clean(mut response: Response) -> Response {
    let protocol = headers::strip_hop_by_hop(response.headers_mut());
    if let Some(protocol) =
        protocol.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS)
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_places() {
        let place =
            |url: &str| Place::of(&url.parse().unwrap()).map(|place| (place.host, place.port));
        assert_eq!(
            place("https://API.airtable.com/v0").unwrap(),
            ("api.airtable.com".to_owned(), 443)
        );
        assert_eq!(place("http://[::1]:9/").unwrap(), ("[::1]".to_owned(), 9));
        for bad in [
            "/v0",
            "ftp://a/",
            "https://user:secret@a/",
            "http://a./",
            "http://2130706433/",
            "http://127.1/",
            "http://0x7f.0x1/",
        ] {
            let error = place(bad).unwrap_err();
            assert!(codes::CALL_INVALID.is(&error), "{bad}: {error}");
        }
    }

    #[test]
    fn an_override_keeps_path_and_query() {
        for (base, url, expected) in [
            (
                "http://127.0.0.1:9000",
                "https://api.airtable.com/v0/a?b=c",
                "http://127.0.0.1:9000/v0/a?b=c",
            ),
            (
                "http://sim:9000/airtable/",
                "https://api.airtable.com/v0/a",
                "http://sim:9000/airtable/v0/a",
            ),
            ("http://sim:9000", "https://api.airtable.com", "http://sim:9000/"),
        ] {
            assert_eq!(
                at(&base.parse().unwrap(), &url.parse().unwrap()).unwrap().to_string(),
                expected
            );
        }
    }
}
