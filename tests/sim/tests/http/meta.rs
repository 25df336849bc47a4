//! Bases, tables, fields.

use std::fmt::Write as _;

use airhost_sim::{SimConfig, World};
use serde_json::{Value, json};

use crate::support::{BASE, READ, config, start, start_with};

const META: &str = "/v0/meta/bases/appDemoSales00001";

#[tokio::test]
async fn who_and_which_bases() {
    let mut sim = start().await;
    let who = sim.get("/v0/meta/whoami").await;
    assert_eq!(who["id"], "usrAda00000000001");
    assert_eq!(who["email"], "ada@example.com");
    let base = sim.get(&format!("{META}?include=collaborators&include=interfaces")).await;
    assert_eq!(base["workspaceId"], "wspDemo0000000001");
    sim.token = READ;
    assert_eq!(sim.get("/v0/meta/whoami").await.get("email"), None);
    let bases = sim.get("/v0/meta/bases").await;
    let expect = json!([
        {"id": "appDemoSales00001", "name": "Sales Demo", "permissionLevel": "create"}
    ]);
    assert_eq!(bases["bases"], expect);
}

#[tokio::test]
async fn pages_of_bases() {
    let mut text =
        String::from("{\"tokens\":[{\"token\":\"patDemoFull000001.secret\"}],\"bases\":[");
    for n in 0..1001 {
        let comma = if n > 0 { "," } else { "" };
        write!(text, "{comma}{{\"name\":\"b{n}\",\"tables\":[]}}").unwrap();
    }
    text.push_str("]}");
    let sim = start_with(SimConfig { world: World::Text(text), ..config() }).await;
    let first = sim.get("/v0/meta/bases").await;
    assert_eq!(first["bases"].as_array().unwrap().len(), 1000);
    let path = format!("/v0/meta/bases?offset={}", first["offset"].as_str().unwrap());
    let second = sim.get(&path).await;
    assert_eq!(second["bases"][0]["name"], "b1000");
    assert_eq!(second.get("offset"), None);
}

#[tokio::test]
async fn schema_of_the_demo() {
    let sim = start().await;
    let schema = sim.get(&format!("{META}/tables?include=visibleFieldIds")).await;
    let contacts = &schema["tables"][1];
    assert_eq!(contacts["name"], "Contacts");
    let field = |name: &str| {
        let fields = contacts["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap().clone()
    };
    assert_eq!(contacts["primaryFieldId"], field("Name")["id"]);
    let lookup = field("Company Industry");
    assert_eq!(lookup["type"], "multipleLookupValues");
    assert_eq!(lookup["options"]["recordLinkFieldId"], field("Company")["id"]);
    assert_eq!(lookup["options"]["isValid"], true);
    assert_eq!(lookup["options"]["result"]["type"], "singleSelect");
    let label = field("Label");
    assert_eq!(
        label["options"]["referencedFieldIds"],
        json!([field("Name")["id"], field("Email")["id"]])
    );
    assert_eq!(contacts["views"][1]["visibleFieldIds"].as_array().unwrap().len(), 4);
    let plain = sim.get(&format!("{META}/tables")).await;
    assert_eq!(plain["tables"][1]["views"][1].get("visibleFieldIds"), None);
}

#[tokio::test]
async fn make_and_change() {
    let sim = start().await;
    let tables = format!("{META}/tables");
    let link = json!({"linkedTableId": "tblTasks000000001"});
    let spec = json!({"name": "Sprints", "fields": [
        {"name": "Name", "type": "singleLineText"},
        {"name": "Tasks", "type": "multipleRecordLinks", "options": link},
        {"name": "State", "type": "singleSelect", "options": {"choices": [{"name": "on"}]}},
    ]});
    let table = sim.ok("POST", &tables, spec.clone()).await;
    let id = table["id"].as_str().unwrap();
    let inverse = table["fields"][1]["options"]["inverseLinkFieldId"].as_str().unwrap();
    assert!(table["fields"][2]["options"]["choices"][0]["id"].as_str().unwrap().starts_with("sel"));
    let made = sim.create("Sprints", json!({"Name": "s", "Tasks": ["recTask0000000001"]})).await;
    let task = sim.get(&format!("{BASE}/Tasks/recTask0000000001?returnFieldsByFieldId=true")).await;
    assert_eq!(task["fields"][inverse], json!([made]));

    sim.refused("POST", &tables, spec, (422, "DUPLICATE_TABLE_NAME")).await;
    let renamed = sim.ok("PATCH", &format!("{tables}/{id}"), json!({"name": "Cycles"})).await;
    assert_eq!(renamed["name"], "Cycles");
    let fields = format!("{tables}/{id}/fields");
    let field = sim.ok("POST", &fields, json!({"name": "Size", "type": "number"})).await;
    assert_eq!(field["options"], json!({"precision": 0}));
    let path = format!("{fields}/{}", field["id"].as_str().unwrap());
    let changed = sim.ok("PATCH", &path, json!({"name": "Points", "description": "d"})).await;
    assert_eq!((&changed["name"], &changed["type"]), (&json!("Points"), &json!("number")));
    let rows = [
        (json!({"name": "Points", "type": "number"}), "DUPLICATE_OR_EMPTY_FIELD_NAME"),
        (json!({"name": "N", "type": "autoNumber"}), "UNSUPPORTED_FIELD_TYPE_FOR_CREATE"),
        (json!({"name": "N", "type": "nope"}), "INVALID_FIELD_TYPE_FOR_CREATE"),
        (json!({"name": "N", "type": "multipleRecordLinks"}), "INVALID_FIELD_OPTIONS"),
        (json!({"type": "number"}), "INVALID_REQUEST_UNKNOWN"),
    ];
    for (body, kind) in rows {
        sim.refused("POST", &fields, body, (422, kind)).await;
    }
}

#[tokio::test]
async fn make_and_delete_a_base() {
    let sim = start().await;
    let body = json!({"name": "Fresh", "workspaceId": "wspDemo0000000001", "tables": [
        {"name": "One", "fields": [{"name": "Name", "type": "singleLineText"}]},
    ]});
    let made = sim.ok("POST", "/v0/meta/bases", body).await;
    let id = made["id"].as_str().unwrap();
    let table = format!("/v0/{id}/One");
    sim.ok("POST", &table, json!({"fields": {"Name": "x"}})).await;
    assert_eq!(sim.get("/v0/meta/bases").await["bases"][1]["id"], id);
    sim.ok("DELETE", &format!("/v0/meta/bases/{id}"), Value::Null).await;
    let expect = (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND");
    sim.refused("GET", &table, Value::Null, expect).await;
}

#[tokio::test]
async fn wrong_base_files() {
    let rows = [
        ("[", "parse_world"),
        (r#"{"bases": [{"name": "b", "tables": [], "extra": 1}]}"#, "parse_world"),
        (r#"{"name": "b", "tables": [{"name": "t", "fields": []}]}"#, "invalid_world"),
        (
            r#"{"name": "b", "tables": [{"name": "t", "fields": [
                {"name": "a", "type": "singleLineText"},
                {"name": "f", "type": "formula", "options": {"formula": "{nope}"}}]}]}"#,
            "invalid_world",
        ),
        (
            r#"{"name": "b", "tables": [{"name": "t", "fields": [
                {"name": "a", "type": "number"}], "records": [{"fields": {"b": 1}}]}]}"#,
            "invalid_world",
        ),
    ];
    for (text, code) in rows {
        let config = SimConfig { world: World::Text(text.to_owned()), ..config() };
        assert_eq!(airhost_sim::Sim::start(config).await.unwrap_err().code(), code, "{text}");
    }
}

#[tokio::test]
async fn a_bare_base_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = r#"{"id": "appBare0000000001", "name": "Bare", "tables": [{"name": "T", "fields": [
        {"name": "Name", "type": "singleLineText"}, {"name": "Number", "type": "number"}],
        "generate": {"count": 3, "fields": {"Name": {"text": "r{n}"},
        "Number": {"number": {"start": 1, "step": 2, "modulo": 4}}}}}]}"#;
    std::fs::write(file.path(), text).unwrap();
    let token = airhost_sim::TokenConfig {
        token: crate::support::FULL.to_owned(),
        user: None,
        scopes: None,
        bases: None,
    };
    let world = World::File(file.path().to_owned());
    let sim = start_with(SimConfig { world, tokens: vec![token], ..config() }).await;
    let page = sim.get("/v0/appBare0000000001/T").await;
    assert_eq!(crate::support::column(&page, "Name"), ["r1", "r2", "r3"].map(|n| json!(n)));
    assert_eq!(crate::support::column(&page, "Number"), [1, 3, 1].map(|n| json!(n)));
}
