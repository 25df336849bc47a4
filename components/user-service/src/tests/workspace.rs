//! Workspaces and their members.

use serde_json::{Value, json};

use super::{ADA, BOB, EVE, ada, bob, bob_joins, code, eve, first_workspace, host};

const PATH: &str = "/api/v1/workspaces";

#[test]
fn a_workspace_is_made_changed_and_deleted() {
    let host = host();
    let ada = ada(&host);
    let body = json!({"name": "Engine", "description": "cogs"});
    let made = ada.post(PATH).json(&body).send().expect(201);
    assert_eq!(made.header("etag"), Some("\"1\""));
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(ada.get(&path).send().expect(200).value()["description"], "cogs");
    let taken = ada.post(PATH).json(&json!({"name": " ENGINE "})).send().expect(409);
    assert_eq!(code(&taken), "workspace.name-taken");
    ada.patch(&path).json(&json!({"name": "default"})).send().expect(409);
    let changed = ada.patch(&path).if_match("\"1\"").json(&json!({"name": "Mill"})).send();
    assert_eq!(changed.expect(200).value()["description"], "cogs");
    ada.patch(&path).if_match("\"1\"").json(&json!({"name": "Store"})).send().expect(412);
    ada.delete(&path).if_match("\"1\"").send().expect(412);
    ada.delete(&path).if_match("\"2\"").send().expect(204);
    ada.get(&path).send().expect(404);
    let event = host.published("membership.changed").pop().unwrap();
    assert_eq!(event.data["change"], "removed");
    assert_eq!(event.data["previous_role"], "owner");
    ada.post(PATH).json(&json!({"name": " "})).send().expect(422);
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let host = host();
    let path = first_workspace(&ada(&host));
    let eve = eve(&host);
    eve.get(&path).send().expect(404);
    eve.patch(&path).json(&json!({"name": "x"})).send().expect(404);
    eve.delete(&path).send().expect(404);
    let member = format!("{path}/members/{ADA}");
    eve.get(&format!("{path}/members")).send().expect(404);
    eve.get(&member).send().expect(404);
    eve.put(&member).json(&json!({"role": "viewer"})).send().expect(404);
    eve.delete(&member).send().expect(404);
    // Nor is anybody of another tenant let in.
    let stranger = format!("{path}/members/{EVE}");
    ada(&host).put(&stranger).json(&json!({"role": "viewer"})).send().expect(404);
}

#[test]
fn a_workspace_is_there_for_its_members_and_who_manages_the_tenant() {
    let host = host();
    bob_joins(&host, "viewer");
    let path = first_workspace(&ada(&host));
    let member = format!("{path}/members/{BOB}");
    assert_eq!(bob(&host).get(PATH).send().expect(200).value()["data"], json!([]));
    bob(&host).get(&path).send().expect(404);
    bob(&host).post(PATH).json(&json!({"name": "Bob's"})).send().expect(403);

    let role = |role: &str| json!({"role": role});
    let added = ada(&host).put(&member).json(&role("editor")).send().expect(200);
    assert_eq!(added.header("etag"), Some("\"1\""));
    bob(&host).get(&path).send().expect(200);
    assert_eq!(bob(&host).get(PATH).send().value()["data"].as_array().unwrap().len(), 1);
    bob(&host).patch(&path).json(&json!({"name": "x"})).send().expect(403);
    bob(&host).delete(&path).send().expect(403);
    bob(&host).put(&member).json(&role("admin")).send().expect(403);
    let list = bob(&host).get(&format!("{path}/members?limit=1")).send().expect(200).value();
    assert_eq!(list["data"][0]["user_id"], ADA);
    assert!(list["next_cursor"].is_string());

    ada(&host).put(&member).if_match("\"7\"").json(&role("admin")).send().expect(412);
    ada(&host).put(&member).if_match("\"1\"").json(&role("admin")).send().expect(200);
    let before = host.published("membership.changed").len();
    ada(&host).put(&member).json(&role("admin")).send().expect(200);
    assert_eq!(host.published("membership.changed").len(), before, "nothing changed");
    bob(&host).patch(&path).json(&json!({"name": "x"})).send().expect(200);

    // The last owner stays; anybody else may leave.
    let owner = format!("{path}/members/{ADA}");
    let refused = ada(&host).delete(&owner).send().expect(409);
    assert_eq!(code(&refused), "workspace.last-owner");
    ada(&host).put(&owner).json(&role("viewer")).send().expect(409);
    bob(&host).delete(&owner).send().expect(403);
    bob(&host).delete(&member).send().expect(204);
    bob(&host).get(&path).send().expect(404);
    ada(&host).delete(&member).send().expect(404);
}

#[test]
fn pages_hold_every_workspace_once_and_there_are_so_many() {
    let host = host().with_config("workspaces-per-tenant", 5);
    let ada = ada(&host);
    for n in 0..4 {
        ada.post(PATH).json(&json!({"name": format!("w{n}")})).send().expect(201);
    }
    let more = ada.post(PATH).json(&json!({"name": "w5"})).send().expect(409);
    assert_eq!(code(&more), "workspace.too-many");
    let mut names = Vec::new();
    let mut path = format!("{PATH}?limit=2");
    loop {
        let page = ada.get(&path).send().expect(200).value();
        names.extend(page["data"].as_array().unwrap().iter().map(|w| w["name"].to_string()));
        let Value::String(cursor) = &page["next_cursor"] else { break };
        path = format!("{PATH}?limit=2&cursor={cursor}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5);
}

#[test]
fn a_repeated_post_is_answered_once() {
    let host = host();
    let post = |name: &str| {
        let post = ada(&host).post(PATH).idempotency_key("k");
        post.json(&json!({"name": name})).send()
    };
    assert_eq!(post("a").expect(201).text(), post("a").expect(201).text());
    post("b").expect(422);
}
