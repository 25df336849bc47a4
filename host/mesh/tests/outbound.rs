//! Calls of services, to services in process and to hosts over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use airhost_core::{
    Body, Call, CallContext, Caller, Deadline, Dispatch, Error, Response, ServiceName, Target,
    Tenant, TraceContext, TrustDomain, codes,
};
use airhost_manifest::{Injection, Manifest};
use airhost_mesh::{InjectSecrets, Mesh, OutboundConfig, PortSettings, Roots};
use airhost_telemetry::{
    Telemetry,
    trace::{Kind, Status},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use support::{Server, Service, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn manifest(more: &str) -> Manifest {
    let text = format!(
        "name = \"caller\"\nteam = \"t\"\ndescription = \"Calls.\"\nport = 8090\ncontract = \"0.1\"\n{more}"
    );
    Manifest::parse("service.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn mesh(local: Arc<dyn Dispatch>, config: OutboundConfig, manifest: &Manifest) -> Mesh {
    let mesh = Mesh::new(local, Some(Arc::new(Bearer)), config, &Telemetry::discard()).unwrap();
    mesh.update([manifest]);
    mesh
}

/// Sets a field that shows which rule and scope it was called with.
struct Bearer;

#[async_trait]
impl InjectSecrets for Bearer {
    async fn inject(
        &self,
        caller: &ServiceName,
        rules: &[&Injection],
        call: &mut Call,
    ) -> airhost_core::Result<()> {
        let scope = call
            .attrs
            .iter()
            .find(|(name, _)| name == "secret-scope")
            .map_or("", |(_, value)| value);
        let value = format!("{caller} {} {scope}", rules[0].secret);
        call.request.headers_mut().insert("authorization", HeaderValue::from_str(&value).unwrap());
        Ok(())
    }
}

fn from_service(name: &str, request: Request<Body>) -> Call {
    let name: ServiceName = name.parse().unwrap();
    let identity = TrustDomain::default().identity(&name);
    let deadline = Deadline::after(Duration::from_secs(10));
    let mut context = CallContext::root(Caller::Service { name, identity }, deadline);
    context.tenant = Some(Tenant::new("t1"));
    Call { target: Target::External, request, context, attrs: Vec::new(), pool: None }
}

fn get(url: &str) -> Call {
    from_service("caller", Request::get(url).body(Body::Empty).unwrap())
}

async fn text(response: Response) -> String {
    String::from_utf8(within(response.into_body().collect(1 << 20)).await.unwrap().to_vec())
        .unwrap()
}

/// An HTTP server that answers by a function of the request.
async fn host<F>(answer: F) -> SocketAddr
where
    F: Fn(&Request<Incoming>) -> http::Response<Full<Bytes>> + Send + Sync + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let response = answer(&request);
                    async move {
                        request.into_body().collect().await.ok();
                        Ok::<_, Infallible>(response)
                    }
                });
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    });
    address
}

fn ok(text: String) -> http::Response<Full<Bytes>> {
    http::Response::new(Full::from(text))
}

fn private(address: SocketAddr, more: &str) -> Manifest {
    manifest(&format!(
        "[[egress]]\nhost = \"{address}\"\nscheme = \"http\"\nprivate = true\n{more}"
    ))
}

#[tokio::test]
async fn services_call_whom_their_manifest_lists() {
    let local = Service::by(|call| async move {
        assert!(matches!(&call.request.body(), Body::Bytes(_)), "the body is moved as it is");
        Ok(Response::new(call.request.into_body()))
    });
    let mesh = mesh(
        local,
        OutboundConfig::default(),
        &manifest("[calls]\nservices = [\"permission-service\"]\n"),
    );
    let to = |caller: Caller, service: &str| {
        let mut call =
            from_service("caller", Request::post("http://s/").body(Body::from("moved")).unwrap());
        call.context.caller = caller;
        call.target = Target::Service(service.parse().unwrap());
        call
    };
    let service = |name: &str| from_service(name, Request::new(Body::Empty)).context.caller;
    let allowed = [
        (service("caller"), "permission-service"),
        (Caller::Public, "auth-service"),
        (Caller::Host, "auth-service"),
    ];
    for (caller, target) in allowed {
        assert_eq!(text(mesh.dispatch(to(caller, target)).await.unwrap()).await, "moved");
    }
    for (caller, target) in
        [(service("caller"), "auth-service"), (service("stranger"), "permission-service")]
    {
        let error = mesh.dispatch(to(caller, target)).await.unwrap_err();
        assert!(codes::CALL_DENIED.is(&error), "{error}");
    }
    let mut deep = to(service("caller"), "permission-service");
    deep.context.depth = 17;
    assert!(codes::CALL_DEPTH.is(&mesh.dispatch(deep).await.unwrap_err()));
    let mut late = to(service("caller"), "permission-service");
    late.context.deadline = Deadline::after(Duration::ZERO);
    assert!(codes::DEADLINE_EXCEEDED.is(&mesh.dispatch(late).await.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_given_up() {
    let mesh =
        mesh(Service::by(|_| std::future::pending()), OutboundConfig::default(), &manifest(""));
    let mut call = get("http://s/");
    call.context.caller = Caller::Public;
    call.target = Target::Service("user-service".parse().unwrap());
    let began = tokio::time::Instant::now();
    assert!(codes::DEADLINE_EXCEEDED.is(&mesh.dispatch(call).await.unwrap_err()));
    assert!(began.elapsed() < Duration::from_secs(11));
}

#[tokio::test]
async fn a_granted_host_is_called_with_what_travels_and_no_more() {
    let address = host(|request| {
        let mut names: Vec<_> =
            request.headers().keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        ok(format!("{} {names:?}", request.headers()["host"].to_str().unwrap()))
    })
    .await;
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &private(address, ""));
    let request = Request::get(format!("http://{address}/a"))
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("host", "other.example")
        .header("x-airhost-tenant", "t")
        .header("accept", "*/*")
        .body(Body::Empty);
    let response = mesh.dispatch(from_service("caller", request.unwrap())).await.unwrap();
    assert_eq!(
        text(response).await,
        format!("{address} [\"accept\", \"host\", \"traceparent\", \"x-correlation-id\"]")
    );
}

#[tokio::test]
async fn what_is_not_granted_is_denied() {
    let address = host(|_| ok("reached".to_owned())).await;
    let granted = manifest(&format!(
        "[[egress]]\nhost = \"{address}\"\nscheme = \"http\"\n[[egress]]\nhost = \"localhost:{}\"\nscheme = \"http\"\n",
        address.port()
    ));
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &granted);
    let port = address.port();
    for (url, code) in [
        (format!("http://127.0.0.1:{}/", port ^ 1), "call.denied"),
        (format!("https://{address}/"), "call.denied"),
        ("https://api.airtable.com/".to_owned(), "call.denied"),
        // Granted, but private; the second one only a resolver can tell.
        (format!("http://{address}/"), "call.denied"),
        (format!("http://localhost:{port}/"), "call.denied"),
        ("/relative".to_owned(), "call.invalid"),
    ] {
        let error = within(mesh.dispatch(get(&url))).await.unwrap_err();
        assert_eq!(error.code, code, "{url}: {error}");
        assert!(error.message.len() < 100 && !error.message.contains("hyper"), "{error}");
    }
    let mut public = get(&format!("http://{address}/"));
    public.context.caller = Caller::Public;
    assert!(codes::CALL_DENIED.is(&mesh.dispatch(public).await.unwrap_err()));
}

#[tokio::test]
async fn redirects_are_answers() {
    let address = host(|_| {
        http::Response::builder()
            .status(302)
            .header("location", "http://169.254.169.254/")
            .body(Full::default())
            .unwrap()
    })
    .await;
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &private(address, ""));
    let response = mesh.dispatch(get(&format!("http://{address}/"))).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &HeaderValue::from_static("http://169.254.169.254/"))
    );
}

#[tokio::test]
async fn an_override_leads_elsewhere_with_the_grants_and_secrets_of_the_name() {
    let address = host(|request| {
        let field =
            |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
        ok(format!("{} {} {}", request.uri(), field("host"), field("authorization")))
    })
    .await;
    let mut config = OutboundConfig::default();
    config
        .overrides
        .insert("api.airtable.com".to_owned(), format!("http://{address}").parse().unwrap());
    let manifest = manifest(
        "[[egress]]\nhost = \"api.airtable.com\"\n[secrets]\nnames = [\"connection/*\"]\n[[secrets.inject]]\nhost = \"api.airtable.com\"\nheader = \"authorization\"\nvalue = \"Bearer {secret}\"\nsecret = \"connection/{scope}\"\n",
    );
    let mesh = mesh(Service::echo(), config, &manifest);
    let mut call = get("https://api.airtable.com/v0/app1/T?a=b");
    call.attrs.push(("secret-scope".to_owned(), "c7".to_owned()));
    let response = within(mesh.dispatch(call)).await.unwrap();
    assert_eq!(
        text(response).await,
        "/v0/app1/T?a=b api.airtable.com caller connection/{scope} c7"
    );
}

#[tokio::test]
async fn calls_are_paced_by_base_and_rest_after_429() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let address = host(move |request| {
        seen.fetch_add(1, SeqCst);
        let status = if request.uri().path().ends_with("/busy") { 429 } else { 200 };
        http::Response::builder().status(status).body(Full::default()).unwrap()
    })
    .await;
    let pace =
        "[[egress.pace]]\nkey = \"path:2\"\nrate = 2\nper = \"1h\"\npause-after-429 = \"30s\"\n";
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &private(address, pace));
    let to = |path: &str| get(&format!("http://{address}{path}"));
    for _ in 0..2 {
        assert_eq!(mesh.dispatch(to("/v0/app1/T")).await.unwrap().status(), 200);
    }
    let error = mesh.dispatch(to("/v0/app1/T")).await.unwrap_err();
    assert!(codes::CALL_PACED.is(&error), "{error}");
    assert!(error.retry_after.unwrap() > Duration::from_secs(3500));
    assert_eq!(mesh.dispatch(to("/v0/app2/busy")).await.unwrap().status(), 429);
    let error = mesh.dispatch(to("/v0/app2/T")).await.unwrap_err();
    assert!(error.retry_after.unwrap() > Duration::from_secs(25), "{error:?}");
    assert_eq!(count.load(SeqCst), 3, "refused calls do not reach the host");
    // A new snapshot with the same paces does not forget the past.
    mesh.update([&private(address, pace)]);
    assert!(codes::CALL_PACED.is(&mesh.dispatch(to("/v0/app1/T")).await.unwrap_err()));
}

#[tokio::test]
async fn the_breaker_opens_after_five_failures() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let address = host(move |_| {
        seen.fetch_add(1, SeqCst);
        http::Response::builder().status(500).body(Full::default()).unwrap()
    })
    .await;
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &private(address, ""));
    let url = format!("http://{address}/");
    for _ in 0..5 {
        assert_eq!(mesh.dispatch(get(&url)).await.unwrap().status(), 500);
    }
    let error = mesh.dispatch(get(&url)).await.unwrap_err();
    assert!(codes::CALL_UNREACHABLE.is(&error));
    assert_eq!(airhost_mesh::response_flag(&error).as_str(), "CB");
    assert!(error.retry_after.unwrap() > Duration::from_secs(25));
    assert_eq!(count.load(SeqCst), 5);
}

#[tokio::test]
async fn failures_have_their_codes() {
    // A port where nobody listens, and one where somebody hangs up.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude_address = rude.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            stream.write_all(b"HTTP/1.1 20").await.ok();
        }
    });
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let manifest = manifest(&format!(
        "[[egress]]\nhost = \"{closed}\"\nscheme = \"http\"\nprivate = true\n[[egress]]\nhost = \"{rude_address}\"\nscheme = \"http\"\nprivate = true\n[[egress]]\nhost = \"{silent_address}\"\nscheme = \"http\"\nprivate = true\n[[egress]]\nhost = \"nowhere.invalid\"\nscheme = \"http\"\n"
    ));
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &manifest);
    let failed = async |url: String| {
        let mut call = get(&url);
        call.context.deadline = Deadline::after(Duration::from_millis(500));
        let error: Error = within(mesh.dispatch(call)).await.unwrap_err();
        error.code.into_owned()
    };
    assert_eq!(failed(format!("http://{closed}/")).await, "call.unreachable");
    assert_eq!(failed(format!("http://{rude_address}/")).await, "call.reset");
    assert_eq!(failed(format!("http://{silent_address}/")).await, "deadline.exceeded");
    let unknown = failed("http://nowhere.invalid/".to_owned()).await;
    assert!(unknown == "call.unknown-host" || unknown == "deadline.exceeded", "{unknown}");
}

/// A host that closes each connection at its second request without an answer, as one does whose
/// idle time is over at that moment.
async fn impatient() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
                    let _second = stream.read(&mut head).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn reading_is_tried_again_when_a_kept_connection_is_closed() {
    let address = impatient().await;
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &private(address, ""));
    for _ in 0..4 {
        let answer = within(mesh.dispatch(get(&format!("http://{address}/")))).await.unwrap();
        assert_eq!(text(answer).await, "ok");
    }
    // Whether a write was done is not known: it is not done twice.
    let write = Request::post(format!("http://{address}/")).body(Body::Empty).unwrap();
    let error = within(mesh.dispatch(from_service("caller", write))).await.unwrap_err();
    assert_eq!(error.code, "call.reset");
}

#[tokio::test]
async fn calls_under_way_are_bounded_until_their_answers_are_read() {
    let address = host(|_| ok("x".repeat(100))).await;
    let config = OutboundConfig { in_flight: 1, ..OutboundConfig::default() };
    let mesh = mesh(Service::echo(), config, &private(address, ""));
    let url = format!("http://{address}/");
    let first = mesh.dispatch(get(&url)).await.unwrap();
    assert!(codes::CALL_OVERLOADED.is(&mesh.dispatch(get(&url)).await.unwrap_err()));
    text(first).await;
    assert!(mesh.dispatch(get(&url)).await.is_ok());
}

#[tokio::test]
async fn an_answer_ends_at_the_deadline() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
        std::future::pending::<()>().await;
    });
    let mesh = mesh(Service::echo(), OutboundConfig::default(), &private(address, ""));
    let mut call = get(&format!("http://{address}/"));
    call.context.deadline = Deadline::after(Duration::from_millis(200));
    let response = mesh.dispatch(call).await.unwrap();
    let error = within(response.into_body().collect(100)).await.unwrap_err();
    assert!(matches!(error, airhost_core::BodyError::Deadline), "{error}");
}

#[tokio::test]
async fn tls_is_verified() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: Request<Incoming>| async move {
                    Ok::<_, Infallible>(ok(format!("{:?}", request.version())))
                });
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    });
    let manifest = manifest(&format!(
        "[[egress]]\nhost = \"127.0.0.1:{0}\"\nprivate = true\n[[egress]]\nhost = \"localhost:{0}\"\nprivate = true\n",
        address.port()
    ));
    let by_name = format!("https://localhost:{}/", address.port());
    let strict = mesh(Service::echo(), OutboundConfig::default(), &manifest);
    let error = within(strict.dispatch(get(&by_name))).await.unwrap_err();
    assert!(codes::CALL_UNREACHABLE.is(&error), "an unknown issuer: {error}");
    let roots = Roots::WebPkiAnd(signed.cert.pem().into_bytes());
    let trusting =
        mesh(Service::echo(), OutboundConfig { roots, ..OutboundConfig::default() }, &manifest);
    assert_eq!(text(within(trusting.dispatch(get(&by_name))).await.unwrap()).await, "HTTP/2.0");
    let error = within(trusting.dispatch(get(&format!("https://{address}/")))).await.unwrap_err();
    assert!(codes::CALL_UNREACHABLE.is(&error), "another name: {error}");
    let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec();
    let config = OutboundConfig { roots: Roots::WebPkiAnd(broken), ..OutboundConfig::default() };
    assert!(Mesh::new(Service::echo(), None, config, &Telemetry::discard()).is_err());
}

#[tokio::test]
async fn a_switch_of_protocols_goes_through_gateway_and_host() {
    // A host that switches to a protocol which repeats what it gets.
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let service = service_fn(|mut request: Request<Incoming>| async move {
            assert_eq!(request.headers()["upgrade"], "websocket");
            assert_eq!(request.headers()["sec-websocket-key"], "k");
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let response = http::Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket");
            Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
        });
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await
            .unwrap();
    });
    let mesh = Arc::new(mesh(Service::echo(), OutboundConfig::default(), &private(address, "")));
    // What `proxy(call)` does: the request goes on with its extensions.
    let proxy = Service::by(move |call| {
        let mesh = Arc::clone(&mesh);
        async move {
            let (mut parts, body) = call.request.into_parts();
            parts.uri = format!("http://{address}{}", parts.uri).parse().unwrap();
            mesh.dispatch(from_service("caller", Request::from_parts(parts, body))).await
        }
    });
    let server = Server::with(proxy, |_| {}, PortSettings::default()).await;
    let mut client = support::http1(&server).await;
    let request = Request::get("/ws")
        .header("host", "h")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "k")
        .body(Body::Empty)
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut joined = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    joined.write_all(b"there and back").await.unwrap();
    joined.shutdown().await.unwrap();
    let mut back = String::new();
    within(joined.read_to_string(&mut back)).await.unwrap();
    assert_eq!(back, "there and back");
    assert_eq!(server.logged().await, "GET /ws 101 - in=14 out=14");
}

#[tokio::test]
async fn a_call_has_a_span_and_is_counted_for_both_sides() {
    let telemetry = Telemetry::discard();
    let local =
        Service::by(
            |call| async move { Ok(Response::new(Body::from(call.context.trace.to_string()))) },
        );
    let manifest = manifest("[calls]\nservices = [\"auth-service\"]\n");
    let mesh = Mesh::new(local, None, OutboundConfig::default(), &telemetry).unwrap();
    mesh.update([&manifest]);
    for (service, status) in [
        ("auth-service", Status::Http(200)),
        ("other-service", Status::Error("call.denied".into())),
    ] {
        let uri = format!("http://{service}/a/b?secret=1");
        let request = Request::builder().uri(uri).body(Body::Empty).unwrap();
        let mut call = from_service("caller", request);
        call.target = Target::Service(service.parse().unwrap());
        let context = call.context.clone();
        let seen = mesh.dispatch(call).await;
        let spans = telemetry.traces.by_correlation(context.correlation.as_str());
        assert_eq!(spans.len(), 1);
        let span = &spans[0];
        assert_eq!(span.name, format!("GET {service}"));
        assert_eq!((span.kind, &span.status), (Kind::Client, &status));
        assert_eq!(
            (span.trace_id, span.parent_id),
            (context.trace.trace_id, context.trace.span_id)
        );
        assert_eq!(span.service.as_ref().map(ServiceName::as_str), Some("caller"));
        if let Ok(response) = seen {
            let trace = response.into_body().collect(1_000).await.unwrap();
            let trace = TraceContext::parse(std::str::from_utf8(&trace).unwrap()).unwrap();
            assert_eq!(trace.span_id, span.span_id, "the callee is below the span");
        } else {
            let facts = serde_json::to_string(&span.attributes).unwrap();
            assert!(facts.contains(r#"["mesh.response_flags","RBAC"]"#), "{facts}");
        }
    }
    let metrics = telemetry.metrics.render();
    let identity = "spiffe://cluster.local/ns/pyairtable/sa";
    for (reporter, security) in [("source", "unknown"), ("destination", "mutual_tls")] {
        let of_reporter = format!("istio_requests_total{{reporter=\"{reporter}\"");
        let mut counted = metrics.lines().filter(|line| {
            line.starts_with(&of_reporter) && line.contains("destination_workload=\"auth-service\"")
        });
        let line = counted.next().unwrap();
        for label in [
            "source_workload=\"caller\"",
            &format!("source_principal=\"{identity}/caller\""),
            &format!("destination_principal=\"{identity}/auth-service\""),
            "destination_service=\"auth-service.pyairtable.svc.cluster.local\"",
            &format!("connection_security_policy=\"{security}\""),
            "request_protocol=\"http\",response_code=\"200\"",
        ] {
            assert!(line.contains(label), "{label}: {line}");
        }
        assert!(line.ends_with(" 1"), "{line}");
        assert_eq!(counted.next(), None);
    }
    let denied = metrics
        .lines()
        .find(|line| line.starts_with("istio_requests_total") && line.contains("BlackHoleCluster"));
    assert!(denied.unwrap().contains("response_code=\"403\""));
    for family in ["airhost_destination_endpoints", "airhost_mirrored_requests_total"] {
        assert!(metrics.contains(&format!("# TYPE {family} ")), "{family}");
    }
}
