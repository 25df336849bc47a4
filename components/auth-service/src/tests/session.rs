//! Signing in and out, and the sessions between.

use std::time::Duration;

use sdk::params;
use serde_json::json;

use super::{EMAIL, PASSWORD, claims, client, host, is_problem, login, refresh, signed_in};

#[test]
fn the_answer_has_what_old_and_new_clients_read() {
    let host = host();
    signed_in(&host, EMAIL);
    let answer = login(&host, EMAIL, PASSWORD).expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = answer.value();
    assert_eq!(tokens["token"], tokens["access_token"]);
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    assert_eq!(tokens["email"], EMAIL);
    let said = claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(said["iss"], "https://pyairtable.local");
    assert_eq!(said["aud"], "pyairtable");
    assert_eq!(said["sub"], tokens["user_id"]);
    assert_eq!(said["tid"], tokens["user"]["tenant_id"]);
    assert_eq!(said["roles"], json!(["owner"]));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 900);
    let event = host.published("user.authenticated").pop().unwrap();
    assert_eq!(event.data["session_id"], said["sid"]);
    assert_eq!(event.data["methods"], json!(["pwd"]));
}

#[test]
fn a_wrong_password_and_an_unknown_address_are_answered_alike_and_locked_alike() {
    let host = host();
    signed_in(&host, EMAIL);
    let attempt = |email: &str| login(&host, email, "a wrong password");
    for email in [EMAIL, "nobody@example.com"] {
        for _ in 0..5 {
            is_problem(&attempt(email).expect(401), "auth.credentials");
        }
        let locked = attempt(email).expect(429);
        is_problem(&locked, "auth.locked");
        assert_eq!(locked.header("retry-after"), Some("30"));
    }
    login(&host, EMAIL, PASSWORD).expect(429);
    let events = host.published("user.login_failed");
    assert_eq!(events.len(), 10);
    assert!(events.iter().all(|event| !event.data.to_string().contains("example.com")));
    assert_eq!(events[4].data["reason"], "locked");
    assert!(events[9].data["user_id"].is_null());
    // It doubles, and a success forgets it.
    host.advance(Duration::from_secs(31));
    attempt(EMAIL).expect(401);
    assert_eq!(attempt(EMAIL).expect(429).header("retry-after"), Some("60"));
    host.advance(Duration::from_secs(61));
    login(&host, EMAIL, PASSWORD).expect(200);
    attempt(EMAIL).expect(401);
    login(&host, EMAIL, PASSWORD).expect(200);
}

#[test]
fn old_hashes_are_taken_and_replaced() {
    let hash = "$2b$12$abcdefghijklmnopqrstuv";
    let host = host().with_legacy_password(hash, PASSWORD);
    signed_in(&host, EMAIL);
    host.execute("UPDATE users SET password_hash = $1", params![hash]);
    login(&host, EMAIL, PASSWORD).expect(200);
    let stored: Vec<(String,)> = host.query("SELECT password_hash FROM users", vec![]);
    assert!(stored[0].0.starts_with("$argon2id$"));
    login(&host, EMAIL, PASSWORD).expect(200);
}

#[test]
fn a_refresh_token_is_good_once_and_a_second_use_ends_the_session() {
    let host = host();
    let first = signed_in(&host, EMAIL);
    host.advance(Duration::from_secs(60));
    let second = refresh(&host, &first["refresh_token"]).expect(200).value();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let sid = |tokens: &serde_json::Value| claims(tokens["token"].as_str().unwrap())["sid"].clone();
    assert_eq!(sid(&first), sid(&second));
    let third = refresh(&host, &second["refresh_token"]).expect(200).value();

    is_problem(&refresh(&host, &first["refresh_token"]).expect(401), "token_invalid");
    let revoked = host.published("session.revoked");
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].data["reason"], "refresh-reuse");
    assert_eq!(revoked[0].data["session_id"], sid(&first));
    refresh(&host, &third["refresh_token"]).expect(401);
    assert_eq!(host.published("session.revoked").len(), 1, "once");
    // Another session of the user goes on.
    let other = login(&host, EMAIL, PASSWORD).expect(200).value();
    refresh(&host, &other["refresh_token"]).expect(200);
}

#[test]
fn refresh_tokens_expire_and_are_no_other_tokens() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    for bad in [json!("rt_x"), json!("ot_x"), tokens["access_token"].clone()] {
        let answer = refresh(&host, &bad);
        assert!(matches!(answer.status(), 401 | 422), "{bad}: {}", answer.status());
    }
    host.advance(Duration::from_secs(30 * 86_400 + 1));
    refresh(&host, &tokens["refresh_token"]).expect(401);
    assert!(host.published("session.revoked").is_empty());
    // However often it is refreshed, a session ends some day.
    let mut tokens = login(&host, EMAIL, PASSWORD).expect(200).value();
    for _ in 0..8 {
        host.advance(Duration::from_secs(20 * 86_400));
        tokens = refresh(&host, &tokens["refresh_token"]).expect(200).value();
    }
    host.advance(Duration::from_secs(20 * 86_400));
    refresh(&host, &tokens["refresh_token"]).expect(401);
}

#[test]
fn a_disabled_user_gets_in_nowhere() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    host.execute("UPDATE users SET disabled = $1", params![true]);
    refresh(&host, &tokens["refresh_token"]).expect(401);
    is_problem(&login(&host, EMAIL, PASSWORD).expect(401), "auth.credentials");
    client(&host, tokens["token"].as_str().unwrap()).get("/api/v1/auth/me").send().expect(401);
}

#[test]
fn sessions_are_listed_and_ended() {
    let host = host();
    let first = signed_in(&host, EMAIL);
    host.advance(Duration::from_secs(1));
    let second = login(&host, EMAIL, PASSWORD).expect(200).value();
    let user = client(&host, second["token"].as_str().unwrap());
    let list = || user.get("/api/v1/auth/sessions").send().expect(200).value()["data"].clone();
    let listed = list();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["current"], true);
    assert_eq!(listed[0]["user_agent"], "test");
    assert_eq!(listed[1]["current"], false);

    // Somebody else sees and ends none of them.
    let other = signed_in(&host, "eve@example.com");
    let other = client(&host, other["token"].as_str().unwrap());
    let path = format!("/api/v1/auth/sessions/{}", listed[1]["id"].as_str().unwrap());
    other.delete(&path).send().expect(404);
    assert_eq!(
        other.get("/api/v1/auth/sessions").send().value()["data"].as_array().unwrap().len(),
        1
    );

    user.delete(&path).send().expect(204);
    user.delete(&path).send().expect(404);
    refresh(&host, &first["refresh_token"]).expect(401);
    assert_eq!(list().as_array().unwrap().len(), 1);

    user.post("/api/v1/auth/logout").send().expect(204);
    user.post("/api/v1/auth/logout").send().expect(204);
    refresh(&host, &second["refresh_token"]).expect(401);
    let reasons: Vec<_> =
        host.published("session.revoked").iter().map(|e| e.data["reason"].clone()).collect();
    assert_eq!(reasons, ["revoked", "logout"]);
    for path in ["/api/v1/auth/sessions", "/api/v1/auth/me"] {
        host.anonymous().get(path).send().expect(401);
    }
    host.anonymous().post("/api/v1/auth/logout").send().expect(401);
}

#[test]
fn me_is_who_asks() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = client(&host, tokens["token"].as_str().unwrap());
    let me = user.get("/api/v1/auth/me").send().expect(200).value();
    assert_eq!(me["id"], tokens["user_id"]);
    assert_eq!(me["email"], EMAIL);
    assert_eq!(me["role"], "owner");
    assert_eq!(me["scopes"], json!(["*"]));
}

#[test]
fn without_its_database_it_says_so() {
    let host = host();
    signed_in(&host, EMAIL);
    host.fail("sql", Some(sdk::Error::unavailable("gone").code_is("sql.unavailable")));
    let answer = login(&host, EMAIL, PASSWORD).expect(503);
    is_problem(&answer, "sql.unavailable");
    // What was signed can be verified on.
    let keys = host.anonymous().get("/.well-known/jwks.json").send().expect(200).value();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    host.advance(Duration::from_secs(3600));
    host.anonymous().get("/.well-known/jwks.json").send().expect(200);
}
