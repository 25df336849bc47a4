//! The service as its clients and the host see it.

mod account;
mod key;
mod password;
mod session;
mod subject;
mod token;

use sdk::{
    bindings::pyairtable::context::call::Principal,
    testing::{Host, TestClient, TestResponse},
};
use serde_json::{Value, json};

use crate::SERVICE;

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "a long sentence is good";

fn host() -> Host {
    Host::of_crate(&SERVICE)
}

fn register(host: &Host, email: &str, password: &str) -> TestResponse {
    let body = json!({"email": email, "password": password, "name": "Ada"});
    host.anonymous().post("/api/v1/auth/register").json(&body).send()
}

/// The token in the last mail.
fn mailed(host: &Host) -> String {
    let mail = host.mails().pop().expect("a mail");
    let start = mail.text.find("ot_").expect("a token");
    mail.text[start..].split_whitespace().next().unwrap().to_owned()
}

fn verify(host: &Host, token: &str) -> TestResponse {
    host.anonymous().post("/api/v1/auth/verify-email").json(&json!({"token": token})).send()
}

fn login(host: &Host, email: &str, password: &str) -> TestResponse {
    let body = json!({"email": email, "password": password});
    host.anonymous().post("/api/v1/auth/login").header("user-agent", "test").json(&body).send()
}

fn refresh(host: &Host, token: &Value) -> TestResponse {
    host.anonymous().post("/api/v1/auth/refresh").json(&json!({"refresh_token": token})).send()
}

/// A user who is registered and verified, signed in.
fn signed_in(host: &Host, email: &str) -> Value {
    register(host, email, PASSWORD).expect(202);
    verify(host, &mailed(host)).expect(200);
    login(host, email, PASSWORD).expect(200).value()
}

/// What an access token says.
fn claims(jwt: &str) -> Value {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let payload = jwt.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The client that has this access token, as the host lets it in.
fn client<'a>(host: &'a Host, jwt: &str) -> TestClient<'a> {
    let claims = claims(jwt);
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    host.as_principal(Principal {
        subject: text("sub"),
        tenant: text("tid"),
        roles: Vec::new(),
        scopes: text("scope").split(' ').map(str::to_owned).collect(),
        session: Some(text("sid")),
        expires_at: claims["exp"].as_u64().unwrap(),
        attrs: vec![("kind".to_owned(), claims["kind"].to_string())],
    })
}

fn is_problem(answer: &TestResponse, code: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.value()["code"], code);
}

#[test]
fn every_route_is_described() {
    let document = host().openapi();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/v1/auth/login"));
    assert!(!paths.keys().any(|path| path.starts_with("/internal")));
}
