//! The service as its clients and the host see it.

use std::time::Duration;

use sdk::testing::Host;
use serde_json::{Value, json};

use crate::SERVICE;

fn host() -> Host {
    Host::of_crate(&SERVICE)
}

#[test]
fn an_item_is_made_read_changed_and_deleted() {
    let host = host();
    let user = host.as_user("u1", "t1");
    let made = user.post("/api/v1/items").json(&json!({"name": "a", "tags": ["x"]})).send();
    let made = made.expect(201);
    let path = made.header("location").unwrap().to_owned();
    assert_eq!(made.header("etag"), Some("\"1\""));
    assert_eq!(host.published("record.created").len(), 1);

    let read = user.get(&path).send().expect(200);
    assert_eq!(read.value()["tags"], json!(["x"]));
    let etag = read.header("etag").unwrap();
    user.get(&path).header("if-none-match", etag).send().expect(304);

    let change = json!({"name": "b", "state": "closed"});
    let changed = user.put(&path).if_match("\"1\"").json(&change).send().expect(200);
    assert_eq!(changed.value()["version"], 2);
    user.put(&path).if_match("\"1\"").json(&change).send().expect(412);
    let reopened = user.put(&path).json(&json!({"name": "b"})).send().expect(409);
    assert_eq!(reopened.value()["code"], "item.closed");

    user.delete(&path).send().expect(204);
    user.get(&path).send().expect(404);
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let host = host();
    let made = host.as_user("u1", "t1").post("/api/v1/items").json(&json!({"name": "a"})).send();
    let path = made.expect(201).header("location").unwrap().to_owned();
    let other = host.as_user("u2", "t2");
    other.get(&path).send().expect(404);
    other.put(&path).json(&json!({"name": "b"})).send().expect(404);
    other.delete(&path).send().expect(404);
    assert_eq!(other.get("/api/v1/items").send().value()["data"], json!([]));
    other.post("/api/v1/items").json(&json!({"name": "a"})).send().expect(201);
    host.anonymous().get(&path).send().expect(401);
}

#[test]
fn bad_input_is_told_by_pointer() {
    let host = host();
    let user = host.as_user("u1", "t1");
    let rows = [
        (json!({}), "/name"),
        (json!({"name": "  "}), "/name"),
        (json!({"name": "a", "tags": [1]}), "/tags/0"),
        (json!({"name": "a", "colour": "red"}), "/colour"),
        (json!({"name": "a", "expires_at": "tomorrow"}), "/expires_at"),
    ];
    for (body, pointer) in rows {
        let answer = user.post("/api/v1/items").json(&body).send().expect(422);
        assert_eq!(answer.value()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert!(host.all_published().is_empty());
}

#[test]
fn a_name_is_one_of_a_kind_and_nothing_is_half_written() {
    let host = host();
    let user = host.as_user("u1", "t1");
    user.post("/api/v1/items").json(&json!({"name": "a"})).send().expect(201);
    let again = user.post("/api/v1/items").json(&json!({"name": "a"})).send().expect(409);
    assert_eq!(again.value()["code"], "item.name-taken");
    assert_eq!(host.published("record.created").len(), 1);
}

#[test]
fn a_repeated_post_is_answered_once() {
    let host = host();
    let user = host.as_user("u1", "t1");
    let post = |name: &str| {
        user.post("/api/v1/items").idempotency_key("k").json(&json!({"name": name})).send()
    };
    let (first, second) = (post("a").expect(201).value(), post("a").expect(201).value());
    assert_eq!(first, second);
    post("b").expect(422);
}

#[test]
fn pages_hold_every_item_once() {
    let host = host();
    let user = host.as_user("u1", "t1");
    for n in 0..5 {
        user.post("/api/v1/items").json(&json!({"name": format!("item {n}")})).send().expect(201);
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/items?limit=2".to_owned();
    loop {
        let page = user.get(&path).send().expect(200).value();
        names.extend(page["data"].as_array().unwrap().iter().map(|i| i["name"].clone()));
        let Value::String(cursor) = &page["next_cursor"] else { break };
        path = format!("/api/v1/items?limit=2&cursor={cursor}");
    }
    names.sort_by_key(ToString::to_string);
    names.dedup();
    assert_eq!(names.len(), 5);
    user.get("/api/v1/items?limit=201").send().expect(422);
    user.get("/api/v1/items?cursor=x").send().expect(422);
}

#[test]
fn expired_items_go_away() {
    let host = host();
    let user = host.as_user("u1", "t1");
    let soon = (host.now() + Duration::from_secs(60)).to_string();
    user.post("/api/v1/items").json(&json!({"name": "a", "expires_at": soon})).send().expect(201);
    user.post("/api/v1/items").json(&json!({"name": "b"})).send().expect(201);
    host.advance(Duration::from_secs(61));
    host.tick("expire").unwrap();
    assert_eq!(host.run_jobs(), 1);
    let left = user.get("/api/v1/items").send().value();
    assert_eq!(left["data"].as_array().unwrap().len(), 1);
    assert_eq!(left["data"][0]["name"], "b");
}
