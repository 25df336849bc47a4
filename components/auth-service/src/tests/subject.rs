//! What other services say of users, and personal data.

use serde_json::{Value, json};

use super::{EMAIL, PASSWORD, claims, client, host, login, refresh, signed_in};

const OTHER: &str = "0192f0c0-9999-7abc-8def-000000000009";

fn membership(user: &Value, change: &str, role: Value) -> Value {
    json!({
        "tenant_id": OTHER, "member_id": user, "member_type": "user", "container_id": OTHER,
        "container_type": "tenant", "change": change, "role": role, "actor": null,
        "at": "2026-01-01T00:00:00Z",
    })
}

fn deliver(host: &sdk::testing::Host, topic: &str, data: &Value) {
    let outcome = host.deliver(topic, "s", None, data);
    assert_eq!(format!("{outcome:?}"), "Outcome::Ack");
}

#[test]
fn a_member_of_another_tenant_signs_in_there_until_removed() {
    let host = host();
    let own = signed_in(&host, EMAIL);
    let user = &own["user_id"];
    let body = json!({"email": EMAIL, "password": PASSWORD, "tenant_id": OTHER});
    let there = || host.anonymous().post("/api/v1/auth/login").json(&body).send();
    there().expect(403);
    deliver(&host, "membership.changed", &membership(user, "added", json!("viewer")));
    let guest = there().expect(200).value();
    let said = claims(guest["token"].as_str().unwrap());
    assert_eq!(said["tid"], OTHER);
    assert_eq!(said["roles"], json!(["viewer"]));
    deliver(&host, "membership.changed", &membership(user, "updated", json!("editor")));
    let guest = refresh(&host, &guest["refresh_token"]).expect(200).value();
    assert_eq!(guest["user"]["role"], "editor");
    let client = client(&host, guest["token"].as_str().unwrap());
    let token = json!({"kind": "personal", "name": "a", "scopes": ["*"]});
    client.post("/api/v1/auth/tokens").json(&token).send().expect(201);

    deliver(&host, "membership.changed", &membership(user, "removed", Value::Null));
    refresh(&host, &guest["refresh_token"]).expect(401);
    there().expect(403);
    assert_eq!(host.published("session.revoked").len(), 2, "the session and the token");
    refresh(&host, &own["refresh_token"]).expect(200);
}

#[test]
fn an_export_has_all_and_no_secret() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = tokens["user_id"].as_str().unwrap();
    let tenant = tokens["user"]["tenant_id"].as_str().unwrap();
    let parts = host.export_subject(user, tenant).unwrap();
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["account", "sessions", "tokens", "history"]);
    assert_eq!(parts[0].1["email"], EMAIL);
    assert_eq!(parts[1].1.as_array().unwrap().len(), 1);
    assert_eq!(parts[3].1.as_array().unwrap().len(), 3);
    let all = format!("{parts:?}");
    assert!(!all.contains("argon2") && !all.contains("hash"), "{all}");
    // Of another tenant there is nothing.
    let parts = host.export_subject(user, OTHER).unwrap();
    assert!(!format!("{parts:?}").contains(EMAIL));
}

#[test]
fn an_erasure_leaves_nothing_that_names_the_user() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let user = tokens["user_id"].as_str().unwrap();
    let tenant = tokens["user"]["tenant_id"].as_str().unwrap();
    host.erase_subject(user, OTHER).unwrap();
    login(&host, EMAIL, PASSWORD).expect(200);
    let report = host.erase_subject(user, tenant).unwrap();
    assert_eq!(report[0].erased, 1);
    assert_eq!(report[1].erased, 2);
    assert_eq!(report[3].kept, 6);
    assert_eq!(host.erase_subject(user, tenant).unwrap()[0].erased, 0, "repeatable");
    login(&host, EMAIL, PASSWORD).expect(401);
    refresh(&host, &tokens["refresh_token"]).expect(401);
    for table in ["users", "memberships", "sessions", "refresh_tokens", "one_time_tokens"] {
        let left: Vec<(i64,)> = host.query(&format!("SELECT count(*) FROM {table}"), vec![]);
        assert_eq!(left, [(0,)], "{table}");
    }
    let history: Vec<(String,)> = host.query("SELECT data FROM auth_events", vec![]);
    assert!(history.iter().all(|(data,)| !data.contains("ada")));
}

#[test]
fn a_deleted_user_is_signed_out() {
    let host = host();
    let tokens = signed_in(&host, EMAIL);
    let data = json!({
        "user_id": tokens["user_id"], "tenant_id": tokens["user"]["tenant_id"],
        "reason": "requested", "erase": true, "actor": null, "at": "2026-01-01T00:00:00Z",
    });
    deliver(&host, "user.deleted", &data);
    deliver(&host, "user.deleted", &data);
    login(&host, EMAIL, PASSWORD).expect(401);
    let revoked = host.published("session.revoked");
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].data["reason"], "user-deleted");
}
