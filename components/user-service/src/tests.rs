//! The service as its clients and the host see it.

mod invitation;
mod profile;
mod tenant;
mod workspace;

use sdk::testing::{Host, TestClient, TestResponse};
use serde_json::{Value, json};

use crate::SERVICE;

const T1: &str = "0192f0c0-1111-7abc-8def-000000000001";
const T2: &str = "0192f0c0-1111-7abc-8def-000000000002";
const ADA: &str = "0192f0c0-2222-7abc-8def-00000000000a";
const BOB: &str = "0192f0c0-2222-7abc-8def-00000000000b";
const EVE: &str = "0192f0c0-2222-7abc-8def-00000000000e";

/// Ada in a tenant of hers, and Eve in another.
fn host() -> Host {
    let host = Host::of_crate(&SERVICE);
    registered(&host, ADA, T1, "Ada");
    registered(&host, EVE, T2, "Eve");
    host
}

fn address(name: &str) -> String {
    format!("{}@example.com", name.to_lowercase())
}

/// As auth-service tells it: without a tenant, since nobody is signed in.
fn registered(host: &Host, user: &str, tenant: &str, name: &str) {
    let data = json!({
        "user_id": user, "tenant_id": tenant, "email": address(name), "email_verified": false,
        "method": "password", "at": host.now().to_string(), "display_name": name,
    });
    let outcome = host.deliver("user.registered", user, None, &data);
    assert_eq!(format!("{outcome:?}"), "Outcome::Ack");
}

fn ada(host: &Host) -> TestClient<'_> {
    host.as_user(ADA, T1)
}

fn eve(host: &Host) -> TestClient<'_> {
    host.as_user(EVE, T2)
}

/// The code in the last mail.
fn mailed(host: &Host) -> String {
    let mail = host.mails().pop().expect("a mail");
    let start = mail.text.find("inv_").expect("a code");
    mail.text[start..].split_whitespace().next().unwrap().to_owned()
}

fn accept(host: &Host, user: &str, tenant: &str, token: &str) -> TestResponse {
    let post = host.as_user(user, tenant).post("/api/v1/tenants/invitations/accept");
    post.json(&json!({"token": token})).send()
}

/// Makes Bob, who has a tenant of his own, a member of Ada's.
fn bob_joins(host: &Host, role: &str) {
    const OWN: &str = "0192f0c0-1111-7abc-8def-00000000000b";
    registered(host, BOB, OWN, "Bob");
    let body = json!({"email": address("Bob"), "role": role});
    ada(host).post("/api/v1/tenants/current/invitations").json(&body).send().expect(201);
    accept(host, BOB, OWN, &mailed(host)).expect(200);
}

fn bob(host: &Host) -> TestClient<'_> {
    host.as_user(BOB, T1)
}

/// The path of the workspace that every tenant begins with.
fn first_workspace(client: &TestClient<'_>) -> String {
    let list = client.get("/api/v1/workspaces").send().expect(200).value();
    format!("/api/v1/workspaces/{}", list["data"][0]["id"].as_str().unwrap())
}

fn code(answer: &TestResponse) -> Value {
    answer.value()["code"].clone()
}

#[test]
fn every_route_is_described() {
    let document = host().openapi();
    for path in ["/api/v1/users/me", "/api/v1/tenants/current", "/api/v1/workspaces/{id}"] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
}

#[test]
fn nobody_who_is_not_signed_in_gets_anywhere() {
    let host = host();
    let document = host.openapi();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", ADA).replace("{user}", ADA);
        for method in operations.as_object().unwrap().keys() {
            let request = host.anonymous().request(&method.to_uppercase(), &path);
            request.json(&json!({})).send().expect(401);
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
}
