//! The access log: a line for each way in which a call can end, with Istio's keys.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use airhost_core::{
    Body, Call, CallContext, Caller, Deadline, Dispatch, Propagated, Response, ServiceName, Target,
    TrustDomain, codes,
};
use airhost_manifest::Manifest;
use airhost_mesh::{Listener, ListenerConfig, Mesh, NodeFacts, OutboundConfig, PortSettings};
use airhost_policy::{MeshConfig, Snapshot};
use airhost_telemetry::{
    Telemetry,
    access::{self, Lines},
    log::{self, Logs},
    metrics::Metrics,
    trace::{self, Kind, Traces},
};
use http::{Request, StatusCode};
use serde_json::Value;
use support::{Service, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn telemetry() -> Telemetry {
    let metrics = Arc::new(Metrics::new());
    let config = log::Config {
        level: log::Level::Error,
        access: access::Config { outbound: Lines::All, ..access::Config::default() },
        ..log::Config::default()
    };
    let logs = Logs::start(config, std::io::sink(), Arc::clone(&metrics));
    Telemetry { metrics, logs, traces: Traces::new(trace::Config::default()) }
}

fn manifest(name: &str, port: u16, more: &str) -> Manifest {
    let text = format!(
        "name = \"{name}\"\nteam = \"t\"\ndescription = \"Calls.\"\nport = {port}\ncontract = \"0.1\"\n{more}"
    );
    Manifest::parse("service.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn policies(text: &str) -> Arc<Snapshot> {
    let files = [("policies.yaml", text)];
    let (snapshot, _warnings) =
        Snapshot::compile(files, &MeshConfig::default()).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(snapshot)
}

/// A mesh with a service that calls and one that answers as its path asks.
fn mesh(telemetry: &Telemetry, egress: &str, resources: &str) -> Mesh {
    let local = Service::by(|call| async move {
        let path = call.request.uri().path().to_owned();
        match path.as_str() {
            "/full" => Err(codes::CALL_OVERLOADED.error("full")),
            "/gone" => Err(codes::CALL_RESET.error("gone")),
            "/nobody" => Err(codes::GUEST_NO_REVISION.error("nobody")),
            "/paced" => Err(codes::CALL_PACED.error("wait")),
            "/hangs" => std::future::pending().await,
            path => {
                let status = path.trim_start_matches('/').parse().unwrap_or(StatusCode::OK);
                let mut response = Response::new(Body::from("answer".to_owned()));
                *response.status_mut() = status;
                Ok(response)
            }
        }
    });
    let config = OutboundConfig {
        node: NodeFacts { name: "n1".into(), ..NodeFacts::default() },
        ..OutboundConfig::default()
    };
    let mesh = Mesh::new(local, None, config, telemetry).unwrap();
    let calls = format!("[calls]\nservices = [\"callee\"]\n{egress}");
    mesh.update([&manifest("caller", 8090, &calls), &manifest("callee", 8091, "")]);
    mesh.enforce(policies(resources));
    mesh
}

fn call(target: Target, uri: &str) -> Call {
    let name: ServiceName = "caller".parse().unwrap();
    let identity = TrustDomain::default().identity(&name);
    let deadline = Deadline::after(Duration::from_secs(10));
    let context = CallContext::root(Caller::Service { name, identity }, deadline);
    let request = Request::get(uri).body(Body::Empty).unwrap();
    Call { target, request, context, attrs: Vec::new(), pool: None }
}

fn inside(path: &str) -> Call {
    let service: ServiceName = "callee".parse().unwrap();
    call(Target::Service(service), &format!("http://callee{path}"))
}

fn lines(telemetry: &Telemetry, service: &str) -> Vec<Value> {
    let lines = telemetry.logs.recent(service);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a line says of a call's end.
fn end(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    format!(
        "{} {} {}",
        line["response_code"],
        text("response_flags"),
        text("response_code_details")
    )
}

const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: callee}
spec:
  hosts: [callee]
  http:
  - name: slow
    match: [{uri: {exact: /hangs}}]
    timeout: 1s
    route: [{destination: {host: callee}}]
  - name: again
    match: [{uri: {exact: /503}}]
    retries: {attempts: 2, retryOn: 5xx}
    route: [{destination: {host: callee}}]
  - name: missing
    match: [{uri: {exact: /missing}}]
    route: [{destination: {host: callee, subset: v9}}]
  - name: aborted
    match: [{uri: {exact: /aborted}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: callee}}]
  - name: delayed
    match: [{uri: {exact: /delayed}}]
    fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
    route: [{destination: {host: callee}}]
  - name: moved
    match: [{uri: {exact: /moved}}]
    redirect: {uri: /elsewhere}
  - name: plain
    match: [{uri: {regex: '/(200|404|500|full|gone|nobody|paced|denied|v1)'}}]
    route: [{destination: {host: callee}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: callee}
spec:
  host: callee
  subsets: [{name: v9, labels: {version: v9}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec:
  action: DENY
  selector: {matchLabels: {app: callee}}
  rules:
  - to: [{operation: {paths: [/denied]}}]
";

#[tokio::test(start_paused = true)]
async fn each_end_of_a_call_has_its_flag_and_its_word() {
    let telemetry = telemetry();
    let mesh = mesh(&telemetry, "", ROUTES);
    let reset = "upstream_reset_before_response_started";
    let denied = "403 RBAC rbac_access_denied_matched_policy[pyairtable/closed rule 0";
    for (path, expected) in [
        ("/200", "200 - via_upstream"),
        ("/404", "404 - via_upstream"),
        ("/500", "500 - via_upstream"),
        ("/full", &format!("503 UO {reset}{{overflow}}")),
        ("/gone", &format!("502 UC {reset}{{connection_termination}}")),
        ("/nobody", "503 UH no_healthy_upstream"),
        ("/paced", "429 RL request_rate_limited"),
        ("/hangs", "504 UT response_timeout"),
        ("/503", "503 URX via_upstream"),
        ("/missing", "503 UH no_healthy_upstream"),
        ("/aborted", "418 FI fault_filter_abort"),
        ("/delayed", "200 DI via_upstream"),
        ("/moved", "301 - direct_response"),
        ("/unrouted", "404 NR route_not_found"),
        ("/denied", denied),
    ] {
        let before = lines(&telemetry, "caller").len();
        let _answer = mesh.dispatch(inside(path)).await;
        let lines = lines(&telemetry, "caller");
        assert_eq!(lines.len(), before + 1, "{path}: one line");
        let seen = end(lines.last().unwrap());
        assert!(seen.starts_with(expected), "{path}: {seen}, not {expected}");
    }
    // The metric says the same.
    let page = telemetry.metrics.render();
    for (code, flag) in [(503, "UO"), (504, "UT"), (503, "URX"), (403, "RBAC"), (418, "FI")] {
        let labels = format!(
            "response_code=\"{code}\",grpc_response_status=\"\",response_flags=\"{flag}\"}} 1"
        );
        let source = "istio_requests_total{reporter=\"source\"";
        assert!(
            page.lines().any(|line| line.starts_with(source) && line.ends_with(&labels)),
            "{labels}"
        );
    }
}

#[tokio::test]
async fn a_line_says_where_a_call_went() {
    let telemetry = telemetry();
    let mesh = mesh(&telemetry, "", ROUTES);
    let mut call = inside("/200?secret=1");
    call.context.propagated =
        Some(Arc::new(Propagated { state: Some("a=1".into()), baggage: None }));
    let context = call.context.clone();
    mesh.dispatch(call).await.unwrap();
    let line = &lines(&telemetry, "caller")[0];
    let trace = hex(&context.trace.trace_id);
    for (name, value) in [
        ("direction", "outbound"),
        ("method", "GET"),
        ("path", "/200"),
        ("authority", "callee"),
        ("upstream_host", "n1/default"),
        ("upstream_cluster", "outbound|8091||callee.pyairtable.svc.cluster.local"),
        ("request_id", context.correlation.as_str()),
        ("trace_id", &trace),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line["route_name"].as_str().unwrap().contains("plain"), "{line}");
    assert_eq!((&line["bytes_sent"], &line["bytes_received"]), (&6.into(), &0.into()));
    let spans = telemetry.traces.by_correlation(context.correlation.as_str());
    let attributes = serde_json::to_string(&spans[0].attributes).unwrap();
    for expected in [
        r#"["http.request.method","GET"]"#,
        r#"["server.address","callee"]"#,
        r#"["url.path","/200"]"#,
        r#"["mesh.cluster","outbound|8091||callee.pyairtable.svc.cluster.local"]"#,
        r#"["mesh.endpoint","n1/default"]"#,
    ] {
        assert!(attributes.contains(expected), "{expected} in {attributes}");
    }
    // A call that is tried again says how often.
    let again = inside("/503");
    let id = again.context.correlation.clone();
    mesh.dispatch(again).await.unwrap();
    let spans = telemetry.traces.by_correlation(id.as_str());
    let attributes = serde_json::to_string(&spans[0].attributes).unwrap();
    assert!(attributes.contains(r#"["http.request.resend_count",2]"#), "{attributes}");
    assert!(attributes.contains(r#"["mesh.response_flags","URX"]"#), "{attributes}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn calls_outside_fail_with_their_flags() {
    // Nobody listens there.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let telemetry = telemetry();
    let egress = format!("[[egress]]\nhost = \"{address}\"\nscheme = \"http\"\nprivate = true\n");
    let mesh = mesh(&telemetry, &egress, "");
    let refused = format!("http://{address}/secret/hook");
    for _ in 0..6 {
        let _failed = mesh.dispatch(call(Target::External, &refused)).await;
    }
    let _denied = mesh.dispatch(call(Target::External, "http://example.com/")).await;
    let lines = lines(&telemetry, "caller");
    let first = "503 UF upstream_reset_before_response_started{connection_failure}";
    assert_eq!(end(&lines[0]), first);
    assert_eq!(end(&lines[5]), "503 CB circuit_breaker_open");
    assert_eq!(end(&lines[6]), "403 RBAC rbac_access_denied_matched_policy[none]");
    assert_eq!(lines[0]["upstream_cluster"], format!("outbound|{}||127.0.0.1", address.port()));
    assert_eq!(lines[0]["upstream_host"], address.to_string());
    assert!(!lines[0].to_string().contains("hook"), "paths outside may be secrets");
}

#[tokio::test]
async fn a_call_that_its_caller_gave_up_has_a_line() {
    let telemetry = telemetry();
    let mesh = mesh(&telemetry, "", "");
    let mut given_up = Box::pin(mesh.dispatch(inside("/hangs")));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    let lines = lines(&telemetry, "caller");
    assert_eq!(end(&lines[0]), "0 DC downstream_remote_disconnect");
}

/// The gateway's component, for these tests: it proxies what it gets to the callee, as the runtime
/// does that for a guest.
struct Proxy(OnceLock<Arc<Mesh>>, Telemetry);

#[async_trait::async_trait]
impl Dispatch for Proxy {
    async fn dispatch(&self, call: Call) -> airhost_core::Result<Response> {
        let Target::Service(name) = &call.target else { unreachable!("only services") };
        let (traces, id) = (&self.1.traces, &call.context.correlation);
        let span = traces.child(Kind::Server, "GET", &call.context.trace, id).service(name);
        if name.as_str() == "callee" {
            let seen = call.request.headers().get("baggage").is_some();
            return Ok(Response::new(Body::from(format!("{seen} {}", call.request.uri().path()))));
        }
        let identity = TrustDomain::default().identity(name);
        let mut context = call.context.nested(name, &identity);
        context.trace = span.context();
        let mut request = Request::get("http://callee/v1").body(Body::Empty).unwrap();
        *request.extensions_mut() = call.request.into_parts().0.extensions;
        let target = Target::Service("callee".parse().unwrap());
        let onward = Call { target, request, context, attrs: Vec::new(), pool: None };
        self.0.get().unwrap().dispatch(onward).await
    }
}

#[tokio::test]
async fn a_clients_line_says_where_its_request_ended() {
    let telemetry = telemetry();
    let proxy = Arc::new(Proxy(OnceLock::new(), telemetry.clone()));
    let config = OutboundConfig {
        node: NodeFacts { name: "n1".into(), ..NodeFacts::default() },
        ..OutboundConfig::default()
    };
    let mesh = Mesh::new(Arc::clone(&proxy) as _, None, config, &telemetry).unwrap();
    let mesh = Arc::new(mesh);
    mesh.update([
        &manifest("edge", 8000, "[calls]\nservices = [\"callee\"]\n"),
        &manifest("callee", 8091, ""),
    ]);
    mesh.enforce(policies(ROUTES));
    proxy.0.set(Arc::clone(&mesh)).unwrap_or_else(|_| panic!("set twice"));
    let config =
        ListenerConfig::new("edge".parse().unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let settings = PortSettings::default();
    let listener = Listener::bind(config, settings, mesh as _, &telemetry).await.unwrap();

    let mut stream = tokio::net::TcpStream::connect(listener.local_addr()).await.unwrap();
    let client = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = format!(
        "GET /users?x=1 HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: test/1\r\n\
         x-forwarded-for: 192.0.2.7\r\nx-correlation-id: c-1\r\ntraceparent: {client}\r\n\
         tracestate: a=1\r\nbaggage: user=x\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("true /v1"), "{answer}");
    within(listener.drain(Duration::from_secs(5))).await;

    let line = &lines(&telemetry, "edge").into_iter().find(|line| line["direction"] == "inbound");
    let line = line.as_ref().unwrap();
    for (name, value) in [
        ("path", "/users"),
        ("protocol", "HTTP/1.1"),
        ("authority", "api.example.com"),
        ("user_agent", "test/1"),
        ("x_forwarded_for", "192.0.2.7"),
        ("request_id", "c-1"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("upstream_host", "n1/default"),
        ("upstream_cluster", "outbound|8091||callee.pyairtable.svc.cluster.local"),
        ("response_code_details", "via_upstream"),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line["upstream_service_time"].as_f64().is_some(), "{line}");

    // One whole trace: client ─▶ listener ─▶ edge ─▶ call ─▶ callee.
    let spans = telemetry.traces.by_correlation("c-1");
    let by_kind = |kind: Kind, service: &str| {
        let of = spans
            .iter()
            .filter(|span| span.kind == kind && span.service.as_ref().unwrap().as_str() == service);
        of.collect::<Vec<_>>()
    };
    let [first, second] = by_kind(Kind::Server, "edge")[..] else { panic!("{spans:?}") };
    let listener_first = hex(&first.parent_id) == "00f067aa0ba902b7";
    let (door, guest) = if listener_first { (first, second) } else { (second, first) };
    assert_eq!(hex(&door.parent_id), "00f067aa0ba902b7");
    assert_eq!(guest.parent_id, door.span_id);
    let [out] = by_kind(Kind::Client, "edge")[..] else { panic!("{spans:?}") };
    assert_eq!(out.parent_id, guest.span_id);
    let [callee] = by_kind(Kind::Server, "callee")[..] else { panic!("{spans:?}") };
    assert_eq!(callee.parent_id, out.span_id);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == "4bf92f3577b34da6a3ce929d0e0e4736"));
}
