//! Values by column type.

use airhost_sim::{SimConfig, World};
use serde_json::{Value, json};

use crate::support::{BASE, FULL, config, start, start_with};

/// Writes a value and gives what is read back, or the type of the refusal.
async fn check(rows: &[(&str, &str, Value, bool, Value)]) {
    let sim = start().await;
    for (table, field, value, typecast, expect) in rows {
        let body = json!({"fields": {*field: value}, "typecast": typecast});
        let (_, answer) = sim.send("POST", &format!("{BASE}/{table}"), body).await;
        let shown = answer.get("error").map_or(&answer["fields"][*field], |error| &error["type"]);
        assert_eq!(shown, expect, "{table}.{field} = {value} ({typecast}): {answer}");
    }
}

#[tokio::test]
async fn values_as_they_are() {
    let (bad, choice) = ("INVALID_VALUE_FOR_COLUMN", "INVALID_MULTIPLE_CHOICE_OPTIONS");
    let url = json!([{"url": "https://x.example/a.png"}]);
    let rows = [
        ("Tasks", "Name", json!("text"), json!("text")),
        ("Tasks", "Name", json!(""), Value::Null),
        ("Tasks", "Name", json!(null), Value::Null),
        ("Tasks", "Name", json!(5), json!(bad)),
        ("Deals", "Amount", json!(2.50), json!(2.5)),
        ("Deals", "Amount", json!(3.0), json!(3)),
        ("Deals", "Amount", json!("3"), json!(bad)),
        ("Tasks", "Priority", json!(5), json!(5)),
        ("Tasks", "Priority", json!(0), Value::Null),
        ("Tasks", "Priority", json!(6), json!(bad)),
        ("Tasks", "Done", json!(true), json!(true)),
        ("Tasks", "Done", json!(false), Value::Null),
        ("Tasks", "Done", json!("yes"), json!(bad)),
        ("Tasks", "Status", json!("Todo"), json!("Todo")),
        ("Tasks", "Status", json!("Later"), json!(choice)),
        ("Tasks", "Labels", json!(["bug", "docs", "bug"]), json!(["bug", "docs"])),
        ("Tasks", "Labels", json!([]), Value::Null),
        ("Tasks", "Labels", json!("bug"), json!(bad)),
        ("Tasks", "Labels", json!(["new"]), json!(choice)),
        ("Deals", "Closes", json!("2024-02-29"), json!("2024-02-29")),
        ("Deals", "Closes", json!("2024-02-30"), json!(bad)),
        ("Deals", "Closes", json!("2/29/2024"), json!(bad)),
        ("Tasks", "Due", json!("2024-01-02T03:04:05+02:00"), json!("2024-01-02T01:04:05.000Z")),
        ("Tasks", "Due", json!("2024-01-02"), json!("2024-01-02T00:00:00.000Z")),
        ("Tasks", "Due", json!(1), json!(bad)),
        ("Tasks", "Estimate", json!(90), json!(90)),
        ("Tasks", "Code", json!({"text": "1"}), json!({"text": "1"})),
        ("Tasks", "Code", json!("1"), json!(bad)),
        ("Tasks", "Number", json!(1), json!(bad)),
        ("Tasks", "Created", json!("2024-01-01"), json!(bad)),
        ("Deals", "Expected", json!(1), json!(bad)),
        ("Tasks", "Blocked By", json!(["recTask0000000001"]), json!(["recTask0000000001"])),
        ("Tasks", "Blocked By", json!(["recNope0000000000"]), json!("ROW_DOES_NOT_EXIST")),
        (
            "Tasks",
            "Blocked By",
            json!(["recCompany0000001"]),
            json!("ROW_TABLE_DOES_NOT_MATCH_LINKED_TABLE"),
        ),
        ("Tasks", "Blocked By", json!(["Write the plan"]), json!(bad)),
        ("Tasks", "Attachments", json!([{"nope": 1}]), json!("INVALID_ATTACHMENT_OBJECT")),
        ("Tasks", "Attachments", json!([{"url": "file:///x"}]), json!("INVALID_ATTACHMENT_OBJECT")),
        (
            "Deals",
            "Owner",
            json!({"id": "usrBen00000000002"}),
            json!({"id": "usrBen00000000002", "email": "ben@example.com", "name": "Ben Example"}),
        ),
        ("Deals", "Owner", json!({"email": "no@example.com"}), json!(bad)),
        ("Deals", "Owner", json!("Ben Example"), json!(bad)),
    ];
    check(&rows.map(|(table, field, value, expect)| (table, field, value, false, expect))).await;
    let sim = start().await;
    let made = sim.create("Tasks", json!({"Attachments": url})).await;
    let file = sim.get(&format!("{BASE}/Tasks/{made}")).await["fields"]["Attachments"][0].clone();
    assert_eq!((&file["filename"], &file["type"]), (&json!("a.png"), &json!("image/png")));
    let again = sim.create("Tasks", json!({"Attachments": [{"id": file["id"]}]})).await;
    let same = sim.get(&format!("{BASE}/Tasks/{again}")).await["fields"]["Attachments"][0].clone();
    assert_eq!(same, file);
}

#[tokio::test]
async fn values_converted() {
    let rows = [
        ("Tasks", "Name", json!(5), json!("5")),
        ("Deals", "Amount", json!("$1,234.50"), json!(1234.5)),
        ("Deals", "Probability", json!("50%"), json!(0.5)),
        ("Deals", "Amount", json!("none"), Value::Null),
        ("Tasks", "Done", json!("checked"), json!(true)),
        ("Tasks", "Status", json!("Later"), json!("Later")),
        ("Tasks", "Labels", json!("bug, new"), json!(["bug", "new"])),
        ("Deals", "Closes", json!("2/29/2024"), json!("2024-02-29")),
        ("Tasks", "Blocked By", json!(["Write the plan"]), json!(["recTask0000000001"])),
    ];
    check(&rows.map(|(table, field, value, expect)| (table, field, value, true, expect))).await;
    let sim = start().await;
    let body = json!({"fields": {"Title": "d", "Company": ["Made by name"]}, "typecast": true});
    let deal = sim.ok("POST", &format!("{BASE}/Deals"), body).await;
    let company = deal["fields"]["Company"][0].as_str().unwrap();
    let company = sim.get(&format!("{BASE}/Companies/{company}")).await;
    assert_eq!(company["fields"]["Name"], "Made by name");
    assert_eq!(company["fields"]["Deals"], json!([deal["id"]]));
}

#[tokio::test]
async fn fields_that_note_changes() {
    let sim = start().await;
    let id = sim.create("Tasks", json!({"Name": "x"})).await;
    let path = format!("{BASE}/Tasks/{id}");
    let made = sim.get(&path).await;
    assert_eq!(made["fields"].get("Modified"), None);
    assert_eq!(made["fields"]["Created"], made["createdTime"]);
    assert_eq!(made["fields"]["Created By"]["email"], "ada@example.com");
    assert_eq!(made["fields"]["Number"], 6);
    let changed = sim.ok("PATCH", &path, json!({"fields": {"Name": "y"}})).await;
    assert!(changed["fields"]["Modified"].as_str() > made["createdTime"].as_str());
}

#[tokio::test]
async fn columns_that_read_themselves() {
    let nested = |inner: &str| format!("{}{inner}{}", "IF(1+1,".repeat(90), ")".repeat(90));
    let options = |link: &str, source: &str| json!({"recordLinkFieldId": link, "fieldIdInLinkedTable": source});
    let fields = json!([
        {"name": "Name", "type": "singleLineText"},
        {"name": "A", "type": "formula", "options": {"formula": nested("{B}")}},
        {"name": "B", "type": "formula", "options": {"formula": nested("{A}&{Up}")}},
        {"name": "Self", "type": "multipleRecordLinks", "options": {"linkedTableId": "T"}},
        {"name": "Up", "type": "multipleLookupValues", "options": options("Self", "Up")},
        {"name": "Sum", "type": "rollup", "options": options("Self", "Sum")},
    ]);
    let ids: Vec<_> = (0..30).map(|n| format!("recSelf{n:010}")).collect();
    let records: Vec<_> = ids.iter().map(|id| json!({"id": id, "fields": {"Self": ids}})).collect();
    let world = json!({
        "tokens": [{"token": FULL}],
        "bases": [{"id": "appSelf0000000001", "name": "S", "tables": [
            {"name": "T", "fields": fields, "records": records}]}],
    });
    let sim = start_with(SimConfig { world: World::Text(world.to_string()), ..config() }).await;
    let page = sim.get("/v0/appSelf0000000001/T?sort[0][field]=A&pageSize=2").await;
    assert_eq!(page["records"][0]["fields"]["A"], json!({"error": "#ERROR!"}));
    let path = "/v0/appSelf0000000001/T?filterByFormula=LEN({Sum})%3D1";
    let (status, _) = sim.send("GET", path, Value::Null).await;
    assert!(status == 200 || status == 422);
}
