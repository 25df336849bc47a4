//! The service as its clients and the host see it.

use std::time::Duration;

use sdk::{
    Uuid, params,
    testing::{Host, TestClient},
};
use serde_json::{Value, json};

use crate::SERVICE;

const CHECK: &str = "/api/v1/permissions/check";
const BINDINGS: &str = "/api/v1/permissions/bindings";
const ROLES: &str = "/api/v1/permissions/roles";

/// Tenant `t1` with an owner `o`, an editor `e` on the workspace `w`, and the base `b` in it.
fn host() -> Host {
    let host = Host::of_crate(&SERVICE);
    member(&host, "t1", "o", ("tenant", "t1"), "added", Some("owner"));
    member(&host, "t1", "e", ("workspace", "w"), "added", Some("editor"));
    put(&host, "t1", "base/b", ("workspace", "w"));
    host
}

fn acked(outcome: &impl std::fmt::Debug) {
    assert!(format!("{outcome:?}").contains("Ack"), "{outcome:?}");
}

/// As the host: the service hears of its own change too.
fn settle(host: &Host) {
    let changed = host.published("permission.changed");
    let last = changed.last().unwrap();
    acked(&host.deliver("permission.changed", &last.subject, None, &last.data));
}

fn member(
    host: &Host,
    tenant: &str,
    user: &str,
    container: (&str, &str),
    change: &str,
    role: Option<&str>,
) {
    let event = json!({
        "tenant_id": tenant, "member_id": user, "member_type": "user",
        "container_type": container.0, "container_id": container.1,
        "change": change, "role": role, "actor": null, "at": "2026-01-01T00:00:00Z",
    });
    acked(&host.deliver("membership.changed", user, Some(tenant), &event));
    settle(host);
}

fn put(host: &Host, tenant: &str, resource: &str, parent: (&str, &str)) {
    host.as_user("o", tenant)
        .through("airtable-connector")
        .put(&format!("/api/v1/permissions/resources/{resource}"))
        .json(&json!({"parent": {"type": parent.0, "id": parent.1}}))
        .send()
        .expect(200);
}

fn ask(client: &TestClient<'_>, action: &str, resource: (&str, &str)) -> Value {
    let body = json!({"action": action, "resource": {"type": resource.0, "id": resource.1}});
    client.post(CHECK).json(&body).send().expect(200).value()
}

fn may(client: &TestClient<'_>, action: &str, resource: (&str, &str)) -> bool {
    ask(client, action, resource)["allowed"].as_bool().unwrap()
}

fn binding(subject: &str, role: &str, resource: (&str, &str)) -> Value {
    json!({"subject": {"type": "user", "id": subject}, "role": role,
        "resource": {"type": resource.0, "id": resource.1}})
}

#[test]
fn roles_reach_down_the_tree() {
    let host = host();
    let rows = [
        ("o", "record.delete", ("base", "b"), true),
        ("o", "tenant.manage", ("base", "unknown"), true),
        ("e", "record.update", ("base", "b"), true),
        ("e", "record.update", ("workspace", "w"), true),
        ("e", "schema.update", ("base", "b"), false),
        ("e", "record.read", ("base", "unknown"), false),
        ("e", "record.read", ("workspace", "other"), false),
        ("e", "record.read", ("tenant", "t1"), false),
        ("nobody", "record.read", ("base", "b"), false),
    ];
    for (user, action, resource, expected) in rows {
        assert_eq!(may(&host.as_user(user, "t1"), action, resource), expected, "{user} {action}");
    }
    put(&host, "t1", "table/t", ("base", "b"));
    put(&host, "t1", "record/r", ("table", "t"));
    assert!(may(&host.as_user("e", "t1"), "record.update", ("record", "r")));
    // A base that moves takes what is in it along.
    put(&host, "t1", "base/b", ("workspace", "w2"));
    assert!(!may(&host.as_user("e", "t1"), "record.update", ("record", "r")));
}

#[test]
fn a_tenant_decides_for_itself_alone() {
    let host = host();
    let other = host.as_user("o", "t2");
    assert!(!may(&other, "record.read", ("base", "b")));
    assert_eq!(
        ask(&host.as_user("o", "t1"), "record.read", ("tenant", "t2"))["reason"],
        "other_tenant"
    );
    let made = host.as_user("o", "t1").post(BINDINGS).json(&binding("x", "viewer", ("base", "b")));
    let path = made.send().expect(201).header("location").unwrap().to_owned();
    member(&host, "t2", "p", ("tenant", "t2"), "added", Some("owner"));
    let other = host.as_user("p", "t2");
    other.get(&path).send().expect(404);
    other.put(&path).json(&json!({})).send().expect(404);
    other.delete(&path).send().expect(404);
    other.get("/api/v1/permissions/resources/base/b").send().expect(404);
    assert_eq!(other.get(BINDINGS).send().value()["data"].as_array().unwrap().len(), 1);
    other.post(BINDINGS).json(&binding("x", "viewer", ("tenant", "t1"))).send().expect(422);
    for path in [CHECK, BINDINGS, ROLES] {
        let body = json!({"action": "record.read", "resource": {"type": "base", "id": "b"}});
        let status = host.anonymous().post(path).json(&body).send().status();
        assert!([401, 422].contains(&status), "{path} {status}");
    }
}

#[test]
fn who_may_ask_about_others() {
    let host = host();
    let body = json!({"subject": {"type": "user", "id": "e"}, "action": "record.update",
        "resource": {"type": "base", "id": "b"}});
    let owner = host.as_user("o", "t1");
    assert_eq!(owner.post(CHECK).json(&body).send().expect(200).value()["allowed"], true);
    let editor = host.as_user("e", "t1");
    assert_eq!(editor.post(CHECK).json(&body).send().expect(200).value()["allowed"], true);
    let stranger = host.as_user("x", "t1");
    stranger.post(CHECK).json(&body).send().expect(403);
    // The gateway speaks for its client, another service for itself.
    stranger.clone().through("api-gateway").post(CHECK).json(&body).send().expect(403);
    stranger.through("workflow-engine").post(CHECK).json(&body).send().expect(200);
}

#[test]
fn a_token_does_no_more_than_its_scopes() {
    let host = host();
    let mut principal = sdk::bindings::pyairtable::context::call::Principal {
        subject: "o".into(),
        tenant: "t1".into(),
        roles: vec!["owner".into()],
        scopes: vec!["data.records:read".into()],
        session: None,
        expires_at: 4_102_444_800,
        attrs: vec![],
    };
    let reader = host.as_principal(principal.clone());
    assert!(may(&reader, "record.read", ("base", "b")));
    assert_eq!(ask(&reader, "record.update", ("base", "b"))["reason"], "scope");
    reader.post(BINDINGS).json(&binding("x", "viewer", ("base", "b"))).send().expect(403);
    // Roles in a token are no bindings.
    principal.subject = "stranger".into();
    assert!(!may(&host.as_principal(principal), "record.read", ("base", "b")));
}

#[test]
fn a_warm_check_is_one_look_into_the_cache() {
    let host = host();
    let editor = host.as_user("e", "t1");
    assert!(may(&editor, "record.update", ("base", "b")));
    // Neither the database nor its absence matters then, for any action.
    host.fail("sql", Some(sdk::Error::unavailable("away")));
    assert!(may(&editor, "record.read", ("base", "b")));
    assert!(!may(&editor, "schema.update", ("base", "b")));
    let cold = json!({"action": "record.read", "resource": {"type": "base", "id": "cold"}});
    editor.post(CHECK).json(&cold).send().expect(503);
}

#[test]
fn changes_are_seen_at_once_and_by_token() {
    let host = host();
    let (owner, user) = (host.as_user("o", "t1"), host.as_user("u", "t1"));
    assert!(!may(&user, "record.read", ("base", "b")));
    let made = owner.post(BINDINGS).json(&binding("u", "viewer", ("base", "b"))).send().expect(201);
    let token = made.header("consistency-token").unwrap().to_owned();
    assert!(may(&user, "record.read", ("base", "b")));
    let event = host.published("permission.changed").pop().unwrap();
    assert_eq!(event.data["consistency_token"], json!(token));
    assert_eq!(event.data["resource"], "base:b");
    assert_eq!(event.data["subjects"], json!(["user:u"]));
    assert_eq!(
        (&event.data["change"], &event.data["operation"]),
        (&json!("binding"), &json!("created"))
    );

    // A change that this node has not heard of: the cache is right until a token asks for more.
    host.execute("DELETE FROM role_bindings WHERE subject_id = 'u'", params![]);
    host.execute("UPDATE revisions SET revision = revision + 1", params![]);
    assert!(may(&user, "record.read", ("base", "b")));
    let newer = format!("r{}", token[1..].parse::<i64>().unwrap() + 1);
    let body = |token: &str| {
        json!({"action": "record.read", "resource": {"type": "base", "id": "b"},
            "consistency": token})
    };
    let answer = user.post(CHECK).json(&body(&newer)).send().expect(200).value();
    assert_eq!((&answer["allowed"], &answer["consistency"]), (&json!(false), &json!(newer)));
    user.post(CHECK).json(&body("12")).send().expect(422);
}

#[test]
fn a_role_is_taken_with_the_membership() {
    let host = host();
    let user = host.as_user("u", "t1");
    member(&host, "t1", "u", ("workspace", "w"), "added", Some("viewer"));
    assert!(may(&user, "record.read", ("base", "b")));
    member(&host, "t1", "u", ("workspace", "w"), "updated", Some("editor"));
    assert!(may(&user, "record.update", ("base", "b")));
    // Delivered again it is the same.
    member(&host, "t1", "u", ("workspace", "w"), "updated", Some("editor"));
    member(&host, "t1", "u", ("workspace", "w"), "removed", None);
    assert!(!may(&user, "record.read", ("base", "b")));

    let owner = host.as_user("o", "t1");
    owner.post(BINDINGS).json(&binding("u", "editor", ("base", "b"))).send().expect(201);
    member(&host, "t1", "u", ("tenant", "t1"), "added", Some("viewer"));
    member(&host, "t1", "u", ("tenant", "t1"), "removed", None);
    assert!(!may(&user, "record.read", ("base", "b")));

    let event = json!({"tenant_id": "t1", "member_id": "u", "member_type": "user",
        "container_type": "tenant", "container_id": "t1", "change": "added", "role": "emperor",
        "actor": null, "at": "2026-01-01T00:00:00Z"});
    let outcome = host.deliver("membership.changed", "u", Some("t1"), &event);
    assert!(format!("{outcome:?}").contains("Dead"), "{outcome:?}");
}

#[test]
fn groups_give_what_they_have() {
    let host = host();
    let (owner, user) = (host.as_user("o", "t1"), host.as_user("u", "t1"));
    let group = json!({"subject": {"type": "group", "id": "g"}, "role": "commenter",
        "resource": {"type": "workspace", "id": "w"}});
    owner.post(BINDINGS).json(&group).send().expect(201);
    assert!(!may(&user, "comment.create", ("base", "b")));
    let join = |member: (&str, &str), group: &str, change: &str| {
        let event = json!({"tenant_id": "t1", "member_id": member.1, "member_type": member.0,
            "container_type": "group", "container_id": group, "change": change,
            "actor": null, "at": "2026-01-01T00:00:00Z"});
        acked(&host.deliver("membership.changed", member.1, Some("t1"), &event));
        settle(&host);
    };
    join(("user", "u"), "inner", "added");
    join(("group", "inner"), "g", "added");
    join(("group", "g"), "inner", "added");
    assert!(may(&user, "comment.create", ("base", "b")));
    let list = json!({"action": "comment.create", "resource": {"type": "base", "id": "b"}});
    let subjects = owner.post("/api/v1/permissions/list-subjects").json(&list).send().expect(200);
    let ids: Vec<&str> = subjects.value()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["id"].as_str().unwrap().to_owned())
        .map(|s| &*s.leak())
        .collect();
    assert_eq!(ids, ["e", "o", "u"]);
    join(("user", "u"), "inner", "removed");
    assert!(!may(&user, "comment.create", ("base", "b")));
}

#[test]
fn deny_rules_win_but_lock_no_owner_out() {
    let host = host();
    let owner = host.as_user("o", "t1");
    for user in ["e", "o"] {
        let mut deny = binding(user, "viewer", ("base", "b"));
        deny["effect"] = json!("deny");
        owner.post(BINDINGS).json(&deny).send().expect(201);
    }
    let editor = host.as_user("e", "t1");
    assert_eq!(ask(&editor, "record.read", ("base", "b"))["reason"], "deny_rule");
    assert!(may(&editor, "record.update", ("base", "b")));
    assert!(may(&owner, "record.read", ("base", "b")));
    assert_eq!(host.published("permission.changed").pop().unwrap().data["change"], "deny-rule");

    let why = json!({"subject": {"type": "user", "id": "e"}, "action": "record.read",
        "resource": {"type": "base", "id": "b"}});
    let why = owner.post("/api/v1/permissions/explain").json(&why).send().expect(200).value();
    assert_eq!(why["allowed"], false);
    let voices = why["bindings"].as_array().unwrap();
    assert_eq!(voices.len(), 2, "{why}");
    assert_eq!((&voices[0]["effect"], &voices[0]["distance"]), (&json!("deny"), &json!(0)));
    assert_eq!((&voices[1]["role"], &voices[1]["distance"]), (&json!("editor"), &json!(1)));
    assert_eq!(why["decided_by"], voices[0]["binding"]);
    editor.post("/api/v1/permissions/explain").json(&why).send().expect(422);
}

#[test]
fn nobody_gives_more_than_they_have() {
    let host = host();
    let owner = host.as_user("o", "t1");
    owner.post(BINDINGS).json(&binding("a", "admin", ("workspace", "w"))).send().expect(201);
    let admin = host.as_user("a", "t1");
    let rows = [
        ("editor", ("base", "b"), 201, ""),
        ("admin", ("workspace", "w"), 201, ""),
        ("owner", ("workspace", "w"), 403, "role.beyond-own"),
        ("viewer", ("workspace", "w2"), 403, "request.forbidden"),
        ("viewer", ("tenant", "t1"), 403, "request.forbidden"),
        ("emperor", ("base", "b"), 422, "request.validation"),
        ("editor", ("base", "b"), 409, "binding.exists"),
    ];
    for (role, resource, status, code) in rows {
        let answer = admin.post(BINDINGS).json(&binding("u", role, resource)).send();
        let answer = answer.expect(status).value();
        if status > 201 {
            assert_eq!(answer["code"], code, "{role}");
        }
    }
    host.as_user("e", "t1")
        .post(BINDINGS)
        .json(&binding("u", "viewer", ("base", "b")))
        .send()
        .expect(403);
    let role = json!({"name": "Boss", "permissions": ["*"]});
    admin.post(ROLES).json(&role).send().expect(403);
}

#[test]
fn bindings_are_listed_changed_and_deleted() {
    let host = host();
    let owner = host.as_user("o", "t1");
    let made = owner.post(BINDINGS).json(&binding("u", "viewer", ("base", "b"))).send().expect(201);
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(made.header("etag"), Some("\"1\""));
    let user = host.as_user("u", "t1");
    user.get(&path).send().expect(200);
    host.as_user("e", "t1").get(&path).send().expect(403);
    user.get(BINDINGS).send().expect(403);
    let own = user.get(&format!("{BINDINGS}?subject_type=user&subject_id=u")).send().expect(200);
    assert_eq!(own.value()["data"].as_array().unwrap().len(), 1);
    let first = owner.get(&format!("{BINDINGS}?limit=2")).send().expect(200).value();
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = owner.get(&format!("{BINDINGS}?limit=2&cursor={cursor}")).send().value();
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next_cursor"], Value::Null);

    let soon = (host.now() + Duration::from_secs(60)).to_string();
    let change = json!({"expires_at": soon, "condition": {"ip": ["10.0.0.0/8"]}});
    owner.put(&path).if_match("\"7\"").json(&change).send().expect(412);
    owner.put(&path).json(&json!({"expires_at": "2020-01-01T00:00:00Z"})).send().expect(422);
    owner.put(&path).json(&json!({"condition": {"ip": ["x"]}})).send().expect(422);
    owner.put(&path).if_match("\"1\"").json(&change).send().expect(200);
    let with = |ip: &str| {
        let body = json!({"action": "record.read", "resource": {"type": "base", "id": "b"},
            "context": {"ip": ip}});
        user.post(CHECK).json(&body).send().expect(200).value()["allowed"] == true
    };
    assert!(with("10.1.1.1") && !with("192.0.2.1"));
    assert!(!may(&user, "record.read", ("base", "b")));
    host.advance(Duration::from_secs(60));
    assert!(!with("10.1.1.1"), "expired, though cached");
    host.tick("expire-bindings").unwrap();
    let told = host.published("permission.changed").pop().unwrap();
    assert_eq!(told.data["operation"], "expired");
    let before = host.published("permission.changed").len();
    host.tick("expire-bindings").unwrap();
    assert_eq!(host.published("permission.changed").len(), before, "told once");

    owner.delete(&path).if_match("\"1\"").send().expect(412);
    owner.delete(&path).if_match("\"2\"").send().expect(204);
    owner.get(&path).send().expect(404);
}

#[test]
fn the_last_owner_stays() {
    let host = Host::of_crate(&SERVICE);
    member(&host, "t1", "m", ("tenant", "t1"), "added", Some("owner"));
    let member = host.as_user("m", "t1");
    let listed = member.get(BINDINGS).send().value();
    let path = format!("{BINDINGS}/{}", listed["data"][0]["id"].as_str().unwrap());
    let refused = member.delete(&path).send().expect(409).value();
    assert_eq!(refused["code"], "binding.membership");
    let made = member.post(BINDINGS).json(&binding("n", "owner", ("tenant", "t1"))).send();
    let path = made.expect(201).header("location").unwrap().to_owned();
    host.execute("DELETE FROM role_bindings WHERE subject_id = 'm'", params![]);
    forget(&host);
    let last = host.as_user("n", "t1");
    let soon = json!({"expires_at": (host.now() + Duration::from_secs(9)).to_string()});
    assert_eq!(last.delete(&path).send().expect(409).value()["code"], "binding.last-owner");
    assert_eq!(
        last.put(&path).json(&soon).send().expect(409).value()["code"],
        "binding.last-owner"
    );
}

fn forget(host: &Host) {
    acked(&host.deliver("permission.changed", "tenant:t1", None, &json!({"tenant_id": "t1"})));
}

#[test]
fn roles_are_made_used_changed_and_deleted() {
    let host = host();
    let owner = host.as_user("o", "t1");
    let input = json!({"name": "Auditor", "permissions": ["audit.read", "record.*"]});
    let made = owner.post(ROLES).json(&input).send().expect(201);
    let path = made.header("location").unwrap().to_owned();
    let id = made.value()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        owner.post(ROLES).json(&input).send().expect(409).value()["code"],
        "role.name-taken"
    );
    let bad = json!({"name": "x", "permissions": ["record.read", "record.fly"]});
    let bad = owner.post(ROLES).json(&bad).send().expect(422).value();
    assert_eq!(bad["errors"][0]["pointer"], "/permissions/1");
    owner.post(ROLES).json(&json!({"name": "Owner", "permissions": ["*"]})).send().expect(422);

    owner.post(BINDINGS).json(&binding("u", &id, ("base", "b"))).send().expect(201);
    let user = host.as_user("u", "t1");
    assert!(may(&user, "record.delete", ("base", "b")) && may(&user, "audit.read", ("base", "b")));
    let less = json!({"name": "Auditor", "permissions": ["audit.read"]});
    owner.put(&path).if_match("\"9\"").json(&less).send().expect(412);
    owner.put(&path).if_match("\"1\"").json(&less).send().expect(200);
    assert!(!may(&user, "record.delete", ("base", "b")) && may(&user, "audit.read", ("base", "b")));
    assert_eq!(owner.delete(&path).send().expect(409).value()["code"], "role.in-use");

    let listed = owner.get(ROLES).send().expect(200).value();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["owner", "admin", "editor", "commenter", "viewer", "Auditor"]);
    user.get(ROLES).send().expect(403);
    assert_eq!(owner.get(&format!("{ROLES}/viewer")).send().expect(200).value()["version"], 0);
    assert_eq!(
        owner.delete(&format!("{ROLES}/viewer")).send().expect(409).value()["code"],
        "role.built-in"
    );
    host.execute("DELETE FROM role_bindings WHERE subject_id = 'u'", params![]);
    owner.delete(&path).send().expect(204);
    owner.get(&path).send().expect(404);
}

#[test]
fn a_batch_is_answered_in_order() {
    let host = host();
    let editor = host.as_user("e", "t1");
    put(&host, "t1", "table/t", ("base", "b"));
    let one = |action: &str, kind: &str, id: &str| json!({"action": action, "resource": {"type": kind, "id": id}});
    let checks = json!({"checks": [
        one("record.read", "base", "b"), one("record.read", "base", "x"),
        one("schema.update", "base", "b"), one("record.update", "table", "t"),
        one("record.read", "base", "b"), one("record.read", "tenant", "t9"),
    ]});
    for _ in 0..2 {
        let answer =
            editor.post("/api/v1/permissions/check-batch").json(&checks).send().expect(200).value();
        let allowed: Vec<_> = answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["allowed"].as_bool().unwrap())
            .collect();
        assert_eq!(allowed, [true, false, false, true, true, false]);
    }
    let many = json!({"checks": vec![one("record.read", "base", "b"); 101]});
    editor.post("/api/v1/permissions/check-batch").json(&many).send().expect(422);
    let wrong = json!({"checks": [one("record.read", "base", "b"), one("record.fly", "Base", "")]});
    let wrong = editor.post("/api/v1/permissions/check-batch").json(&wrong).send().expect(422);
    let pointers: Vec<_> = wrong.value()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].to_string())
        .collect();
    assert_eq!(
        pointers,
        ["\"/checks/1/action\"", "\"/checks/1/resource/type\"", "\"/checks/1/resource/id\""]
    );
}

#[test]
fn objects_are_listed_in_pages() {
    let host = host();
    for id in ["a", "c", "d"] {
        put(&host, "t1", &format!("base/{id}"), ("workspace", if id == "c" { "w2" } else { "w" }));
    }
    let list = |user: &str, query: &str| {
        let body = json!({"action": "record.read", "type": "base"});
        let path = format!("/api/v1/permissions/list-objects{query}");
        host.as_user(user, "t1").post(&path).json(&body).send().expect(200).value()
    };
    let ids = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = list("e", "");
    assert_eq!(
        (ids(&all), &all["everywhere"]),
        (vec!["a".into(), "b".into(), "d".into()], &json!(false))
    );
    assert_eq!(list("o", "")["everywhere"], true);
    let first = list("e", "?limit=3");
    assert_eq!(ids(&first), ["a", "b"]);
    let second = list("e", &format!("?limit=3&cursor={}", first["next_cursor"].as_str().unwrap()));
    assert_eq!((ids(&second), &second["next_cursor"]), (vec!["d".to_owned()], &Value::Null));
}

#[test]
fn the_tree_is_changed_by_those_who_manage_it() {
    let host = host();
    let path = "/api/v1/permissions/resources/base/b";
    let (owner, editor) = (host.as_user("o", "t1"), host.as_user("e", "t1"));
    let under = |kind: &str, id: &str| json!({"parent": {"type": kind, "id": id}});
    editor.put(path).json(&under("workspace", "w2")).send().expect(403);
    owner.put(path).json(&under("table", "x")).send().expect(422);
    owner.put(path).json(&under("tenant", "t2")).send().expect(422);
    owner.put(path).if_match("\"5\"").json(&under("workspace", "w2")).send().expect(412);
    let events = host.published("permission.changed").len();
    owner.put(path).json(&under("workspace", "w")).send().expect(200);
    assert_eq!(host.published("permission.changed").len(), events, "nothing changed");
    let moved =
        owner.put(path).if_match("\"1\"").json(&under("workspace", "w2")).send().expect(200);
    assert_eq!(moved.value()["version"], 2);
    assert_eq!(owner.get(path).send().expect(200).value()["parent"]["id"], "w2");
    owner.delete(path).send().expect(204);
    owner.get(path).send().expect(404);
    owner.get("/api/v1/permissions/resources/tenant/t1").send().expect(404);
}

#[test]
fn a_repeated_post_is_answered_once() {
    let host = host();
    let owner = host.as_user("o", "t1");
    let post = |user: &str| {
        owner
            .post(BINDINGS)
            .idempotency_key("k")
            .json(&binding(user, "viewer", ("base", "b")))
            .send()
    };
    let events = host.published("permission.changed").len();
    assert_eq!(post("u").expect(201).value(), post("u").expect(201).value());
    post("v").expect(422);
    assert_eq!(host.published("permission.changed").len(), events + 1);
}

#[test]
fn a_failed_commit_changes_nothing() {
    let host = host();
    let owner = host.as_user("o", "t1");
    let user = host.as_user("u", "t1");
    let events = host.published("permission.changed").len();
    host.fail("sql.commit", Some(sdk::Error::unavailable("away")));
    owner.post(BINDINGS).json(&binding("u", "viewer", ("base", "b"))).send().expect(503);
    host.fail("sql.commit", None);
    assert_eq!(host.published("permission.changed").len(), events);
    assert!(!may(&user, "record.read", ("base", "b")));
}

#[test]
fn personal_data_is_exported_and_erased() {
    let host = host();
    let owner = host.as_user("o", "t1");
    owner.post(BINDINGS).json(&binding("u", "viewer", ("base", "b"))).send().expect(201);
    let parts = host.export_subject("u", "t1").unwrap();
    assert_eq!(parts[0].1["bindings"].as_array().unwrap().len(), 1);
    assert_eq!(host.erase_subject("u", "t1").unwrap()[0].erased, 1);
    assert_eq!(host.erase_subject("u", "t1").unwrap()[0].erased, 0);
    settle(&host);
    assert!(!may(&host.as_user("u", "t1"), "record.read", ("base", "b")));

    let deleted = json!({"user_id": "e", "tenant_id": "t1", "reason": "erasure", "erase": true,
        "actor": "o", "at": "2026-01-01T00:00:00Z"});
    acked(&host.deliver("user.deleted", "e", Some("t1"), &deleted));
    settle(&host);
    assert!(!may(&host.as_user("e", "t1"), "record.read", ("base", "b")));
    let left: Vec<(Uuid,)> =
        host.query("SELECT id FROM role_bindings WHERE subject_id = 'e'", params![]);
    assert!(left.is_empty());
}

#[test]
fn the_document_has_every_route() {
    let host = host();
    let document = host.openapi();
    assert_eq!(document["paths"].as_object().unwrap().len(), 11);
    assert!(!document["paths"]["/api/v1/permissions/check"]["post"]["requestBody"].is_null());
    let all = host.as_user("o", "t1").get("/api/v1/permissions").send().expect(200).value();
    assert!(all.as_array().unwrap().iter().any(|p| p["name"] == "record.read"));
}
