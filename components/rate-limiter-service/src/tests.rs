//! The service as the gateway, its clients and the host see it.

use std::{collections::BTreeMap, time::Duration};

use sdk::{
    http::Response,
    params,
    testing::{Host, TestClient},
};
use serde_json::{Value, json};

use crate::SERVICE;

const CHECK: &str = "/internal/v1/limits/check";
const POLICIES: &str = "/api/v1/limits/policies";

/// Where permission-service says yes.
fn host() -> Host {
    permitting(true)
}

fn permitting(allowed: bool) -> Host {
    Host::of_crate(&SERVICE).with_fake("http://permission-service/", move |_| {
        Response::json(200, &json!({"allowed": allowed}))
    })
}

fn gateway<'a>(host: &'a Host, tenant: &str) -> TestClient<'a> {
    host.as_user("u", tenant).through("api-gateway")
}

fn item(policy: &str, key: Value, cost: i64) -> Value {
    json!({"policy": policy, "key": key, "cost": cost})
}

fn ask(client: &TestClient<'_>, items: &[Value]) -> Value {
    client.post(CHECK).json(&json!({"items": items})).send().expect(200).value()
}

fn user(id: &str) -> Value {
    item("gateway.user", json!({"tenant": "t1", "user": id}), 1)
}

fn quota(cost: i64) -> Value {
    item("quota.day", json!({"tenant": "t1"}), cost)
}

fn put(host: &Host, name: &str, rule: &Value) {
    let path = format!("{POLICIES}/{name}");
    host.as_user("a", "t1").put(&path).json(rule).send().expect(200);
}

fn small_quota(host: &Host, capacity: i64) {
    put(
        host,
        "quota.day",
        &json!({"algorithm": "quota", "capacity": capacity, "window": "day", "by": ["tenant"]}),
    );
}

#[test]
fn a_user_has_a_bucket_that_refills() {
    let host = host();
    let gateway = gateway(&host, "t1");
    let first = ask(&gateway, &[user("u1"), quota(1)]);
    assert_eq!(first["allowed"], true);
    assert_eq!(
        (&first["policy"], &first["limit"], &first["remaining"]),
        (&json!("gateway.user"), &json!(200), &json!(199))
    );
    assert_eq!(first["items"][1]["remaining"], 999_999);
    for _ in 0..199 {
        assert_eq!(ask(&gateway, &[user("u1")])["allowed"], true);
    }
    let refused = ask(&gateway, &[user("u1"), quota(1)]);
    assert_eq!(refused["allowed"], false);
    assert_eq!(refused["items"][0]["retry_after_ms"], 10, "one comes back each 10 ms");
    assert_eq!(
        (&refused["retry_after_seconds"], &refused["reset_seconds"]),
        (&json!(1), &json!(2))
    );
    // All or nothing: the quota was not charged.
    assert_eq!(refused["items"][1]["remaining"], 999_999);
    assert_eq!(ask(&gateway, &[user("u2")])["allowed"], true, "another user");
    host.advance(Duration::from_millis(9));
    assert_eq!(ask(&gateway, &[user("u1")])["allowed"], false);
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&gateway, &[user("u1")])["allowed"], true);
}

#[test]
fn tenants_are_counted_apart() {
    let host = host();
    small_quota(&host, 1);
    assert_eq!(ask(&gateway(&host, "t1"), &[quota(1)])["allowed"], true);
    assert_eq!(ask(&gateway(&host, "t1"), &[quota(1)])["allowed"], false);
    let other = ask(&gateway(&host, "t2"), &[quota(1)]);
    assert_eq!((&other["allowed"], &other["limit"]), (&json!(true), &json!(1_000_000)));
    let path = format!("{POLICIES}/own");
    put(
        &host,
        "own",
        &json!({"algorithm": "fixed_window", "capacity": 1, "period_seconds": 60, "by": ["user"]}),
    );
    let other = host.as_user("b", "t2");
    other.get(&path).send().expect(404);
    other.delete(&path).send().expect(404);
    other.get(&format!("{path}/versions")).send().expect(404);
    assert_eq!(
        other.get("/api/v1/limits/usage").send().value()["data"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn who_is_unknown_is_counted_by_address() {
    let host = host();
    let gateway = host.as_service("api-gateway");
    let ip = |ip: &str| item("gateway.ip", json!({"ip": ip}), 1);
    let login = |ip: &str, name: Option<&str>| item("login", json!({"ip": ip, "user": name}), 1);
    for _ in 0..5 {
        assert_eq!(
            ask(&gateway, &[ip("192.0.2.1"), login("192.0.2.1", Some("a@b.c"))])["allowed"],
            true
        );
    }
    let refused = ask(&gateway, &[ip("192.0.2.1"), login("192.0.2.1", Some("a@b.c"))]);
    assert_eq!((&refused["allowed"], &refused["policy"]), (&json!(false), &json!("login")));
    assert_eq!(refused["retry_after_seconds"], 12);
    assert_eq!(ask(&gateway, &[login("192.0.2.1", Some("x@b.c"))])["allowed"], true);
    assert_eq!(ask(&gateway, &[login("192.0.2.2", None)])["allowed"], true);
    assert_eq!(ask(&gateway, &[ip("192.0.2.1")])["items"][0]["remaining"], 34);
}

#[test]
fn only_services_check() {
    let host = host();
    let body = json!({"items": [user("u")]});
    for path in [CHECK, "/internal/v1/limits/peek", "/internal/v1/limits/refund"] {
        host.as_user("u", "t1").post(path).json(&body).send().expect(403);
    }
    let rows = [
        (json!({"items": []}), "/items"),
        (json!({"items": vec![user("u"); 17]}), "/items"),
        (json!({"items": [{"policy": "nothing", "key": {"user": "u"}}]}), "/items/0/policy"),
        (
            json!({"items": [user("u"), {"policy": "gateway.user", "key": {"ip": "x"}}]}),
            "/items/1/key",
        ),
        (
            json!({"items": [{"policy": "gateway.user", "key": {"user": "u"}, "cost": -1}]}),
            "/items/0/cost",
        ),
    ];
    for (body, pointer) in rows {
        let answer = gateway(&host, "t1").post(CHECK).json(&body).send().expect(422).value();
        assert_eq!(answer["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[test]
fn one_take_a_check() {
    let host = host();
    let gateway = gateway(&host, "t1");
    ask(&gateway, &[user("u")]);
    // Warm, it needs no database.
    host.fail("sql", Some(sdk::Error::unavailable("away")));
    assert_eq!(ask(&gateway, &[user("u")])["items"][0]["remaining"], 198);
    // The same bucket twice is one of both costs.
    assert_eq!(ask(&gateway, &[user("u"), user("u")])["items"][0]["remaining"], 196);
    let much = item("gateway.user", json!({"user": "u"}), 150);
    let refused = ask(&gateway, &[much.clone(), much]);
    assert_eq!(
        (&refused["allowed"], &refused["items"][0]["remaining"]),
        (&json!(false), &json!(196))
    );
    assert_eq!(refused["retry_after_seconds"], Value::Null, "it never fits");
}

#[test]
fn a_shadow_counts_and_says_what_it_would_do() {
    let host = host();
    let rule = json!({"algorithm": "fixed_window", "capacity": 2, "period_seconds": 60, "by": ["user"], "mode": "shadow"});
    put(&host, "try", &rule);
    let gateway = gateway(&host, "t1");
    let shadow = |cost| item("try", json!({"user": "u"}), cost);
    for remaining in [1, 0] {
        let answer = ask(&gateway, &[user("u"), shadow(1)]);
        assert_eq!(answer["items"][1]["remaining"], remaining);
    }
    let over = ask(&gateway, &[user("u"), shadow(1)]);
    assert_eq!((&over["allowed"], &over["policy"]), (&json!(true), &json!("gateway.user")));
    assert_eq!(
        (&over["items"][1]["allowed"], &over["items"][1]["mode"]),
        (&json!(false), &json!("shadow"))
    );
    assert_eq!(over["items"][0]["remaining"], 197, "the others are counted all the same");
    let never = ask(&gateway, &[user("u"), shadow(3)]);
    assert_eq!((&never["allowed"], &never["items"][0]["remaining"]), (&json!(true), &json!(196)));
}

#[test]
fn peek_takes_nothing_and_refund_gives_back() {
    let host = host();
    small_quota(&host, 10);
    let gateway = gateway(&host, "t1");
    assert_eq!(ask(&gateway, &[quota(8)])["remaining"], 2);
    let peek = |cost| {
        let body = json!({"items": [quota(cost)]});
        gateway.post("/internal/v1/limits/peek").json(&body).send().expect(200).value()
    };
    assert_eq!((&peek(2)["allowed"], &peek(2)["remaining"]), (&json!(true), &json!(2)));
    let over = peek(3);
    assert_eq!((&over["allowed"], &over["retry_after_seconds"]), (&json!(false), &json!(86_400)));
    let body = json!({"items": [quota(5)]});
    gateway.post("/internal/v1/limits/refund").json(&body).send().expect(204);
    assert_eq!(peek(0)["remaining"], 7);
}

#[test]
fn without_counters_each_policy_fails_its_way() {
    let host = host();
    host.fail("storage/kv", Some(sdk::Error::unavailable("away")));
    let open = ask(&gateway(&host, "t1"), &[user("u")]);
    assert_eq!((&open["allowed"], &open["degraded"]), (&json!(true), &json!(true)));
    let closed = item("login", json!({"ip": "192.0.2.1", "user": "h"}), 1);
    let closed = ask(&host.as_service("api-gateway"), &[closed]);
    assert_eq!((&closed["allowed"], &closed["retry_after_seconds"]), (&json!(false), &json!(1)));
    assert!(host.logs().iter().any(|line| line.message.contains("cannot be reached")));
}

#[test]
fn without_the_database_the_policies_last_known_are_in_force() {
    let host = host();
    small_quota(&host, 2);
    let gateway = gateway(&host, "t1");
    assert_eq!(ask(&gateway, &[quota(1)])["limit"], 2);
    host.fail("sql", Some(sdk::Error::unavailable("away")));
    host.advance(Duration::from_secs(3600));
    assert_eq!(ask(&gateway, &[quota(1)])["limit"], 2);
    assert_eq!(ask(&gateway, &[user("u")])["limit"], 200, "the platform's, if none was known");
}

#[test]
fn quotas_are_told_once_a_mark_and_window() {
    let host = host();
    small_quota(&host, 10);
    let gateway = gateway(&host, "t1");
    ask(&gateway, &[quota(7)]);
    assert!(host.all_published().is_empty());
    ask(&gateway, &[quota(1)]);
    ask(&gateway, &[quota(1)]);
    let told = host.published("quota.threshold");
    assert_eq!(told.len(), 1);
    let expected = json!({"tenant_id": "t1", "policy_id": "quota.day", "policy_version": 1,
        "scope": "tenant", "unit": "requests", "limit": 10, "used": 8, "percent": 80,
        "resets_at": "2026-01-02T00:00:00.000Z", "at": "2026-01-01T00:00:00.000Z"});
    assert_eq!(told[0].data, expected);
    ask(&gateway, &[quota(1)]);
    assert_eq!(host.published("quota.threshold").len(), 2);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, &[quota(1)])["retry_after_seconds"], 86_400);
    }
    let exceeded = host.published("quota.exceeded");
    assert_eq!(exceeded.len(), 1);
    assert_eq!(
        (&exceeded[0].data["used"], &exceeded[0].data["enforced"]),
        (&json!(10), &json!(true))
    );
    // A restart forgets the cache, and tells nothing twice.
    host.advance(Duration::from_secs(86_399));
    ask(&gateway, &[quota(1)]);
    assert_eq!(host.all_published().len(), 3);
    host.advance(Duration::from_secs(1));
    assert_eq!(ask(&gateway, &[quota(9)])["remaining"], 1);
    assert_eq!(host.published("quota.threshold").len(), 3, "a new window");
}

#[test]
fn an_event_that_could_not_be_stored_is_made_up_for() {
    let host = host();
    small_quota(&host, 10);
    let gateway = gateway(&host, "t1");
    host.fail("sql.commit", Some(sdk::Error::unavailable("away")));
    assert_eq!(ask(&gateway, &[quota(8)])["allowed"], true);
    assert!(host.all_published().is_empty());
    host.fail("sql.commit", None);
    ask(&gateway, &[quota(1)]);
    assert_eq!(host.published("quota.threshold").len(), 1);
}

#[test]
fn usage_is_live_and_then_as_it_ended() {
    let host = host();
    put(
        &host,
        "month",
        &json!({"algorithm": "quota", "capacity": 100, "window": "month", "by": ["user"], "unit": "tokens"}),
    );
    let gateway = gateway(&host, "t1");
    let month = |cost| item("month", json!({"user": "u"}), cost);
    ask(&gateway, &[quota(1), month(30)]);
    ask(&gateway, &[quota(1), month(5)]);
    let usage = |query: &str| {
        host.as_user("a", "t1")
            .get(&format!("/api/v1/limits/usage{query}"))
            .send()
            .expect(200)
            .value()
    };
    let all = usage("");
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        all["data"][0],
        json!({"policy": "month", "scope": "user:u", "unit": "tokens",
        "limit": 100, "used": 35, "window_start": "2026-01-01T00:00:00.000Z",
        "resets_at": "2026-02-01T00:00:00.000Z", "ended": false})
    );
    assert_eq!(all["data"][1]["used"], 2, "counted now, not as written down");
    let first = usage("?limit=1");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = usage(&format!("?limit=1&cursor={cursor}"));
    assert_eq!(
        (&second["data"][0]["policy"], &second["next_cursor"]),
        (&json!("quota.day"), &Value::Null)
    );

    host.advance(Duration::from_secs(86_400 + 60));
    assert_eq!(host.run_jobs(), 1);
    let day = usage("?policy=quota.day");
    assert_eq!((&day["data"][0]["used"], &day["data"][0]["ended"]), (&json!(2), &json!(true)));
    ask(&gateway, &[quota(1)]);
    assert_eq!(usage("?policy=quota.day")["data"].as_array().unwrap().len(), 2);
}

#[test]
fn policies_are_made_changed_and_deleted_in_versions() {
    let host = host();
    let admin = host.as_user("a", "t1");
    let path = format!("{POLICIES}/own");
    let rule = |capacity| json!({"algorithm": "token_bucket", "capacity": capacity, "refill": 1, "period_seconds": 1, "by": ["user"]});
    let made = admin.put(&path).json(&rule(5)).send().expect(200);
    assert_eq!(made.header("etag"), Some("\"1\""));
    admin.put(&path).if_match("\"9\"").json(&rule(6)).send().expect(412);
    let client = gateway(&host, "t1");
    let own = || item("own", json!({"user": "u"}), 1);
    assert_eq!(ask(&client, &[own()])["limit"], 5);
    admin.put(&path).if_match("\"1\"").json(&rule(6)).send().expect(200);
    assert_eq!(ask(&client, &[own()])["limit"], 6, "at once");
    assert_eq!(admin.get(&path).send().expect(200).value()["version"], 2);
    let versions = admin.get(&format!("{path}/versions")).send().expect(200).value();
    let numbers: Vec<_> = versions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [2, 1]);
    assert!(
        versions["data"][0]["replaced_at"].is_null()
            && versions["data"][1]["replaced_at"].is_string()
    );
    let names: Vec<Value> = admin.get(POLICIES).send().expect(200).value()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["gateway.ip", "gateway.user", "login", "quota.day", "own"]);
    admin.delete(&path).if_match("\"1\"").send().expect(412);
    admin.delete(&path).if_match("\"2\"").send().expect(204);
    admin.get(&path).send().expect(404);
    client.post(CHECK).json(&json!({"items": [own()]})).send().expect(422);
    let again = admin.put(&path).json(&rule(7)).send().expect(200).value();
    assert_eq!(again["version"], 3, "a version is never given twice");
}

#[test]
fn a_tenant_tightens_and_never_loosens() {
    let host = host();
    let admin = host.as_user("a", "t1");
    let path = format!("{POLICIES}/gateway.user");
    let rule = |capacity, mode| json!({"algorithm": "token_bucket", "capacity": capacity, "refill": 10, "period_seconds": 1, "by": ["user"], "mode": mode});
    for (capacity, mode, pointer) in [(201, "enforce", "/capacity"), (100, "shadow", "/mode")] {
        let answer = admin.put(&path).json(&rule(capacity, mode)).send().expect(422).value();
        assert_eq!(answer["errors"][0]["pointer"], pointer);
    }
    admin.put(&path).json(&rule(100, "enforce")).send().expect(200);
    assert_eq!(ask(&gateway(&host, "t1"), &[user("u")])["limit"], 100);
    assert_eq!(ask(&gateway(&host, "t2"), &[user("u")])["limit"], 200);
    admin.delete(&path).send().expect(204);
    assert_eq!(ask(&gateway(&host, "t1"), &[user("u")])["limit"], 200);
    for bad in ["Own", "a%20b", &"a".repeat(101)] {
        admin.put(&format!("{POLICIES}/{bad}")).json(&rule(1, "enforce")).send().expect(422);
    }
}

#[test]
fn policies_are_for_those_who_may() {
    let host = permitting(false);
    let path = format!("{POLICIES}/own");
    let rule = json!({"algorithm": "quota", "capacity": 1, "window": "day", "by": ["user"]});
    let client = host.as_user("x", "t1");
    client.put(&path).json(&rule).send().expect(403);
    client.delete(&path).send().expect(403);
    client.get(POLICIES).send().expect(403);
    client.get("/api/v1/limits/usage").send().expect(403);
    host.anonymous().get(POLICIES).send().expect(401);
    let asked = host.calls().pop().unwrap();
    assert_eq!(
        asked.json(),
        json!({"action": "limit.read", "resource": {"type": "tenant", "id": "t1"}})
    );
    let nobody = Host::of_crate(&SERVICE);
    nobody.as_user("x", "t1").put(&path).json(&rule).send().expect(503);
    assert_eq!(nobody.query::<(i64,)>("SELECT count(*) FROM policies", params![]), [(0,)]);
}

/// Whatever comes in whatever order, in no stretch of time is more admitted than the policy says.
#[test]
fn nothing_is_ever_admitted_beyond_the_limit() {
    let rules = [
        (
            "token_bucket",
            json!({"algorithm": "token_bucket", "capacity": 7, "refill": 3, "period_seconds": 2, "by": ["user"]}),
        ),
        (
            "gcra",
            json!({"algorithm": "gcra", "capacity": 7, "refill": 3, "period_seconds": 2, "by": ["user"]}),
        ),
        (
            "sliding_window",
            json!({"algorithm": "sliding_window", "capacity": 7, "period_seconds": 2, "by": ["user"]}),
        ),
        (
            "fixed_window",
            json!({"algorithm": "fixed_window", "capacity": 7, "period_seconds": 2, "by": ["user"]}),
        ),
        ("day", json!({"algorithm": "quota", "capacity": 40, "window": "day", "by": ["user"]})),
    ];
    for seed in 1..=6_u64 {
        let host = host();
        for (name, rule) in &rules {
            put(&host, name, rule);
        }
        let client = gateway(&host, "t1");
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let start = host.now();
        let mut admitted: BTreeMap<(String, String), Vec<(i64, i64)>> = BTreeMap::new();
        let mut refused = 0;
        for _ in 0..300 {
            let wait = [0, 1, 40, 333, 700, 2_000][random(6) as usize];
            let leap = if random(60) == 0 { 30_000_000 } else { 0 };
            host.advance(Duration::from_millis(random(wait + 1) + leap));
            let now = host.now().since(start).as_millis() as i64;
            // Several policies and users at once: all or nothing.
            let items: Vec<(String, String, i64)> = (0..1 + random(4))
                .map(|_| {
                    let (name, _) = &rules[random(5) as usize];
                    ((*name).to_owned(), format!("u{}", random(2)), random(5) as i64)
                })
                .collect();
            let asked: Vec<Value> =
                items.iter().map(|(p, u, cost)| item(p, json!({"user": u}), *cost)).collect();
            let answer = ask(&client, &asked);
            if answer["allowed"] == true {
                for (policy, user, cost) in items {
                    admitted.entry((policy, user)).or_default().push((now, cost));
                }
            } else {
                refused += 1;
                let wait = answer["retry_after_seconds"].as_u64();
                assert!(wait.is_none_or(|wait| wait > 0), "{answer}");
            }
        }
        assert!(refused > 20, "the limits were never reached: {refused}");
        for ((policy, user), taken) in admitted {
            for (from, (begin, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &taken[from..] {
                    sum += cost;
                    let most = match policy.as_str() {
                        "token_bucket" | "gcra" => 7 + (at - begin) * 3 / 2_000,
                        "day" if at / 86_400_000 == begin / 86_400_000 => 40,
                        "sliding_window" | "fixed_window" if at / 2_000 == begin / 2_000 => 7,
                        _ => i64::MAX,
                    };
                    assert!(sum <= most, "{policy} {user}: {sum} in {begin}..{at} (seed {seed})");
                }
            }
        }
    }
}

#[test]
fn the_document_has_every_route() {
    let document = host().openapi();
    assert_eq!(document["paths"].as_object().unwrap().len(), 7);
    let schema = &document["components"]["schemas"]["NamedPolicy"];
    assert!(!schema.is_null(), "{document}");
}
