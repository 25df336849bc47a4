//! The gateway as clients and the services behind it see it.

use std::{cell::Cell, rc::Rc, time::Duration};

use sdk::{
    Error, Result,
    http::{BodyOut, Outgoing, Reply, Response},
    testing::{FakeRequest, Host, TestRequest, TestResponse},
};
use serde_json::{Value, json};

use crate::SERVICE;

const EXCHANGE: &str = "http://auth-service/internal/v1/auth/exchange";
const LIMITS: &str = "http://rate-limiter-service/internal/v1/limits/check";
const PERMISSIONS: &str = "http://permission-service/api/v1/permissions/check";
const PAT: &str = "patAAAAAAAAAAAAAA.0123";
const LIST: &str = "/v0/appAbCdEfGhIjKlMn/Table%20one";

fn json_of(status: u16, value: Value) -> impl Fn(&FakeRequest) -> Result<Response> {
    move |_| Response::json(status, &value)
}

fn allowed() -> Value {
    json!({"allowed": true, "policy": "gateway.user", "limit": 200, "remaining": 199,
           "reset_seconds": 1, "retry_after_seconds": 0, "items": []})
}

/// A host on which everybody may do everything: `a.b.c` is u1 of t1, `patAAAAAAAAAAAAAA.0123` is
/// exchanged for it.
fn host() -> Host {
    Host::of_crate(&SERVICE)
        .with_token("a.b.c", "u1", "t1")
        .with_fake(EXCHANGE, |call| {
            if call.json()["token"] == PAT {
                let good = json!({"access_token": "a.b.c", "expires_in": 120, "session": "s1"});
                Response::json(200, &good)
            } else {
                Response::json(401, &json!({"code": "token_invalid", "detail": "no"}))
            }
        })
        .with_fake(LIMITS, json_of(200, allowed()))
        .with_fake(PERMISSIONS, json_of(200, json!({"allowed": true})))
}

/// As the host's route table hands it over.
fn routed(request: TestRequest, service: &str, auth: &str, path: &str) -> TestRequest {
    request.route("r", &[(":service", service), (":auth", auth), (":rewrite", path)])
}

fn list(host: &Host) -> TestRequest {
    let request = host.anonymous().get(&format!("{LIST}?fields%5B%5D=A"));
    routed(request, "airtable-connector", "required", LIST)
}

/// Everybody is unlimited in the test host's principals only by this scope.
fn unlimited(host: &Host) {
    host.allow_scopes("a.b.c", &["*"]);
}

fn target(answer: &TestResponse) -> Outgoing {
    match answer.reply() {
        Some(Reply::Proxy(proxy)) => proxy.target.clone(),
        other => panic!("{other:?}: {}", answer.text()),
    }
}

fn response_field(answer: &TestResponse, name: &str) -> Option<String> {
    let Some(Reply::Proxy(proxy)) = answer.reply() else { return None };
    proxy.response_headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn calls_to(host: &Host, url: &str) -> Vec<Value> {
    host.calls().iter().filter(|call| call.url == url).map(FakeRequest::json).collect()
}

#[test]
fn a_request_goes_on_without_its_credential() {
    let host = host();
    unlimited(&host);
    let answer = list(&host)
        .header("authorization", "Bearer a.b.c")
        .header("accept", "application/json")
        .header("te", "trailers")
        .send();
    let target = target(&answer);
    assert_eq!(
        target.url,
        "http://airtable-connector/v0/appAbCdEfGhIjKlMn/Table%20one?fields%5B%5D=A"
    );
    assert_eq!(target.method, "GET");
    assert_eq!(target.headers, [("accept".to_owned(), "application/json".to_owned())]);
    assert_eq!(target.body, BodyOut::RequestBody);
    assert_eq!(response_field(&answer, "ratelimit").as_deref(), Some("\"gateway.user\";r=199;t=1"));
    assert_eq!(
        calls_to(&host, LIMITS)[0]["items"],
        json!([
            {"policy": "gateway.user", "key": {"tenant": "t1", "user": "u1"}, "cost": 1},
            {"policy": "quota.day", "key": {"tenant": "t1"}, "cost": 1},
        ])
    );
    assert_eq!(
        calls_to(&host, PERMISSIONS),
        [json!({
            "action": "record.read",
            "resource": {"type": "base", "id": "appAbCdEfGhIjKlMn"},
            "context": {"ip": "192.0.2.1"},
        })]
    );
}

#[test]
fn a_personal_token_is_exchanged_once() {
    let host = host();
    unlimited(&host);
    for _ in 0..3 {
        target(&list(&host).header("authorization", &format!("Bearer {PAT}")).send());
        target(&list(&host).header("x-api-key", PAT).send());
    }
    assert_eq!(calls_to(&host, EXCHANGE).len(), 1);
    host.advance(Duration::from_secs(31));
    target(&list(&host).header("x-api-key", PAT).send());
    assert_eq!(calls_to(&host, EXCHANGE).len(), 2);
}

#[test]
fn a_revoked_token_is_not_good_for_as_long_as_it_is_remembered() {
    let revoked = Rc::new(Cell::new(false));
    let seen = Rc::clone(&revoked);
    let host = host().with_fake(EXCHANGE, move |_| {
        if seen.get() {
            return Response::json(401, &json!({}));
        }
        Response::json(200, &json!({"access_token": "a.b.c", "session": "s1"}))
    });
    unlimited(&host);
    target(&list(&host).header("x-api-key", PAT).send());
    revoked.set(true);
    host.revoke("a.b.c");
    list(&host).header("x-api-key", PAT).send().expect(401);
    list(&host).header("x-api-key", PAT).send().expect(401);
    assert_eq!(calls_to(&host, EXCHANGE).len(), 2, "the refusal is remembered too");
}

#[test]
fn refusals_under_v0_are_in_airtables_shape() {
    let host = host();
    unlimited(&host);
    let unauthenticated = json!({"error": {
        "type": "AUTHENTICATION_REQUIRED", "message": "Authentication required",
    }});
    for credential in ["Bearer x.y.z", "Bearer patBBBBBBBBBBBBBB.1", "Basic dTpw", "Bearer keyOld"]
    {
        let answer = list(&host).header("authorization", credential).send().expect(401);
        assert_eq!(answer.value(), unauthenticated, "{credential}");
    }
    assert_eq!(list(&host).send().expect(401).value(), unauthenticated);
    let path = "/v0/appAbCdEfGhIjKlMn";
    let answer = routed(host.anonymous().get(path), "airtable-connector", "required", path)
        .header("authorization", "Bearer a.b.c")
        .send()
        .expect(404);
    assert_eq!(answer.value(), json!({"error": "NOT_FOUND"}));

    let host = host.with_fake(PERMISSIONS, json_of(200, json!({"allowed": false})));
    let answer = list(&host).header("authorization", "Bearer a.b.c").send().expect(403);
    assert_eq!(answer.value()["error"]["type"], "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND");

    let host = host.with_fake(PERMISSIONS, |_| Err(Error::unavailable("away")));
    let answer = list(&host).header("authorization", "Bearer a.b.c").send().expect(503);
    assert_eq!(answer.value()["error"]["type"], "SERVICE_UNAVAILABLE");
}

#[test]
fn too_many_requests() {
    let host = host().with_fake(
        LIMITS,
        json_of(
            200,
            json!({"allowed": false, "policy": "gateway.user", "limit": 200, "remaining": 0,
                   "reset_seconds": 2, "retry_after_seconds": 2, "items": []}),
        ),
    );
    unlimited(&host);
    let answer = list(&host).header("authorization", "Bearer a.b.c").send().expect(429);
    assert_eq!(answer.value()["errors"][0]["error"], "RATE_LIMIT_REACHED");
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(answer.header("ratelimit"), Some("\"gateway.user\";r=0;t=2"));
    let me = "/api/v1/users/me";
    let answer = routed(host.anonymous().get(me), "user-service", "required", me)
        .header("authorization", "Bearer a.b.c")
        .send()
        .expect(429);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    // A guessed credential is not told apart from one that is right.
    list(&host).header("authorization", "Bearer x.y.z").send().expect(429);
}

#[test]
fn requests_go_on_while_limits_cannot_be_checked() {
    let host = host().with_fake(LIMITS, |_| Err(Error::unavailable("away")));
    unlimited(&host);
    let answer = list(&host).header("authorization", "Bearer a.b.c").send();
    assert_eq!(target(&answer).method, "GET");
    assert_eq!(response_field(&answer, "ratelimit"), None);
}

#[test]
fn a_long_lived_token_is_503_while_it_cannot_be_exchanged() {
    let host = host().with_fake(EXCHANGE, |_| Err(Error::unavailable("away")));
    let answer = list(&host).header("x-api-key", PAT).send().expect(503);
    assert_eq!(answer.value()["error"]["type"], "SERVICE_UNAVAILABLE");
}

#[test]
fn limited_tokens_are_limited() {
    let host = host();
    host.allow_scopes("a.b.c", &["data.records:read"]);
    target(&list(&host).header("x-api-key", PAT).send());
    let write = routed(host.anonymous().post(LIST), "airtable-connector", "required", LIST);
    write.header("x-api-key", PAT).send().expect(403);
    for (path, service) in
        [("/api/v1/users/me", "user-service"), ("/api/v1/connections", "airtable-connector")]
    {
        let request = routed(host.anonymous().get(path), service, "required", path);
        let answer = request.header("x-api-key", PAT).send().expect(403);
        assert_eq!(answer.value()["code"], "token.scope");
    }
}

#[test]
fn routes_say_whether_a_credential_is_needed() {
    let host = host();
    unlimited(&host);
    let path = "/api/v1/auth/refresh";
    let ask = |auth: &str, credential: Option<&str>| {
        let request = routed(host.anonymous().post(path), "auth-service", auth, path);
        match credential {
            Some(credential) => request.header("authorization", credential).send(),
            None => request.send(),
        }
    };
    for (auth, credential) in [
        ("optional", None),
        ("optional", Some("Bearer x.y.z")),
        ("none", Some("Bearer x.y.z")),
        ("required", Some("Bearer a.b.c")),
    ] {
        assert_eq!(target(&ask(auth, credential)).url, format!("http://auth-service{path}"));
    }
    let answer = ask("required", Some("Bearer x.y.z")).expect(401);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    ask("required", None).expect(401);
}

#[test]
fn attempts_to_log_in_count_for_the_account() {
    let host = host();
    let path = "/api/v1/auth/login";
    let body = json!({"email": "Ada@example.com", "password": "x"});
    let answer =
        routed(host.anonymous().post(path).json(&body), "auth-service", "optional", path).send();
    let sent = target(&answer).body;
    assert_eq!(sent, BodyOut::Bytes(serde_json::to_vec(&body).unwrap()));
    let items = &calls_to(&host, LIMITS)[0]["items"];
    assert_eq!(items[0]["policy"], "gateway.ip");
    assert_eq!(items[1]["policy"], "login");
    assert_eq!(items[1]["key"]["user"].as_str().unwrap().len(), 32);
    assert!(!items.to_string().to_lowercase().contains("ada"));
    routed(host.anonymous().post(path), "auth-service", "optional", path)
        .body(vec![b' '; (64 << 10) + 1])
        .send()
        .expect(413);
}

#[test]
fn nothing_is_passed_on_that_no_route_led_here() {
    let host = host();
    host.anonymous().get("/api/v1/users/me").send().expect(404);
    host.as_service("user-service").get("/internal/v1/x").send().expect(404);
}

#[test]
fn one_document_of_all_services() {
    let away = Rc::new(Cell::new(true));
    let now = Rc::clone(&away);
    let document = |path: &str| json!({"paths": {path: {"get": {"operationId": "x"}}}});
    let mut host = host();
    for service in ["auth-service", "permission-service", "rate-limiter-service"] {
        let url = format!("http://{service}/openapi.json");
        host = host.with_fake(&url, json_of(200, document(&format!("/{service}"))));
    }
    let users = document("/users");
    let host = host
        .with_fake("http://airtable-connector/openapi.json", json_of(404, json!({})))
        .with_fake("http://user-service/openapi.json", move |_| {
            if now.get() { Err(Error::unavailable("away")) } else { Response::json(200, &users) }
        });
    let read = || host.anonymous().get("/openapi.json").send().expect(200).value();
    let first = read();
    assert_eq!(first["openapi"], "3.0.3");
    assert!(first["paths"]["/auth-service"].is_object());
    assert!(first["paths"]["/openapi.json"].is_object());
    assert!(first["paths"]["/users"].is_null());
    away.set(false);
    assert_eq!(read(), first, "kept for a moment");
    host.advance(Duration::from_secs(6));
    assert!(read()["paths"]["/users"].is_object());
}

#[test]
fn the_reference_is_a_page_that_needs_nothing_from_elsewhere() {
    let host = host();
    let page = host.anonymous().get("/docs").send().expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
    for file in ["reference.js", "reference.css"] {
        assert!(page.text().contains(&format!("/docs/{file}")));
        host.anonymous().get(&format!("/docs/{file}")).send().expect(200);
    }
    assert!(!page.text().contains("http://") && !page.text().contains("https://"));
    host.anonymous().get("/docs/../x").send().expect(404);
    host.anonymous().get("/docs/other.js").send().expect(404);
}
