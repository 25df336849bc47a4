//! The service as its clients see it, with Airtable and permission-service played by fakes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use sdk::{
    Error, Result,
    http::Response,
    testing::{FakeRequest, Host, TestClient, TestResponse},
};
use serde_json::{Value, json};

use crate::SERVICE;

const BASE: &str = "appAbCdEfGhIjKlMn";
const API: &str = "https://api.airtable.com/v0/";
const TABLES: &str = "https://api.airtable.com/v0/meta/bases/appAbCdEfGhIjKlMn/tables";
const BASES: &str = "https://api.airtable.com/v0/meta/bases";
const CHECK: &str = "http://permission-service/api/v1/permissions/check";
const BATCH: &str = "http://permission-service/api/v1/permissions/check-batch";
const PLACE: &str = "http://permission-service/api/v1/permissions/resources/base/";

fn answer(status: u16, value: Value) -> impl Fn(&FakeRequest) -> Result<Response> {
    move |_| Response::json(status, &value)
}

/// Everybody may do everything, and Airtable knows one base.
fn host() -> Host {
    Host::of_crate(&SERVICE)
        .with_fake(CHECK, answer(200, json!({"allowed": true})))
        .with_fake(BATCH, |call| {
            let checks = call.json()["checks"].as_array().map_or(0, Vec::len);
            Response::json(200, &json!({"results": vec![json!({"allowed": true}); checks]}))
        })
        .with_fake(PLACE, answer(200, json!({})))
        .with_fake(BASES, |call| {
            if call.path.contains("offset=more") {
                let base = json!({"id": BASE, "name": "Sales Demo", "permissionLevel": "create"});
                return Response::json(200, &json!({"bases": [base]}));
            }
            Response::json(200, &json!({"bases": [], "offset": "more"}))
        })
        .with_fake(TABLES, answer(200, json!({"tables": [{"id": "tbl1", "name": "T"}]})))
}

fn connect(client: &TestClient<'_>) -> Value {
    let input = json!({"name": "Sales", "base_id": BASE, "token": "patX.y"});
    client.post("/api/v1/connections").json(&input).send().expect(201).value()
}

/// A host with a connection of t1, and its user, calling through the gateway.
fn connected(host: &Host) -> TestClient<'_> {
    let user = host.as_user("u1", "t1").through("api-gateway");
    connect(&user);
    user
}

fn to_airtable(host: &Host) -> Vec<FakeRequest> {
    let calls = host.calls().into_iter();
    calls.filter(|call| call.url.starts_with(API) && !call.url.starts_with(BASES)).collect()
}

fn path(rest: &str) -> String {
    format!("/v0/{BASE}/{rest}")
}

fn record(id: &str, number: u64) -> Value {
    json!({"id": id, "createdTime": "2026-01-01T00:00:00.000Z", "fields": {"Number": number}})
}

fn unknown(answer: &TestResponse) -> bool {
    answer.status() == 404 && answer.value() == json!({"error": "NOT_FOUND"})
}

#[test]
fn a_base_is_connected_with_a_token_that_is_tried() {
    let host = host();
    let user = host.as_user("u1", "t1");
    let made = connect(&user);
    assert_eq!(made["base_name"], "Sales Demo");
    assert_eq!(made["permission_level"], "create");
    assert!(!made.to_string().contains("patX"));
    let id = made["id"].as_str().unwrap();
    let tried = host.calls().into_iter().find(|call| call.url == TABLES).unwrap();
    assert_eq!(tried.attrs, [("secret-scope".to_owned(), id.to_owned())]);
    host.run_as("u1", "t1", || {
        assert_eq!(sdk::secrets::names("connection/").unwrap(), [format!("connection/{id}")]);
    });

    let again = json!({"name": "B", "base_id": BASE, "token": "patX.y"});
    let taken = user.post("/api/v1/connections").json(&again).send().expect(409);
    assert_eq!(taken.value()["code"], "connection.exists");
    let list = user.get("/api/v1/connections").send().expect(200).value();
    assert_eq!(list["data"], json!([made]));
}

#[test]
fn a_token_that_does_not_hold_is_not_kept() {
    for (status, expected, pointer) in [
        (401, 422, "/token"),
        (403, 422, "/base_id"),
        (404, 422, "/base_id"),
        (500, 503, ""),
        (429, 429, ""),
    ] {
        let host = host().with_fake(TABLES, answer(status, json!({})));
        let user = host.as_user("u1", "t1");
        let input = json!({"name": "Sales", "base_id": BASE, "token": "patX.y"});
        let refused = user.post("/api/v1/connections").json(&input).send().expect(expected);
        if !pointer.is_empty() {
            assert_eq!(refused.value()["errors"][0]["pointer"], pointer);
        }
        host.run_as("u1", "t1", || {
            assert!(sdk::secrets::names("connection/").unwrap().is_empty(), "{status}");
        });
        assert_eq!(user.get("/api/v1/connections").send().value()["data"], json!([]));
    }
}

#[test]
fn bad_input_is_told_by_pointer() {
    let host = host();
    let user = host.as_user("u1", "t1");
    for (input, pointer) in [
        (json!({"base_id": BASE, "token": "x"}), "/name"),
        (json!({"name": "a", "base_id": "app1", "token": "x"}), "/base_id"),
        (json!({"name": "a", "base_id": BASE, "token": "a\nb"}), "/token"),
        (json!({"name": "a", "base_id": BASE, "token": ""}), "/token"),
        (json!({"name": "a", "base_id": BASE, "token": "x", "more": 1}), "/more"),
    ] {
        let answer = user.post("/api/v1/connections").json(&input).send().expect(422);
        assert_eq!(answer.value()["errors"][0]["pointer"], pointer, "{input}");
    }
}

#[test]
fn a_connection_is_changed_and_removed() {
    let host = host();
    let user = host.as_user("u1", "t1");
    let path = format!("/api/v1/connections/{}", connect(&user)["id"].as_str().unwrap());
    let change = json!({"name": "B", "token": "patNew.z", "workspace_id": "w1"});
    user.patch(&path).if_match("\"7\"").json(&change).send().expect(412);
    let changed = user.patch(&path).if_match("\"1\"").json(&change).send().expect(200);
    assert_eq!(changed.value()["workspace_id"], "w1");
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let placed = host.calls().into_iter().find(|call| call.url.starts_with(PLACE)).unwrap();
    assert_eq!(placed.json(), json!({"parent": {"type": "workspace", "id": "w1"}}));
    host.run_as("u1", "t1", || {
        assert_eq!(sdk::secrets::names("connection/").unwrap().len(), 1, "no trial is left");
    });
    user.delete(&path).send().expect(204);
    user.get(&path).send().expect(404);
    host.run_as("u1", "t1", || {
        assert!(sdk::secrets::names("connection/").unwrap().is_empty());
    });
    assert!(unknown(&user.get(&self::path("T")).send()));
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let host = host().with_fake(API, answer(200, json!({"records": []})));
    let user = connected(&host);
    let other = host.as_user("u2", "t2").through("api-gateway");
    let id = user.get("/api/v1/connections").send().value()["data"][0]["id"].clone();
    let connection = format!("/api/v1/connections/{}", id.as_str().unwrap());
    other.get(&connection).send().expect(404);
    other.patch(&connection).json(&json!({"name": "b"})).send().expect(404);
    other.delete(&connection).send().expect(404);
    other.get(&format!("/api/v1/bases/{BASE}")).send().expect(404);
    other.get(&format!("/api/v1/bases/{BASE}/tables/T/records")).send().expect(404);
    for answer in [
        other.get(&path("T")).send(),
        other.post(&path("T")).json(&json!({"fields": {}})).send(),
        other.delete(&path("T/rec1")).send(),
        other.get(&format!("/v0/meta/bases/{BASE}/tables")).send(),
        other.get(&format!("/v0/bases/{BASE}/webhooks")).send(),
    ] {
        assert!(unknown(&answer), "{}", answer.text());
    }
    assert!(to_airtable(&host).is_empty());
    let list =
        |client: &TestClient<'_>| client.get("/v0/meta/bases").send().value()["bases"].clone();
    assert_eq!(list(&other), json!([]));
    assert_eq!(
        list(&user),
        json!([{"id": BASE, "name": "Sales Demo", "permissionLevel": "create"}])
    );
    // What one has read is not there for the other, who has the same base.
    user.get(&path("T")).send().expect(200);
    connect(&other);
    other.get(&path("T")).send().expect(200);
    assert_eq!(to_airtable(&host).len(), 2);
    let anonymous = host.anonymous().get(&path("T")).send().expect(401);
    assert_eq!(anonymous.value()["error"]["type"], "AUTHENTICATION_REQUIRED");
}

#[test]
fn requests_go_to_airtable_as_they_came() {
    let host = host()
        .with_fake(API, answer(200, json!({"records": [], "offset": "itr1/rec1"})))
        .with_fake("https://content.airtable.com/", answer(200, json!({"id": "rec1"})));
    let user = connected(&host);
    let query = "fields%5B%5D=A+b&sort%5B0%5D%5Bdirection%5D=asc&sort%5B0%5D%5Bfield%5D=N";
    let list = user.get(&format!("{}?{query}", path("a%2Fb"))).send().expect(200);
    assert_eq!(list.value()["offset"], "itr1/rec1");
    let call = &to_airtable(&host)[0];
    assert_eq!(call.url, format!("{API}{BASE}/a%2Fb?{query}"));
    assert_eq!(call.header("authorization"), None, "the host puts it in");

    let body = json!({"records": [{"fields": {"A": 1}}]});
    user.post(&path("T/?")).json(&body).send().expect(200);
    let call = &to_airtable(&host)[1];
    assert_eq!((call.method.as_str(), call.json()), ("POST", body));
    assert_eq!(call.url, format!("{API}{BASE}/T"));

    let upload = path("rec1/Files/uploadAttachment");
    user.post(&upload).json(&json!({"file": "aGk="})).send().expect(200);
    let call = host.calls().pop().unwrap();
    assert_eq!(call.url, format!("https://content.airtable.com{upload}"));
    user.post(&upload).body(vec![b'x'; (10 << 20) + 1]).send().expect(413);
}

#[test]
fn what_was_read_is_remembered_until_something_is_written() {
    let count = Rc::new(Cell::new(0));
    let seen = Rc::clone(&count);
    let host = host().with_fake(API, move |call| {
        if call.method != "GET" && !call.path.ends_with("listRecords") {
            return Response::json(200, &record("rec1", 0));
        }
        seen.set(seen.get() + 1);
        Response::json(200, &json!({"records": [record("rec1", seen.get())]}))
    });
    let user = connected(&host);
    let read = |rest: &str| {
        let answer = user.get(&path(rest)).send().expect(200);
        let number = answer.value()["records"][0]["fields"]["Number"].as_u64().unwrap();
        (number, answer.header("x-airhost-cache").unwrap().to_owned())
    };
    let (hit, miss) = ("hit".to_owned(), "miss".to_owned());
    assert_eq!(read("T?fields[]=A&fields[]=B"), (1, miss.clone()));
    assert_eq!(read("T?fields[]=B&fields[]=A"), (1, hit.clone()));
    assert_eq!(read("T?fields[]=B"), (2, miss.clone()));
    // A write anywhere in the base: other tables may show it through links.
    user.patch(&path("Other/rec1")).json(&json!({"fields": {"A": 1}})).send().expect(200);
    assert_eq!(read("T?fields[]=B"), (3, miss.clone()));
    assert_eq!(read("T?fields[]=B"), (3, hit));
    host.advance(Duration::from_secs(31));
    assert_eq!(read("T?fields[]=B"), (4, miss));
    let anew = user.get(&path("T?fields[]=B")).header("cache-control", "no-cache").send();
    assert_eq!(anew.header("x-airhost-cache"), Some("miss"));

    let list = |formula: &str| {
        let body = json!({"filterByFormula": formula, "method": "post"});
        let answer = user.post(&path("T/listRecords")).json(&body).send().expect(200);
        answer.header("x-airhost-cache").unwrap().to_owned()
    };
    assert_eq!([list("A"), list("A"), list("B")], ["miss", "hit", "miss"]);
}

#[test]
fn payloads_of_webhooks_are_never_remembered() {
    let host = host().with_fake(API, answer(200, json!({"payloads": []})));
    let user = connected(&host);
    for _ in 0..2 {
        user.get(&format!("/v0/bases/{BASE}/webhooks/ach1/payloads?cursor=1")).send().expect(200);
    }
    assert_eq!(to_airtable(&host).len(), 2);
}

#[test]
fn while_airtable_is_away_reads_are_answered_from_memory_and_others_503() {
    let trouble: Rc<RefCell<Option<Error>>> = Rc::default();
    let now = Rc::clone(&trouble);
    let host = host().with_fake(API, move |_| match &*now.borrow() {
        Some(error) if error.code() == "call.unreachable" => Err(error.clone()),
        Some(error) => Response::json(error.status(), &json!({"error": {"type": "X"}})),
        None => Response::json(200, &json!({"records": [record("rec1", 1)]})),
    });
    let user = connected(&host);
    let first = user.get(&path("T")).send().expect(200).value();
    host.advance(Duration::from_secs(100));
    let unreachable = Error::unavailable("no").code_is("call.unreachable");
    for error in [unreachable, Error::bad_gateway("x"), Error::too_many_requests("x", 1)] {
        let refused = error.code() == "call.unreachable";
        *trouble.borrow_mut() = Some(error);
        let stale = user.get(&path("T")).send().expect(200);
        assert_eq!(stale.value(), first);
        assert_eq!(stale.header("x-airhost-cache"), Some("stale"));
        assert_eq!(stale.header("age"), Some("100"));
        if refused {
            for answer in [
                user.get(&path("Unseen")).send().expect(503),
                user.post(&path("T")).json(&json!({"fields": {}})).send().expect(503),
            ] {
                assert_eq!(answer.value()["error"]["type"], "SERVICE_UNAVAILABLE");
                assert!(answer.header("retry-after").is_some());
            }
        }
    }
    host.advance(Duration::from_secs(3600));
    user.get(&path("T")).send().expect(429);
    *trouble.borrow_mut() = None;
    user.get(&path("T")).send().expect(200);
}

#[test]
fn nothing_breaks_without_the_store_of_what_was_read() {
    let host = host().with_fake(API, answer(200, json!({"records": []})));
    let user = connected(&host);
    host.fail("storage/kv", Some(Error::unavailable("away")));
    user.get(&path("T")).send().expect(200);
    user.delete(&path("T/rec1")).send().expect(200);
    assert_eq!(to_airtable(&host).len(), 2);
}

#[test]
fn airtables_errors_pass_as_they_are() {
    let said = json!({"error": {"type": "INVALID_FILTER_BY_FORMULA", "message": "no"}});
    let host = host().with_fake(API, answer(422, said.clone()));
    let user = connected(&host);
    assert_eq!(user.get(&path("T")).send().expect(422).value(), said);
    user.get(&path("T")).send().expect(422);
    assert_eq!(to_airtable(&host).len(), 2, "a refusal is not remembered");

    let html = |_: &FakeRequest| Ok(Response::of(502).body_is("<html>"));
    let host = host.with_fake(API, html);
    let answer = connected_again(&host).get(&path("T")).send().expect(502);
    assert_eq!(answer.value()["error"]["type"], "SERVER_ERROR");
}

/// The user of a host that is connected.
fn connected_again(host: &Host) -> TestClient<'_> {
    host.as_user("u1", "t1").through("api-gateway")
}

#[test]
fn a_429_is_asked_once_more() {
    let count = Rc::new(Cell::new(0));
    let seen = Rc::clone(&count);
    let host = host().with_fake(API, move |_| {
        seen.set(seen.get() + 1);
        if seen.get() == 1 {
            return Response::json(429, &json!({"errors": []}));
        }
        Response::json(200, &record("rec1", 1))
    });
    let user = connected(&host);
    user.post(&path("T")).json(&json!({"fields": {}})).send().expect(200);
    assert_eq!(count.get(), 2);

    let paced = || Error::too_many_requests("wait", 30_000).code_is("call.paced");
    let host = host.with_fake(API, move |_| Err(paced()));
    let answer = connected_again(&host).post(&path("T")).json(&json!({})).send().expect(429);
    assert_eq!(answer.value()["errors"][0]["error"], "RATE_LIMIT_REACHED");
    assert_eq!(answer.header("retry-after"), Some("30"));
}

#[test]
fn a_token_that_airtable_refuses_is_marked() {
    let host = host().with_fake(API, answer(401, json!({"error": {"type": "X"}})));
    let user = connected(&host);
    let refused = user.get(&path("T")).send().expect(403);
    assert_eq!(refused.value()["error"]["type"], "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND");
    let state = |host: &Host| {
        let list = connected_again(host).get("/api/v1/connections").send().value();
        list["data"][0]["refused"].clone()
    };
    assert_eq!(state(&host), true);
    let host = host.with_fake(API, answer(200, json!({"records": []})));
    connected_again(&host).get(&path("T")).send().expect(200);
    assert_eq!(state(&host), false);
}

#[test]
fn writes_are_told() {
    let host = host().with_fake(API, |call| {
        let answer = match call.method.as_str() {
            "POST" => json!({"records": [record("rec1", 1), record("rec2", 2)]}),
            "DELETE" => json!({"records": [{"id": "rec1", "deleted": true}]}),
            _ => json!({
                "records": [record("rec1", 1), record("rec3", 2)],
                "createdRecords": ["rec3"], "updatedRecords": ["rec1"],
            }),
        };
        Response::json(200, &answer)
    });
    let user = connected(&host);
    user.post(&path("My%20table")).json(&json!({"records": []})).send().expect(200);
    let created = host.published("record.created");
    assert_eq!(created.len(), 2);
    let (subject, data) = (&created[0].subject, &created[0].data);
    assert_eq!(subject, "rec1");
    assert_eq!(data["table_id"], "My table");
    assert_eq!(data["base_id"], BASE);
    assert_eq!(data["actor"], "u1");
    assert_eq!(data["origin"], "api");
    assert_eq!(data["created_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(data["fields"], json!({"Number": 1}));

    let upsert = json!({
        "performUpsert": {"fieldsToMergeOn": ["Number"]},
        "records": [{"fields": {"Number": 1}}, {"fields": {"Number": 2}}],
    });
    user.patch(&path("T")).json(&upsert).send().expect(200);
    assert_eq!(host.published("record.created").len(), 3);
    let updated = host.published("record.updated");
    assert_eq!(updated.len(), 1);
    assert_eq!(updated[0].data["changed_fields"], json!(["Number"]));
    user.delete(&path("T?records[]=rec1")).send().expect(200);
    let deleted = host.published("record.deleted");
    assert!(deleted[0].data["fields"].is_null());

    // What Airtable has written is not undone by a broker that is away.
    host.fail("events/bus", Some(Error::unavailable("away")));
    user.post(&path("T")).json(&json!({"records": []})).send().expect(200);
}

#[test]
fn permissions_are_asked_by_whoever_can() {
    let denied = json!({"allowed": false});
    let host = host().with_fake(API, answer(200, json!({"records": []})));
    connect(&host.as_user("u1", "t1"));
    let host = host.with_fake(CHECK, answer(200, denied.clone()));
    let user_of = || host.as_user("u1", "t1");
    // The gateway has asked already, except for what only the body tells.
    let through = user_of().through("api-gateway");
    through.get(&path("T")).send().expect(200);
    let upsert = json!({"performUpsert": {"fieldsToMergeOn": ["A"]}, "records": []});
    through.patch(&path("T")).json(&upsert).send().expect(403);
    // A service has not.
    let service = user_of().through("workflow-engine");
    service.get(&path("T")).send().expect(403);
    for (method, path) in [
        ("GET", "/api/v1/connections".to_owned()),
        ("GET", format!("/api/v1/bases/{BASE}")),
        ("GET", format!("/api/v1/bases/{BASE}/tables")),
        ("GET", format!("/api/v1/bases/{BASE}/tables/T/records")),
        ("DELETE", format!("/api/v1/bases/{BASE}/tables/T/records/rec1")),
    ] {
        through.request(method, &path).send().expect(403);
    }
    let host = host
        .with_fake(BATCH, answer(200, json!({"results": [denied]})))
        .with_fake(CHECK, |_| Err(Error::unavailable("away")));
    let through = host.as_user("u1", "t1").through("api-gateway");
    assert_eq!(through.get("/v0/meta/bases").send().value(), json!({"bases": []}));
    assert_eq!(through.get("/api/v1/bases").send().value()["data"], json!([]));
    through.get(&format!("/api/v1/bases/{BASE}/tables")).send().expect(503);
}

#[test]
fn whoami_is_our_user() {
    let host = host();
    let me = host.as_user("u1", "t1").get("/v0/meta/whoami").send().expect(200).value();
    let id = me["id"].as_str().unwrap();
    assert!(id.starts_with("usr") && id.len() == 17);
    assert_eq!(me, host.as_user("u1", "t1").get("/v0/meta/whoami").send().value());
    assert_ne!(me, host.as_user("u2", "t1").get("/v0/meta/whoami").send().value());
}

#[test]
fn any_number_of_records_at_once() {
    let host = host().with_fake(API, |call| {
        let records: Vec<Value> = match call.method.as_str() {
            "DELETE" => call.path.matches("=rec").map(|_| json!({"id": "rec1"})).collect(),
            _ => {
                let sent = call.json()["records"].as_array().cloned().unwrap_or_default();
                if sent.iter().any(|one| one["fields"]["Number"] == 21) {
                    let no =
                        json!({"error": {"type": "INVALID_VALUE_FOR_COLUMN", "message": "no"}});
                    return Response::json(422, &no);
                }
                assert!(sent.len() <= 10);
                (0..sent.len() as u64).map(|n| record("rec1", n)).collect()
            }
        };
        Response::json(200, &json!({"records": records}))
    });
    let user = connected(&host);
    let at = format!("/api/v1/bases/{BASE}/tables/a%20b/records");
    let many = |count: u64| -> Vec<Value> {
        (0..count).map(|n| json!({"id": "rec1", "fields": {"Number": n}})).collect()
    };
    let new: Vec<Value> = (0..20).map(|n| json!({"fields": {"Number": n}})).collect();
    let made = user.post(&at).json(&json!({"records": new})).send().expect(201).value();
    assert_eq!(made["data"].as_array().unwrap().len(), 20);
    assert_eq!(made["data"][0]["created_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(to_airtable(&host)[0].url, format!("{API}{BASE}/a%20b"));
    assert_eq!(host.published("record.created").len(), 20);

    let part = user.patch(&at).json(&json!({"records": many(25)})).send().expect(207).value();
    assert_eq!(part["data"].as_array().unwrap().len(), 20);
    assert_eq!(part["failed"]["from"], 20);
    assert_eq!(part["failed"]["code"], "airtable.invalid_value_for_column");
    user.put(&at).json(&json!({"records": many(3)})).send().expect(200);
    let none = json!({"records": [{"fields": {}}]});
    let answer = user.put(&at).json(&none).send().expect(422);
    assert_eq!(answer.value()["errors"][0]["pointer"], "/records/0/id");
    let ids = ["ids=rec1"; 11].join("&");
    let gone = user.delete(&format!("{at}?{ids}")).send().expect(200).value();
    assert_eq!(gone["data"].as_array().unwrap().len(), 11);
    user.delete(&at).send().expect(422);
    user.post(&at).json(&json!({"records": []})).send().expect(422);
}

#[test]
fn records_are_listed_in_the_platforms_style() {
    let host = host().with_fake(API, |call| {
        let asked = call.json();
        let size = asked["pageSize"].as_u64().unwrap_or(1);
        let start = if asked["offset"].is_null() { 0 } else { 100 };
        let records: Vec<Value> = (start..start + size).map(|n| record("rec1", n)).collect();
        Response::json(200, &json!({"records": records, "offset": format!("o{}", start + size)}))
    });
    let user = connected(&host);
    let at = format!("/api/v1/bases/{BASE}/tables/T/records");
    let query = "limit=120&formula=A&sort=-B&sort=C&fields=B&fields=C";
    let page = user.get(&format!("{at}?{query}")).send().expect(200).value();
    assert_eq!(page["data"].as_array().unwrap().len(), 120);
    assert_eq!(page["data"][119]["fields"]["Number"], 119);
    assert_eq!(page["next_cursor"], "o120");
    let asked = to_airtable(&host)[0].json();
    assert_eq!(asked["filterByFormula"], "A");
    assert_eq!(asked["fields"], json!(["B", "C"]));
    assert_eq!(
        asked["sort"],
        json!([{"field": "B", "direction": "desc"}, {"field": "C", "direction": "asc"}])
    );
    user.get(&format!("{at}?limit=201")).send().expect(422);
    let tables = user.get(&format!("/api/v1/bases/{BASE}/tables")).send().expect(200).value();
    assert_eq!(tables["data"][0]["id"], "tbl1");
    let host = host.with_fake(API, answer(403, json!({"error": {"type": "X"}})));
    let missing = connected_again(&host).get(&format!("{at}/rec1")).send().expect(404);
    assert_eq!(missing.header("content-type"), Some("application/problem+json"));
}

#[test]
fn who_connected_a_base_can_be_forgotten() {
    let host = host();
    connect(&host.as_user("u1", "t1"));
    let exported = host.export_subject("u1", "t1").unwrap();
    assert_eq!(exported[0].1.as_array().unwrap().len(), 1);
    assert!(!exported[0].1.to_string().contains("patX"));
    assert_eq!(host.erase_subject("u1", "t1").unwrap()[0].erased, 1);
    assert_eq!(host.erase_subject("u1", "t1").unwrap()[0].erased, 0);
    assert_eq!(host.export_subject("u1", "t1").unwrap()[0].1, json!([]));
}
