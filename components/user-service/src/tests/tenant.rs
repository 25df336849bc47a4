//! Tenants and their members.

use serde_json::json;

use super::{ADA, BOB, T1, T2, ada, bob, bob_joins, code, eve, host};

#[test]
fn the_tenant_is_shown_and_changed_by_who_manages_it() {
    let host = host();
    bob_joins(&host, "editor");
    let path = "/api/v1/tenants/current";
    let tenant = bob(&host).get(path).send().expect(200);
    assert_eq!(tenant.value()["id"], T1);
    assert_eq!(tenant.value()["name"], "Ada");
    let change = json!({"name": "Analytical Engines"});
    let refused = bob(&host).patch(path).json(&change).send().expect(403);
    assert_eq!(code(&refused), "membership.role");
    let changed = ada(&host).patch(path).if_match("\"1\"").json(&change).send().expect(200);
    assert_eq!(changed.value()["name"], "Analytical Engines");
    ada(&host).patch(path).if_match("\"1\"").json(&change).send().expect(412);
    ada(&host).patch(path).json(&json!({"name": ""})).send().expect(422);
    assert_eq!(eve(&host).get(path).send().value()["name"], "Eve");
}

#[test]
fn a_user_sees_all_tenants_of_theirs() {
    let host = host();
    bob_joins(&host, "editor");
    let list = bob(&host).get("/api/v1/tenants").send().expect(200).value();
    let seen: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["name"].as_str().unwrap(), t["role"].as_str().unwrap(), t["current"] == true))
        .collect();
    assert_eq!(seen, [("Ada", "editor", true), ("Bob", "owner", false)]);
    let list = eve(&host).get("/api/v1/tenants?limit=1").send().expect(200).value();
    assert_eq!(list["data"][0]["id"], T2);
    assert!(list["next_cursor"].is_null());
}

#[test]
fn roles_are_given_and_taken_by_who_may() {
    let host = host();
    bob_joins(&host, "admin");
    let path = |user: &str| format!("/api/v1/tenants/current/members/{user}");
    let role = |role: &str| json!({"role": role});
    assert_eq!(bob(&host).get(&path(BOB)).send().expect(200).value()["role"], "admin");
    eve(&host).get(&path(BOB)).send().expect(404);
    eve(&host).put(&path(BOB)).json(&role("viewer")).send().expect(404);
    eve(&host).delete(&path(BOB)).send().expect(404);
    // An admin makes no owner, and takes nothing from one.
    bob(&host).put(&path(BOB)).json(&role("owner")).send().expect(403);
    bob(&host).put(&path(ADA)).json(&role("viewer")).send().expect(403);
    bob(&host).delete(&path(ADA)).send().expect(403);
    // The last owner stays one.
    let refused = ada(&host).put(&path(ADA)).json(&role("admin")).send().expect(409);
    assert_eq!(code(&refused), "tenant.last-owner");
    ada(&host).delete(&path(ADA)).send().expect(409);

    let made = ada(&host).put(&path(BOB)).if_match("\"1\"").json(&role("owner")).send().expect(200);
    assert_eq!(made.header("etag"), Some("\"2\""));
    ada(&host).put(&path(BOB)).if_match("\"1\"").json(&role("viewer")).send().expect(412);
    let event = host.published("membership.changed").pop().unwrap();
    assert_eq!(event.data["change"], "updated");
    assert_eq!(event.data["previous_role"], "admin");
    assert_eq!(event.data["role"], "owner");
    assert_eq!(event.data["actor"], ADA);
    ada(&host).put(&path(BOB)).json(&role("king")).send().expect(422);

    // Now Ada may go, and Bob's other tenant is not touched.
    ada(&host).delete(&path(ADA)).send().expect(204);
    ada(&host).delete(&path(ADA)).send().expect(403);
    bob(&host).get(&path(ADA)).send().expect(404);
    let event = host.published("user.deleted").pop().unwrap();
    assert_eq!(event.data["erase"], false);
    assert_eq!(event.data["reason"], "requested");
    let workspaces = host.published("membership.changed");
    assert!(workspaces.iter().any(|e| e.data["container_type"] == "workspace"
        && e.data["change"] == "removed"
        && e.data["member_id"] == ADA));
}
