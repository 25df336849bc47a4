//! Personal tokens and API keys, their exchange, and the first user.

use std::time::Duration;

use serde_json::{Value, json};

use super::{EMAIL, PASSWORD, claims, client, host, is_problem, login, signed_in};

fn exchange(host: &sdk::testing::Host, token: &str) -> sdk::testing::TestResponse {
    host.as_service("api-gateway")
        .post("/internal/v1/auth/exchange")
        .json(&json!({"token": token}))
        .send()
}

#[test]
fn a_token_is_made_once_for_a_key_and_not_shown_again() {
    let host = host();
    let user = client(&host, signed_in(&host, EMAIL)["token"].as_str().unwrap());
    let body = json!({"kind": "api_key", "name": "import", "scopes": ["*"]});
    let post = || user.post("/api/v1/auth/tokens").idempotency_key("k").json(&body).send();
    post().expect(201);
    is_problem(&post().expect(409), "idempotency.withheld");
    let listed = user.get("/api/v1/auth/tokens").send().expect(200).value();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_token_is_made_exchanged_listed_and_revoked() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = client(&host, tokens["token"].as_str().unwrap());
    for (kind, start, length) in [("personal", "pat", 82), ("api_key", "pak_", 47)] {
        let body = json!({"kind": kind, "name": "import", "scopes": ["data.records:read"]});
        let made = user.post("/api/v1/auth/tokens").json(&body).send().expect(201);
        assert_eq!(made.header("cache-control"), Some("no-store"));
        let path = made.header("location").unwrap().to_owned();
        let made = made.value();
        let token = made["token"].as_str().unwrap();
        assert!(token.starts_with(start) && token.len() == length, "{token}");

        let short = exchange(&host, token).expect(200).value();
        assert_eq!(short["subject"], tokens["user_id"]);
        assert_eq!(short["tenant"], tokens["user"]["tenant_id"]);
        assert_eq!(short["session"], made["id"]);
        assert_eq!(short["scopes"], json!(["data.records:read"]));
        assert_eq!(short["expires_in"], 120);
        let said = claims(short["access_token"].as_str().unwrap());
        assert_eq!(said["scope"], "data.records:read");
        assert_eq!(said["kind"], kind);
        assert_eq!(said["sid"], made["id"]);

        let listed = user.get("/api/v1/auth/tokens").send().expect(200).value();
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
        assert_eq!(listed["data"][0]["last_used_at"], host.now().to_string());
        assert!(listed["data"][0].get("token").is_none());

        // Whoever has only this token makes no other, and does not take the account over.
        let by_token = client(&host, short["access_token"].as_str().unwrap());
        is_problem(
            &by_token.post("/api/v1/auth/tokens").json(&body).send().expect(403),
            "auth.session-required",
        );
        by_token.delete(&path).send().expect(403);
        let change = json!({"current_password": PASSWORD, "new_password": "quite another one"});
        by_token.post("/api/v1/auth/password/change").json(&change).send().expect(403);
        by_token.get("/api/v1/auth/me").send().expect(200);

        user.delete(&path).send().expect(204);
        user.delete(&path).send().expect(404);
        is_problem(&exchange(&host, token).expect(401), "token_invalid");
        let revoked = host.published("session.revoked").pop().unwrap();
        assert_eq!(revoked.data["session_id"], made["id"]);
    }
    // Nothing that opens anything is in the database.
    let stored: Vec<(String,)> = host.query("SELECT token_hash FROM api_tokens", vec![]);
    assert!(stored.iter().all(|(hash,)| hash.len() == 64));
}

#[test]
fn a_token_that_is_wrong_in_any_way_is_answered_alike() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = client(&host, tokens["token"].as_str().unwrap());
    let soon = (host.now() + Duration::from_secs(60)).to_string();
    let body = json!({"kind": "personal", "name": "a", "scopes": ["*"], "expires_at": soon});
    let made = user.post("/api/v1/auth/tokens").json(&body).send().expect(201).value();
    let token = made["token"].as_str().unwrap();
    let last = if token.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &token[..81]);
    for bad in ["", "pat", forged.as_str(), tokens["token"].as_str().unwrap(), "pak_é"] {
        let answer = exchange(&host, bad);
        assert!(matches!(answer.status(), 401 | 422), "{bad}");
    }
    assert_eq!(exchange(&host, token).expect(200).value()["expires_in"], 60);
    host.advance(Duration::from_secs(61));
    exchange(&host, token).expect(401);
    // Only the gateway exchanges.
    for client in [host.as_service("user-service"), host.anonymous(), host.as_user("u", "t")] {
        let post = client.post("/internal/v1/auth/exchange");
        post.json(&json!({"token": token})).send().expect(403);
    }
}

#[test]
fn tokens_are_the_users_and_the_tenants_own() {
    let host = host();
    let ada = signed_in(&host, EMAIL);
    let eve = signed_in(&host, "eve@example.com");
    let ada = client(&host, ada["token"].as_str().unwrap());
    let eve = client(&host, eve["token"].as_str().unwrap());
    let body = json!({"kind": "api_key", "name": "a", "scopes": ["*"]});
    let path = ada.post("/api/v1/auth/tokens").json(&body).send().expect(201);
    let path = path.header("location").unwrap();
    eve.delete(path).send().expect(404);
    assert_eq!(eve.get("/api/v1/auth/tokens").send().value()["data"], json!([]));
    for request in [
        host.anonymous().get("/api/v1/auth/tokens"),
        host.anonymous().post("/api/v1/auth/tokens").json(&body),
        host.anonymous().delete(path),
    ] {
        request.send().expect(401);
    }
}

#[test]
fn bad_tokens_to_be_are_told_by_pointer() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = client(&host, tokens["token"].as_str().unwrap());
    let past = "2020-01-01T00:00:00Z";
    let rows = [
        (json!({"name": "a", "scopes": ["*"]}), "/kind"),
        (json!({"kind": "root", "name": "a", "scopes": ["*"]}), "/kind"),
        (json!({"kind": "personal", "name": "", "scopes": ["*"]}), "/name"),
        (json!({"kind": "personal", "name": "a", "scopes": []}), "/scopes"),
        (json!({"kind": "personal", "name": "a", "scopes": ["all"]}), "/scopes"),
        (
            json!({"kind": "personal", "name": "a", "scopes": ["*"], "expires_at": past}),
            "/expires_at",
        ),
    ];
    for (body, pointer) in rows {
        let answer = user.post("/api/v1/auth/tokens").json(&body).send().expect(422);
        assert_eq!(answer.value()["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[test]
fn a_user_has_so_many_tokens_and_pages_hold_each_once() {
    let host = host().with_config("tokens-per-user", 5);
    let tokens = signed_in(&host, EMAIL);
    let user = client(&host, tokens["token"].as_str().unwrap());
    let make = |n: usize| {
        let body = json!({"kind": "api_key", "name": format!("n{n}"), "scopes": ["*"]});
        user.post("/api/v1/auth/tokens").json(&body).send()
    };
    for n in 0..5 {
        make(n).expect(201);
    }
    is_problem(&make(5).expect(409), "auth.too-many-tokens");
    let mut names = Vec::new();
    let mut path = "/api/v1/auth/tokens?limit=2".to_owned();
    loop {
        let page = user.get(&path).send().expect(200).value();
        names.extend(page["data"].as_array().unwrap().iter().map(|t| t["name"].to_string()));
        let Value::String(cursor) = &page["next_cursor"] else { break };
        path = format!("/api/v1/auth/tokens?limit=2&cursor={cursor}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
}

#[test]
fn the_host_makes_the_first_user_once() {
    let host = host();
    let airhost = host.as_service("spiffe://cluster.local/ns/airhost-system/sa/airhost");
    let body = json!({"email": EMAIL, "name": "Ada", "token_name": "first"});
    let bootstrap = || airhost.post("/internal/v1/auth/bootstrap").json(&body).send();
    let made = bootstrap().expect(200).value();
    let password = made["password"].as_str().unwrap();
    let token = made["token"].as_str().unwrap();
    let event = host.published("user.registered").pop().unwrap();
    assert_eq!(event.data["email_verified"], true);
    assert_eq!(event.data["tenant_id"], made["tenant_id"]);
    login(&host, EMAIL, password).expect(200);
    assert_eq!(exchange(&host, token).expect(200).value()["subject"], made["user_id"]);

    let again = bootstrap().expect(200).value();
    assert_eq!(again["user_id"], made["user_id"]);
    assert!(again["password"].is_null() && again["token"].is_null());
    assert_eq!(host.published("user.registered").len(), 1);
    for other in ["api-gateway", "airhost", "spiffe://cluster.local/ns/pyairtable/sa/airhost"] {
        let post = host.as_service(other).post("/internal/v1/auth/bootstrap");
        post.json(&body).send().expect(403);
    }
}
