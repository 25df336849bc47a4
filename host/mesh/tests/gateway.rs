//! The gateway and the host's own paths, in front of a recording service.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{sync::Arc, time::Duration};

use airhost_core::{
    Body, Call, CallContext, Caller, Deadline, Dispatch, Response, ServiceName, Target,
    TrustDomain, codes,
};
use airhost_mesh::{Gateway, HostPaths, Outcome, Report, RouteTable, ServiceFacts, ServiceRoutes};
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use support::Service;

const ROUTES: &str = r#"
cors:
  web: { origins: ["https://app.example.com"], credentials: true, expose: [etag] }
response-headers:
  api: { set: { x-frame-options: SAMEORIGIN, x-set: a }, add: { x-add: b }, remove: [x-gone] }
request-headers:
  clean: { remove: [cookie], set: { x-from: gateway } }
routes:
  - name: users
    path: /api/v1/users/{id}
    service: user-service
    methods: [GET, PATCH]
    timeout: 2s
    body: 10B
    cors: web
    response-headers: api
    request-headers: clean
  - name: airtable
    path: /v0/**
    service: airtable-connector
    methods: [GET, POST]
  - name: chat
    path: /v1/chat/completions
    service: llm
    methods: [POST]
  - name: raw
    path: /raw
    service: raw
    compression: false
"#;

fn call(request: Request<Body>) -> Call {
    let deadline = Deadline::after(Duration::from_secs(60));
    Call {
        target: Target::Service("api-gateway".parse().unwrap()),
        request,
        context: CallContext::root(Caller::Public, deadline),
        attrs: Vec::new(),
        pool: None,
    }
}

fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "api.example.com")
}

fn gateway(next: Arc<dyn Dispatch>) -> Gateway {
    Gateway::new(RouteTable::parse([("routes.yaml", ROUTES)]).unwrap(), next)
}

fn describing() -> Arc<dyn Dispatch> {
    Service::by(|call| async move {
        let route = call.context.route.as_ref().unwrap();
        let params: Vec<_> =
            route.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let left = call.context.deadline.remaining().as_secs_f64().ceil();
        let fields: Vec<_> = ["cookie", "x-from"]
            .iter()
            .filter(|name| call.request.headers().contains_key(**name))
            .collect();
        let text = format!("{} {} left={left} {fields:?}", route.name, params.join(" "));
        let response = http::Response::builder()
            .header("x-gone", "1")
            .header("access-control-allow-origin", "*");
        Ok(response.body(Body::from(text)).unwrap())
    })
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect(1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn the_component_sees_the_route_and_the_client_its_policies() {
    let gateway = gateway(describing());
    let request =
        get("/api/v1/users/7").header("cookie", "a=b").header("origin", "https://app.example.com");
    let response = gateway.dispatch(call(request.body(Body::Empty).unwrap())).await.unwrap();
    let headers = response.headers();
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "etag"),
        ("vary", "origin"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-content-type-options", "nosniff"),
        ("x-set", "a"),
        ("x-add", "b"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(!headers.contains_key("x-gone") && !headers.contains_key("strict-transport-security"));
    assert_eq!(
        &*response.extensions().get::<Outcome>().unwrap().route.as_ref().unwrap().name,
        "users"
    );
    let expected = "users id=7 :service=user-service :auth=required :rewrite=/api/v1/users/7 left=2 [\"x-from\"]";
    assert_eq!(text(response).await, expected);
}

#[tokio::test]
async fn encrypted_connections_are_kept_encrypted() {
    let gateway = gateway(describing());
    let request = get("https://api.example.com/raw").body(Body::Empty).unwrap();
    let response = gateway.dispatch(call(request)).await.unwrap();
    assert!(response.headers().contains_key("strict-transport-security"));
}

#[tokio::test]
async fn preflights_never_reach_the_component() {
    let gateway = gateway(Service::by(|_| async { panic!("a preflight was passed on") }));
    let preflight = |path: &str, origin: &str, method: &str| {
        let request = Request::options(path)
            .header("origin", origin)
            .header("access-control-request-method", method)
            .body(Body::Empty);
        call(request.unwrap())
    };
    let response = gateway
        .dispatch(preflight("/api/v1/users/7", "https://app.example.com", "PATCH"))
        .await
        .unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["access-control-allow-methods"], "GET, PATCH");
    let response = gateway
        .dispatch(preflight("/api/v1/users/7", "https://evil.example", "PATCH"))
        .await
        .unwrap();
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    // Without a policy it is a request like any other.
    let error =
        gateway.dispatch(preflight("/v0/a", "https://app.example.com", "GET")).await.unwrap_err();
    assert!(codes::REQUEST_METHOD.is(&error));
}

#[tokio::test]
async fn what_has_no_route_is_refused_here() {
    let gateway = gateway(Service::by(|_| async { panic!("there is no route") }));
    let cases = [
        ("GET", "/nothing", "request.no-route", ""),
        ("DELETE", "/api/v1/users/7", "request.method", "GET, HEAD, PATCH"),
        ("PUT", "/v0/app1/T", "request.method", "GET, HEAD, POST"),
        ("GET", "/v1/chat/completions", "request.method", "POST"),
        ("GET", "/api/v1/users/..", "request.invalid", ""),
        ("GET", "/v0/%2E%2e/x", "request.invalid", ""),
        ("GET", "/v0/./x", "request.invalid", ""),
    ];
    for (method, path, code, allow) in cases {
        let request = Request::builder().method(method).uri(path).body(Body::Empty).unwrap();
        let error = gateway.dispatch(call(request)).await.unwrap_err();
        assert_eq!(error.code, code, "{method} {path}");
        let allowed =
            error.attrs.iter().find(|(name, _)| name == "allow").map_or("", |(_, value)| value);
        assert_eq!(allowed, allow, "{method} {path}");
    }
}

#[tokio::test]
async fn errors_behind_the_gateway_have_its_shape_and_policies() {
    let gateway = gateway(Service::by(|_| async {
        Err(codes::CALL_PACED.error("wait").retry_after(Duration::from_secs(3)))
    }));
    let response =
        gateway.dispatch(call(get("/v0/app1/T").body(Body::Empty).unwrap())).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.extensions().get::<Outcome>().unwrap().flag.as_str(), "RL");
    assert!(text(response).await.contains("RATE_LIMIT_REACHED"));
    let request = get("/api/v1/users/7")
        .header("origin", "https://app.example.com")
        .body(Body::Empty)
        .unwrap();
    let response = gateway.dispatch(call(request)).await.unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "https://app.example.com");
}

#[tokio::test]
async fn a_route_limits_bodies_of_every_kind() {
    let reading = Service::by(|call| async move {
        let bytes = call.request.into_body().collect(1000).await?;
        Ok(Response::new(Body::from(bytes)))
    });
    let gateway = gateway(reading);
    let streamed = |parts: &'static [&'static str]| {
        let frames = parts
            .iter()
            .map(|part| Ok(http_body::Frame::data(Bytes::from_static(part.as_bytes()))));
        Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
    };
    let cases: Vec<(Body, u16)> = vec![
        (Body::from("0123456789"), 200),
        (Body::from("0123456789a"), 413),
        (streamed(&["01234", "56789"]), 200),
        (streamed(&["01234", "56789", "a"]), 413),
    ];
    for (at, (body, status)) in cases.into_iter().enumerate() {
        let request = Request::patch("/api/v1/users/7").body(body).unwrap();
        let response = gateway.dispatch(call(request)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_s_time_is_kept() {
    let gateway = gateway(Service::by(|_| std::future::pending()));
    let began = tokio::time::Instant::now();
    let response =
        gateway.dispatch(call(get("/api/v1/users/7").body(Body::Empty).unwrap())).await.unwrap();
    assert_eq!(response.status(), 504);
    assert_eq!(response.extensions().get::<Outcome>().unwrap().flag.as_str(), "UT");
    assert!(began.elapsed() < Duration::from_millis(2200));
}

#[tokio::test]
async fn responses_are_compressed_as_the_client_likes() {
    let large = Service::by(|_| async {
        let response = http::Response::builder().header("content-type", "application/json");
        Ok(response.body(Body::from("[1,2,3]".repeat(1000))).unwrap())
    });
    let gateway = gateway(large);
    for (path, accept, coding) in [
        ("/v0/a", "gzip", Some("gzip")),
        ("/v0/a", "br;q=1, gzip;q=0.2", Some("br")),
        ("/v0/a", "identity", None),
        ("/raw", "gzip", None),
    ] {
        let request = get(path).header("accept-encoding", accept).body(Body::Empty).unwrap();
        let response = gateway.dispatch(call(request)).await.unwrap();
        let used = response.headers().get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!(used, coding, "{path} {accept}");
    }
}

#[tokio::test]
async fn routes_change_all_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.yaml");
    std::fs::write(&file, ROUTES).unwrap();
    let gateway = gateway(Service::text("ok"));
    gateway.reload(folder.path()).unwrap();
    std::fs::write(&file, "routes:\n  - name: only\n    path: /only\n    service: only\n").unwrap();
    std::fs::write(folder.path().join("second.yaml"), "routes: [{ nmae: x }]\n").unwrap();
    let error = gateway.reload(folder.path()).unwrap_err().to_string();
    assert!(error.starts_with("second.yaml:1:"), "{error}");
    assert_eq!(gateway.routes().routes().len(), 4);
    std::fs::remove_file(folder.path().join("second.yaml")).unwrap();
    gateway.reload(folder.path()).unwrap();
    let response = gateway.dispatch(call(get("/only").body(Body::Empty).unwrap())).await.unwrap();
    assert_eq!(text(response).await, "ok");
    assert!(gateway.dispatch(call(get("/raw").body(Body::Empty).unwrap())).await.is_err());
}

struct Facts;

#[async_trait]
impl ServiceFacts for Facts {
    async fn health(&self, service: &ServiceName) -> Report {
        Report {
            ok: true,
            details: serde_json::json!({ "status": "ok", "service": service.as_str() }),
        }
    }

    async fn readiness(&self, _: &ServiceName) -> Report {
        Report { ok: false, details: serde_json::json!({ "status": "no revision" }) }
    }

    fn metrics(&self, _: &ServiceName) -> Bytes {
        Bytes::from_static(b"up 1\n")
    }

    fn openapi(&self, _: &ServiceName) -> Option<Bytes> {
        None
    }
}

#[tokio::test]
async fn the_host_answers_for_every_service() {
    let name: ServiceName = "user-service".parse().unwrap();
    let port = |paths| {
        ServiceRoutes::new(name.clone(), paths, Arc::new(Facts), Service::text("the service"))
    };
    let all = port(HostPaths::default());
    let few = port(HostPaths { metrics: false, openapi: false, ..HostPaths::default() });
    let cases = [
        (&all, "/health", 200, r#"{"status":"ok","service":"user-service"}"#),
        (&all, "/ready", 503, r#"{"status":"no revision"}"#),
        (&all, "/metrics", 200, "up 1\n"),
        (&all, "/healthy", 200, "the service"),
        (&all, "/", 200, "the service"),
        (&few, "/metrics", 200, "the service"),
        (&few, "/openapi.json", 200, "the service"),
    ];
    for (port, path, status, body) in cases {
        let response = port.dispatch(call(get(path).body(Body::Empty).unwrap())).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(text(response).await, body, "{path}");
    }
    let missing =
        all.dispatch(call(get("/openapi.json").body(Body::Empty).unwrap())).await.unwrap_err();
    assert!(codes::REQUEST_NO_ROUTE.is(&missing));
    let written = Request::post("/health").body(Body::Empty).unwrap();
    assert!(codes::REQUEST_METHOD.is(&all.dispatch(call(written)).await.unwrap_err()));
}

#[tokio::test]
async fn services_ask_for_each_others_paths_inside() {
    let inside = ServiceRoutes::inside(Arc::new(Facts), Service::text("the service"));
    let ask = async |caller: Caller, path: &str| {
        let mut call = call(get(path).body(Body::Empty).unwrap());
        call.target = Target::Service("user-service".parse().unwrap());
        call.context.caller = caller;
        text(inside.dispatch(call).await.unwrap()).await
    };
    let service = || {
        let name: ServiceName = "api-gateway".parse().unwrap();
        Caller::Service { identity: TrustDomain::default().identity(&name), name }
    };
    let health = r#"{"status":"ok","service":"user-service"}"#;
    assert_eq!(ask(service(), "/health").await, health);
    assert_eq!(ask(Caller::Host, "/health").await, health);
    assert_eq!(ask(service(), "/api/v1/users/me").await, "the service");
    // A port has answered for the host already, as far as it is to.
    assert_eq!(ask(Caller::Public, "/health").await, "the service");
}
