//! The whole way of a request, and the document made of the same declarations.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::{
    Error, Principal, Result, Schema, Tenant, Timestamp, Uuid,
    context::caller_service,
    sql::{Db, Decimal},
    testing::Host,
};

#[derive(Debug, Deserialize, Serialize, Schema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    /// What the customer calls it.
    #[schema(not_blank, max_length = 20, check = no_digits)]
    order_name: String,
    #[schema(format = "email")]
    contact: Option<String>,
    #[schema(min_items = 1, max_items = 3)]
    lines: Vec<Line>,
    #[serde(default)]
    pay: Option<Payment>,
    total: Decimal,
    #[serde(default)]
    parent: Option<Box<Order>>,
}

fn no_digits(name: &str) -> Result<(), &'static str> {
    if name.contains(|c: char| c.is_ascii_digit()) { Err("must have no digits") } else { Ok(()) }
}

#[derive(Debug, Deserialize, Serialize, Schema)]
struct Line {
    #[schema(min = 1, max = 99)]
    amount: u32,
    unit: Unit,
}

#[derive(Debug, Deserialize, Serialize, Schema)]
#[serde(rename_all = "kebab-case")]
enum Unit {
    Piece,
    SquareMetre,
}

#[derive(Debug, Deserialize, Serialize, Schema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Payment {
    Cash,
    Card {
        #[schema(min_length = 4)]
        last_digits: String,
    },
    Voucher(Voucher),
}

#[derive(Debug, Deserialize, Serialize, Schema)]
struct Voucher {
    code: Uuid,
    until: Timestamp,
}

#[derive(Debug, Deserialize, Schema)]
struct Filter {
    #[serde(default)]
    unit: Vec<String>,
    #[schema(min = 1)]
    least: Option<i64>,
}

fn make(Json(order): Json<Order>) -> Result<Created<Order>> {
    Ok(Created::at("/orders/1", order).etag(ETag::version(1)))
}

fn find(Query(filter): Query<Filter>) -> Json<Vec<String>> {
    Json(
        filter
            .unit
            .into_iter()
            .map(|unit| format!("{unit}{}", filter.least.unwrap_or(0)))
            .collect(),
    )
}

fn one(Path((order, line)): Path<(Uuid, u32)>, tenant: Tenant) -> Text {
    Text::plain(format!("{order} {line} {tenant}"))
}

fn token(Form(voucher): Form<Voucher>) -> Json<Voucher> {
    Json(voucher)
}

fn latest() -> Text {
    Text::plain("latest")
}

fn rest(Path(rest): Path<String>) -> Text {
    Text::plain(rest)
}

fn admin(principal: Principal) -> Result<NoContent> {
    principal.require_role(&["admin"])?;
    Ok(NoContent)
}

fn inside(Caller(service): Caller) -> Text {
    assert_eq!(caller_service().as_deref(), Some(service.as_str()));
    Text::plain(service)
}

fn broken() -> Result<NoContent> {
    Err(Error::internal("the database password is hunter2"))
}

fn count(mut body: Body, responder: Responder) -> Result<Streamed> {
    let mut writer = responder.start(200, &[("content-type", "text/plain")])?;
    while let Some(chunk) = body.chunk(100_000)? {
        writer.write(format!("{},", chunk.len()).as_bytes())?;
    }
    writer.finish()
}

fn hand_on() -> Proxy {
    get("http://other-service/x").header("X-Test", "1").proxy().header("x-from", "other")
}

fn ask() -> Result<Json<Value>> {
    get("http://other-service/asked").query("q", "a b").send()?.success()?.json().map(Json)
}

fn twice() -> Result<Text> {
    let calls = [get("http://other-service/1").start()?, get("http://other-service/2").start()?];
    let ready = wait_any(&calls.iter().collect::<Vec<_>>(), std::time::Duration::from_secs(1));
    assert_eq!(ready, [0, 1]);
    let mut texts = Vec::new();
    for call in calls {
        texts.push(call.join()?.text()?);
    }
    Ok(Text::plain(texts.join("+")))
}

fn call_in_transaction(db: Db<'static>) -> Result<NoContent> {
    let _tx = db.begin()?;
    get("http://other-service/x").send()?;
    Ok(NoContent)
}

crate::service! {
    routes: &[
        crate::routes! {
            tag "orders";
            /// Makes an order.
            ///
            /// With all its lines.
            POST "/orders" => make, errors [409], name "makeOrder";
            /// Finds orders.
            GET "/orders" => find, deprecated;
            GET "/orders/latest/{line}" => latest;
            GET "/orders/{order}/{line}" => one;
            DELETE "/orders/{order}" => admin;
            ANY "/files/{*rest}" => rest, hidden;
        },
        crate::routes! {
            POST "/token" => token;
            GET "/inside" => inside;
            GET "/broken" => broken;
            POST "/count" => count;
            GET "/proxy" => hand_on;
            GET "/ask" => ask;
            GET "/twice" => twice;
            GET "/tx" => call_in_transaction;
        },
    ],
}

fn order() -> Value {
    json!({"orderName": "a", "lines": [{"amount": 1, "unit": "piece"}], "total": "1.50"})
}

#[test]
fn json_is_checked_by_type_and_rule() {
    let host = Host::new(&SERVICE);
    let made = host.anonymous().post("/orders").json(&order()).send().expect(201);
    assert_eq!((made.header("location"), made.header("etag")), (Some("/orders/1"), Some("\"1\"")));
    let rows: [(&str, Value, &[&str]); 9] = [
        ("orderName", json!(" "), &["/orderName"]),
        ("orderName", json!("a1"), &["/orderName"]),
        ("contact", json!("nobody"), &["/contact"]),
        ("lines", json!([]), &["/lines"]),
        (
            "lines",
            json!([{"amount": 0, "unit": "piece"}, {"amount": 100, "unit": "square-metre"}]),
            &["/lines/0/amount", "/lines/1/amount"],
        ),
        ("lines", json!([{"amount": 1, "unit": "mile"}]), &["/lines/0/unit"]),
        ("pay", json!({"kind": "card", "last_digits": "123"}), &["/pay/last_digits"]),
        ("total", json!("1e3"), &["/total"]),
        (
            "parent",
            json!({"orderName": "", "lines": [], "total": "1"}),
            &["/parent/orderName", "/parent/lines"],
        ),
    ];
    for (member, value, pointers) in rows {
        let mut body = order();
        body[member] = value;
        let answer = host.anonymous().post("/orders").json(&body).send().expect(422);
        let problem = answer.value();
        let found: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(found, pointers, "{body}: {problem}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["instance"], "/orders");
    }
    host.anonymous().post("/orders").body("{").send().expect(400);
    host.anonymous().post("/orders").body("[\"a\"]").send().expect(422);
    host.anonymous()
        .post("/orders")
        .header("content-type", "text/xml")
        .body("{}")
        .send()
        .expect(415);
    host.anonymous().post("/orders").body(vec![b' '; (1 << 20) + 1]).send().expect(413);
}

#[test]
fn the_more_exact_route_wins_and_methods_are_told() {
    let host = Host::new(&SERVICE);
    let user = host.as_user("u", "t");
    assert_eq!(user.get("/orders/latest/1").send().text(), "latest");
    let id = "0192f0c1-2345-7abc-8def-0123456789ab";
    assert_eq!(user.get(&format!("/orders/{id}/7")).send().text(), format!("{id} 7 t"));
    user.get("/orders/x/7").send().expect(404);
    host.anonymous().get(&format!("/orders/{id}/7")).send().expect(401);
    assert_eq!(user.request("PURGE", "/files/a%20b/c").send().text(), "a b/c");
    user.get("/nothing").send().expect(404);
    let refused = user.put("/orders").send().expect(405);
    assert_eq!(refused.header("allow"), Some("POST, GET, HEAD, OPTIONS"));
    let options = user.request("OPTIONS", "/orders").send().expect(204);
    assert_eq!(options.header("allow"), Some("POST, GET, HEAD, OPTIONS"));
    assert_eq!(user.request("HEAD", "/orders/latest/1").send().status(), 200);
    assert_eq!(user.get("/orders?unit=a&unit=b&least=2").send().value(), json!(["a2", "b2"]));
    let wrong = user.get("/orders?least=0").send().expect(422).value();
    assert_eq!(wrong["errors"][0]["pointer"], "/query/least");
}

#[test]
fn a_form_is_checked_like_json() {
    let host = Host::new(&SERVICE);
    let id = "0192f0c1-2345-7abc-8def-0123456789ab";
    let good = format!("code={id}&until=2026-01-31T12%3A00%3A00Z");
    let answer = host.anonymous().post("/token").form(&good).send().expect(200);
    assert_eq!(answer.value()["until"], "2026-01-31T12:00:00.000Z");
    let wrong = host.anonymous().post("/token").form("code=x&until=y").send().expect(422);
    assert_eq!(wrong.value()["errors"][0]["pointer"], "/code");
    let missing = host.anonymous().post("/token").form(&format!("code={id}")).send().expect(422);
    assert_eq!(missing.value()["errors"][0]["pointer"], "/until");
    host.anonymous().post("/token").json(&json!({})).send().expect(415);
}

#[test]
fn roles_and_callers() {
    let host = Host::new(&SERVICE);
    host.as_user("u", "t").delete("/orders/1").send().expect(403);
    host.as_role("u", "t", &["admin"]).delete("/orders/1").send().expect(204);
    host.anonymous().get("/inside").send().expect(403);
    assert_eq!(host.as_service("auth-service").get("/inside").send().text(), "auth-service");
}

#[test]
fn a_fault_is_logged_and_not_told() {
    let host = Host::new(&SERVICE);
    let answer = host.anonymous().get("/broken").send().expect(500);
    assert!(!answer.text().contains("hunter2"));
    assert!(host.logs().iter().any(|line| line.message.contains("hunter2")));
}

#[test]
fn bodies_go_in_and_out_in_pieces() {
    let host = Host::new(&SERVICE);
    let answer = host.anonymous().post("/count").body(vec![0; 300_000]).send();
    assert_eq!(answer.text(), "100000,100000,100000,");
    assert!(answer.is_complete());
}

#[test]
fn calls_to_others() {
    let host = Host::new(&SERVICE)
        .with_fake("http://other-service/", |call| Ok(Response::of(200).body_is(call.path.clone())))
        .with_fake("http://other-service/asked", |call| Response::json(200, &json!(call.path)));
    let user = host.as_user("u", "t");
    assert_eq!(user.get("/ask").send().value(), json!("/asked?q=a%20b"));
    assert_eq!(user.get("/twice").send().text(), "/1+/2");
    let answer = user.get("/proxy").send();
    let Some(Reply::Proxy(proxy)) = answer.reply() else { panic!("{answer:?}") };
    assert_eq!(proxy.target.url, "http://other-service/x");
    assert_eq!(proxy.target.headers, [("x-test".to_owned(), "1".to_owned())]);
    // A call while a write transaction is open is the service's own fault.
    user.get("/tx").send().expect(500);
}

#[test]
fn what_others_answer_is_passed_on_with_care() {
    let rows = [(404, 404), (409, 409), (429, 429), (503, 503), (400, 502), (500, 502)];
    for (theirs, ours) in rows {
        let host = Host::new(&SERVICE).with_fake("http://other-service/", move |_| {
            Ok(Response::of(theirs).with("retry-after", "3").body_is(r#"{"detail":"no"}"#))
        });
        let answer = host.anonymous().get("/ask").send().expect(ours);
        assert_eq!(answer.value()["detail"], "no");
        assert_eq!(answer.header("retry-after"), Some("3"));
    }
    Host::new(&SERVICE).anonymous().get("/ask").send().expect(502);
}

#[test]
fn the_document_says_what_the_routes_do() {
    let document = crate::openapi::document(&SERVICE);
    if let Some(file) = std::env::var_os("SDK_OPENAPI_OUT") {
        std::fs::write(file, document.to_string()).unwrap();
    }
    assert_eq!(document["openapi"], "3.0.3");
    let post = &document["paths"]["/orders"]["post"];
    assert_eq!(post["operationId"], "makeOrder");
    assert_eq!(post["summary"], "Makes an order");
    assert_eq!(post["description"], "With all its lines.");
    assert_eq!(post["tags"], json!(["orders"]));
    let body = &post["requestBody"]["content"]["application/json"];
    assert_eq!(body["schema"], json!({"$ref": "#/components/schemas/Order"}));
    for status in ["201", "400", "409", "413", "415", "422", "500"] {
        assert!(!post["responses"][status].is_null(), "{status}");
    }
    assert!(document["paths"]["/files/{rest}"].is_null(), "hidden");
    let schema = &document["components"]["schemas"]["Order"];
    assert_eq!(schema["required"], json!(["orderName", "lines", "total"]));
    assert_eq!(schema["properties"]["orderName"]["maxLength"], 20);
    assert_eq!(schema["additionalProperties"], false);
    let one = &document["paths"]["/orders/{order}/{line}"]["get"];
    assert_eq!(one["parameters"][1]["name"], "line");
    // The document's own example passes the rules it documents.
    let example = &body["example"];
    let host = Host::new(&SERVICE);
    host.anonymous().post("/orders").json(example).send().expect(201);
}
