//! Profiles, preferences and personal data.

use serde_json::json;

use super::{ADA, BOB, EVE, T1, T2, ada, address, bob, bob_joins, code, eve, host, registered};

#[test]
fn who_registers_gets_a_profile_a_tenant_and_a_workspace_once() {
    let host = host();
    let me = ada(&host).get("/api/v1/users/me").send().expect(200);
    assert_eq!(me.header("etag"), Some("\"1\""));
    let me = me.value();
    assert_eq!(me["id"], ADA);
    assert_eq!(me["display_name"], "Ada");
    assert_eq!(me["email"], address("Ada"));
    assert_eq!(me["time_zone"], "UTC");
    let events = host.published("membership.changed");
    assert_eq!(events.len(), 4);
    assert_eq!(events[0].data["tenant_id"], T1);
    assert_eq!(events[0].data["container_type"], "tenant");
    assert_eq!(events[0].data["role"], "owner");
    assert_eq!(events[1].data["container_type"], "workspace");
    assert_eq!(host.published("user.created").len(), 2);

    registered(&host, ADA, T1, "Ada");
    assert_eq!(host.published("membership.changed").len(), 4);
    assert_eq!(host.published("user.created").len(), 2);
}

#[test]
fn a_profile_is_changed_by_its_user() {
    let host = host();
    let patch = |body: &serde_json::Value| ada(&host).patch("/api/v1/users/me").json(body);
    let change = json!({"display_name": "Lady Ada", "time_zone": "Europe/London"});
    let changed = patch(&change).if_match("\"1\"").send().expect(200);
    assert_eq!(changed.header("etag"), Some("\"2\""));
    assert_eq!(changed.value()["display_name"], "Lady Ada");
    assert_eq!(changed.value()["locale"], "en");
    patch(&change).if_match("\"1\"").send().expect(412);
    // Nothing new is no new version.
    assert_eq!(patch(&change).send().expect(200).header("etag"), Some("\"2\""));
    let events = host.published("user.updated");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data["changed"], json!(["display_name", "time_zone"]));
    assert!(!events[0].data.to_string().contains("Lady"));
    for (body, pointer) in [
        (json!({"display_name": " "}), "/display_name"),
        (json!({"locale": "english please"}), "/locale"),
        (json!({"time_zone": "here"}), "/time_zone"),
        (json!({"email": "x@example.com"}), "/email"),
    ] {
        let answer = patch(&body).send().expect(422);
        assert_eq!(answer.value()["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[test]
fn users_of_one_tenant_see_one_another_and_no_others() {
    let host = host();
    bob_joins(&host, "viewer");
    let path = format!("/api/v1/users/{ADA}");
    assert_eq!(bob(&host).get(&path).send().expect(200).value()["display_name"], "Ada");
    eve(&host).get(&path).send().expect(404);
    ada(&host).get(&format!("/api/v1/users/{EVE}")).send().expect(404);
    ada(&host).get("/api/v1/users/nobody").send().expect(404);
}

#[test]
fn preferences_are_chosen_or_the_tenants_or_everybodys() {
    let host = host();
    bob_joins(&host, "viewer");
    let path = "/api/v1/users/me/preferences";
    let shown = bob(&host).get(path).send().expect(200);
    assert_eq!(shown.value()["theme"], "system");
    let tag = shown.header("etag").unwrap().to_owned();

    let defaults = json!({"preferences": {"theme": "dark", "digest": "never"}});
    ada(&host).patch("/api/v1/tenants/current").json(&defaults).send().expect(200);
    let shown = bob(&host).get(path).header("if-none-match", &tag).send().expect(200);
    assert_eq!(shown.value()["theme"], "dark");
    bob(&host).patch(path).if_match(&tag).json(&json!({"theme": "light"})).send().expect(412);
    let tag = shown.header("etag").unwrap();
    let chosen =
        bob(&host).patch(path).if_match(tag).json(&json!({"theme": "light"})).send().expect(200);
    assert_eq!(chosen.value()["theme"], "light");
    assert_eq!(chosen.value()["digest"], "never");
    let again = bob(&host).get(path).send().expect(200);
    assert_eq!(again.value(), chosen.value());
    assert_eq!(again.header("etag"), chosen.header("etag"));
    assert_eq!(ada(&host).get(path).send().value()["theme"], "dark");
    let wrong = bob(&host).patch(path).json(&json!({"theme": "pink"})).send().expect(422);
    assert_eq!(wrong.value()["errors"][0]["pointer"], "/theme");
}

#[test]
fn a_token_that_is_limited_to_other_things_changes_nothing() {
    let host = host();
    let limited = |scopes: &[&str]| {
        host.as_principal(sdk::bindings::pyairtable::context::call::Principal {
            subject: ADA.to_owned(),
            tenant: T1.to_owned(),
            roles: vec![],
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            session: None,
            expires_at: 4_102_444_800,
            attrs: vec![],
        })
    };
    let body = json!({"display_name": "X"});
    let reader = limited(&["data.records:read"]);
    reader.get("/api/v1/users/me").send().expect(200);
    reader.patch("/api/v1/users/me").json(&body).send().expect(403);
    reader.delete("/api/v1/users/me").send().expect(403);
    reader.post("/api/v1/workspaces").json(&json!({"name": "X"})).send().expect(403);
    limited(&["*"]).patch("/api/v1/users/me").json(&body).send().expect(200);
}

#[test]
fn an_export_has_all_of_the_tenant_and_nothing_of_others() {
    let host = host();
    let parts = host.export_subject(ADA, T1).unwrap();
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["profile", "preferences", "invitations", "membership", "workspaces"]);
    assert_eq!(parts[4].1[0]["name"], "Default");
    let parts = host.export_subject(ADA, T2).unwrap();
    assert_eq!(parts, [("workspaces".to_owned(), json!([]))]);
}

#[test]
fn whoever_leaves_for_good_leaves_nothing() {
    let host = host();
    ada(&host).delete("/api/v1/users/me").send().expect(204);
    ada(&host).get("/api/v1/users/me").send().expect(404);
    for table in
        ["profiles", "preferences", "tenants", "tenant_members", "workspaces", "workspace_members"]
    {
        let sql = format!("SELECT count(*) FROM {table} WHERE tenant_id = $1");
        let left: Vec<(i64,)> = host.query(&sql, sdk::params![T1]);
        assert_eq!(left, [(0,)], "{table}");
    }
    let deleted = host.published("user.deleted");
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].data["erase"], true);
    eve(&host).get("/api/v1/users/me").send().expect(200);
    // Once more is nothing more.
    let report = host.erase_subject(ADA, T1).unwrap();
    assert!(report.iter().all(|section| section.erased == 0));
    assert_eq!(host.published("user.deleted").len(), 1);
}

#[test]
fn an_erased_owner_is_followed_by_another_member() {
    let host = host();
    bob_joins(&host, "viewer");
    let refused = ada(&host).delete("/api/v1/users/me").send().expect(409);
    assert_eq!(code(&refused), "tenant.last-owner");
    // The law does not wait for that.
    let report = host.erase_subject(ADA, T1).unwrap();
    assert_eq!(report[0].erased, 1);
    let members = bob(&host).get("/api/v1/tenants/current/members").send().value();
    assert_eq!(members["data"].as_array().unwrap().len(), 1);
    assert_eq!(members["data"][0]["user_id"], BOB);
    assert_eq!(members["data"][0]["role"], "owner");
    host.erase_subject(BOB, T2).unwrap();
    bob(&host).get("/api/v1/users/me").send().expect(200);
}
