//! Record endpoints.

use serde_json::{Value, json};

use crate::support::{BASE, FULL, READ, column, start};

#[tokio::test]
async fn pages_of_a_thousand_records() {
    let sim = start().await;
    let mut numbers = Vec::new();
    let mut offset = String::new();
    let mut pages = 0;
    loop {
        let path = format!("{BASE}/Contacts?fields%5B%5D=Number&offset={offset}");
        let page = sim.get(&path).await;
        numbers.extend(column(&page, "Number"));
        pages += 1;
        let Some(next) = page["offset"].as_str() else { break };
        assert!(next.starts_with("itr") && next.len() == 35 && &next[17..21] == "/rec", "{next}");
        offset = next.replace('/', "%2F");
    }
    assert_eq!(pages, 10);
    assert_eq!(numbers, (1..=1000).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn offsets_that_lead_nowhere() {
    let sim = start().await;
    let contacts = format!("{BASE}/Contacts");
    let bad = (422, "INVALID_OFFSET_VALUE");
    sim.refused("GET", &format!("{contacts}?offset=x"), Value::Null, bad).await;
    sim.refused(
        "GET",
        &format!("{contacts}?offset=itrAAAAAAAAAAAAAA/recAAAAAAAAAAAAAA"),
        Value::Null,
        (422, "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"),
    )
    .await;
    // Records deleted between two pages are left out; the list goes on.
    let page = sim.get(&format!("{contacts}?pageSize=2&maxRecords=5")).await;
    let offset = page["offset"].as_str().unwrap().to_owned();
    let next = &offset[18..];
    sim.ok("DELETE", &format!("{contacts}/{next}"), Value::Null).await;
    let page = sim.get(&format!("{contacts}?pageSize=2&maxRecords=5&offset={offset}")).await;
    assert_eq!(column(&page, "Number"), [json!(4)]);
}

#[tokio::test]
async fn filter_sort_view_and_fields() {
    let sim = start().await;
    let list = async |query: &str| sim.get(&format!("{BASE}/Companies?{query}")).await;
    let large = list("view=Large&fields[]=Name&fields[]=Employees").await;
    assert_eq!(column(&large, "Employees"), [5000, 1200, 880, 520].map(|n| json!(n)));
    assert_eq!(large["records"][0]["fields"].as_object().unwrap().len(), 2);
    let sorted = list("sort[0][direction]=desc&sort[0][field]=Industry&sort[1][field]=Name").await;
    let first = [json!("Dynamo"), json!("Harbor"), json!("Cumulus")];
    assert_eq!(column(&sorted, "Name")[..3], first);
    let filtered = list("filterByFormula=AND({Employees}%3E100,+{Industry}%3D'Retail')").await;
    assert_eq!(column(&filtered, "Name"), ["Borealis", "Foundry"].map(|n| json!(n)));
    let view = list("view=Large&maxRecords=2&sort[0][field]=Name").await;
    assert_eq!(column(&view, "Name"), ["Borealis", "Evergreen"].map(|n| json!(n)));
    let rows = [
        ("view=Nope", "VIEW_NAME_NOT_FOUND"),
        ("fields[]=Nope", "UNKNOWN_FIELD_NAME"),
        ("sort[0][field]=Nope", "UNKNOWN_FIELD_NAME"),
        ("filterByFormula={Nope}%3D1", "INVALID_FILTER_BY_FORMULA"),
        ("filterByFormula=AND(", "INVALID_FILTER_BY_FORMULA"),
        ("pageSize=101", "INVALID_REQUEST_UNKNOWN"),
        ("cellFormat=string", "INVALID_REQUEST_UNKNOWN"),
    ];
    for (query, kind) in rows {
        let path = format!("{BASE}/Companies?{query}");
        sim.refused("GET", &path, Value::Null, (422, kind)).await;
    }
}

#[tokio::test]
async fn list_by_post() {
    let sim = start().await;
    let body = json!({
        "method": "post",
        "fields": ["Name"],
        "sort": [{"field": "Employees", "direction": "desc"}],
        "filterByFormula": format!("{{Name}} != '{}'", "x".repeat(17_000)),
        "maxRecords": 1,
        "cellFormat": "string",
        "recordMetadata": ["commentCount"],
    });
    let path = format!("{BASE}/Companies/listRecords?timeZone=utc&userLocale=en-us");
    let page = sim.ok("POST", &path, body).await;
    assert_eq!(column(&page, "Name"), [json!("Evergreen")]);
    assert_eq!(page["records"][0]["commentCount"], 0);
}

#[tokio::test]
async fn cells_as_text() {
    let sim = start().await;
    let query = "cellFormat=string&timeZone=America/New_York&userLocale=en-us";
    let task = sim.get(&format!("{BASE}/Tasks/recTask0000000001?{query}")).await;
    let cells = &task["fields"];
    assert_eq!(cells["Due"], "2024-03-01 07:30");
    assert_eq!(cells["Done"], "checked");
    assert_eq!(cells["Estimate"], "0:30");
    assert_eq!(cells["Assignees"], "Ada Example, Ben Example");
    assert_eq!(cells["Attachments"], "plan.pdf (https://files.example.com/plan.pdf)");
    assert_eq!(cells["Blocks"], "Review the plan");
    assert_eq!(cells["Priority"], "1");
    let deal = sim.get(&format!("{BASE}/Deals/recDeal0000000001?{query}")).await;
    assert_eq!(deal["fields"]["Amount"], "$950.50");
    assert_eq!(deal["fields"]["Probability"], "10%");
    assert_eq!(deal["fields"]["Company"], "Acme");
}

#[tokio::test]
async fn tables_by_name_and_slashes() {
    let sim = start().await;
    for table in ["tblOdd00000000001", "Q%2FA%20%26%20more", "Q%2FA%20%26%20more/"] {
        let page = sim.get(&format!("{BASE}/{table}?")).await;
        assert_eq!(column(&page, "Answer {short}"), [json!("100%")]);
    }
    let path = format!("{BASE}/Q%2FA%20%26%20more/");
    let made = sim.ok("POST", &path, json!({"fields": {"Question": "?"}})).await;
    assert_eq!(made["fields"], json!({"Question": "?"}));
    let path =
        format!("{BASE}/Q%2FA%20%26%20more?filterByFormula={{Answer+{{short\\}}}}%3D'100%25'");
    assert_eq!(sim.get(&path).await["records"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn write_in_batches() {
    let sim = start().await;
    let tasks = format!("{BASE}/Tasks");
    let rows = |count: usize| {
        let rows: Vec<_> =
            (0..count).map(|n| json!({"fields": {"Name": format!("n{n}")}})).collect();
        json!({"records": rows})
    };
    let made = sim.ok("POST", &tasks, rows(10)).await;
    assert_eq!(column(&made, "Name")[9], "n9");
    for bad in [rows(11), rows(0)] {
        sim.refused("POST", &tasks, bad, (422, "INVALID_RECORDS")).await;
    }
    let ids: Vec<_> =
        made["records"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    let changes: Vec<_> =
        ids.iter().map(|id| json!({"id": id, "fields": {"Priority": 2}})).collect();
    let patched = sim.ok("PATCH", &format!("{tasks}/"), json!({"records": changes})).await;
    assert_eq!(patched["records"][3]["fields"]["Name"], "n3");
    let put = sim.ok("PUT", &tasks, json!({"records": changes[..1]})).await;
    assert_eq!(put["records"][0]["fields"].get("Name"), None);
    let twice = json!({"records": [changes[0], changes[0]]});
    sim.refused("PATCH", &tasks, twice, (422, "INVALID_REQUEST_UNKNOWN")).await;
    let list: Vec<_> = ids.iter().map(|id| format!("records%5B%5D={id}")).collect();
    let gone = sim.ok("DELETE", &format!("{tasks}?{}", list.join("&")), Value::Null).await;
    assert_eq!(gone["records"][9], json!({"id": ids[9], "deleted": true}));
    let path = format!("{tasks}?{}", list[0]);
    sim.refused("DELETE", &path, Value::Null, (422, "ROW_DOES_NOT_EXIST")).await;
    sim.refused("DELETE", &tasks, Value::Null, (422, "INVALID_RECORDS")).await;
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let sim = start().await;
    let tasks = format!("{BASE}/Tasks");
    let bad = json!({"records": [{"fields": {"Name": "a"}}, {"fields": {"Priority": 9}}]});
    sim.refused("POST", &tasks, bad, (422, "INVALID_VALUE_FOR_COLUMN")).await;
    assert_eq!(sim.get(&tasks).await["records"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn upsert() {
    let sim = start().await;
    let tasks = format!("{BASE}/Tasks");
    let body = |records: Value, keys: Value| json!({"performUpsert": {"fieldsToMergeOn": keys}, "records": records});
    let records = json!([
        {"fields": {"Name": "Archive", "Priority": 4}},
        {"fields": {"Name": "Fresh", "Priority": 1}},
        {"fields": {"Name": "Fresh", "Priority": 3}},
        {"id": "recTask0000000001", "fields": {"Priority": 2}},
    ]);
    let done = sim.ok("PATCH", &tasks, body(records, json!(["Name"]))).await;
    assert_eq!(done["createdRecords"].as_array().unwrap().len(), 1);
    assert_eq!(done["updatedRecords"], json!(["recTask0000000005", "recTask0000000001"]));
    assert_eq!(column(&done, "Name").len(), 4);
    assert_eq!(done["records"][2]["fields"]["Priority"], 3);
    for (records, keys) in [
        (json!([{"fields": {"Priority": 1}}]), json!(["Name"])),
        (json!([{"fields": {"Status": "Todo"}}]), json!(["Status"])),
        (json!([{"fields": {"Name": "x"}}]), json!([])),
        (json!([{"fields": {"Name": "x"}}]), json!(["Number"])),
    ] {
        let expect = (422, "INVALID_REQUEST_UNKNOWN");
        sim.refused("PATCH", &tasks, body(records, keys), expect).await;
    }
}

#[tokio::test]
async fn links_follow_each_other() {
    let sim = start().await;
    let acme = format!("{BASE}/Companies/recCompany0000001");
    let before = sim.get(&acme).await["fields"]["Deal Total"].as_f64().unwrap();
    let deal = json!({"Title": "New", "Amount": 100, "Company": ["recCompany0000001"]});
    let deal = sim.create("Deals", deal).await;
    let after = sim.get(&acme).await["fields"].clone();
    assert_eq!(after["Deal Total"].as_f64().unwrap(), before + 100.0);
    assert_eq!(after["Contact Count"], 125);
    assert!(after["Deals"].as_array().unwrap().contains(&json!(deal)));
    let moved = json!({"fields": {"Company": ["recCompany0000002"]}});
    sim.ok("PATCH", &format!("{BASE}/Deals/{deal}"), moved).await;
    assert_eq!(sim.get(&acme).await["fields"]["Deal Total"].as_f64().unwrap(), before);
    sim.ok("DELETE", &format!("{BASE}/Companies/recCompany0000002"), Value::Null).await;
    assert_eq!(sim.get(&format!("{BASE}/Deals/{deal}")).await["fields"].get("Company"), None);
    let lookup = sim.get(&format!("{BASE}/Contacts?maxRecords=1")).await;
    assert_eq!(column(&lookup, "Company Industry"), [json!(["Software"])]);
    assert_eq!(column(&lookup, "Label"), [json!("Contact 0001 <contact1@example.com>")]);
    // A table linked to itself.
    let second = sim.get(&format!("{BASE}/Tasks/recTask0000000002")).await;
    assert_eq!(second["fields"]["Blocks"], json!(["recTask0000000003"]));
}

#[tokio::test]
async fn refusals() {
    let sim = start().await;
    let get = async |path: &str, expect| sim.refused("GET", path, Value::Null, expect).await;
    let forbidden = (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND");
    get("/v0/appNope0000000000/Tasks", forbidden).await;
    get(&format!("{BASE}/Nope"), forbidden).await;
    get(&format!("{BASE}/Tasks/recNope0000000000"), (404, "NOT_FOUND")).await;
    get("/v0/nonsense", (404, "NOT_FOUND")).await;
    get("/", (404, "NOT_FOUND")).await;
    let tasks = format!("{BASE}/Tasks");
    sim.refused("POST", &tasks, json!({}), (422, "INVALID_REQUEST_MISSING_FIELDS")).await;
    sim.refused("POST", &tasks, json!([1]), (422, "INVALID_REQUEST_UNKNOWN")).await;
    let unknown = json!({"fields": {"Nope": 1}});
    sim.refused("POST", &tasks, unknown, (422, "UNKNOWN_FIELD_NAME")).await;
    let missing = format!("{tasks}/recNope0000000000");
    for method in ["PATCH", "PUT", "DELETE"] {
        sim.refused(method, &missing, json!({"fields": {}}), (404, "NOT_FOUND")).await;
    }
}

#[tokio::test]
async fn tokens_and_scopes() {
    let mut sim = start().await;
    let tasks = format!("{BASE}/Tasks");
    sim.token = "wrong";
    let expect = (401, "AUTHENTICATION_REQUIRED");
    sim.refused("GET", &tasks, Value::Null, expect).await;
    sim.token = READ;
    sim.get(&tasks).await;
    let body = json!({"fields": {}});
    sim.refused("POST", &tasks, body, (403, "INVALID_PERMISSIONS")).await;
    sim.token = FULL;
    let by_id = sim.get(&format!("{tasks}?returnFieldsByFieldId=1&maxRecords=1")).await;
    let keys = by_id["records"][0]["fields"].as_object().unwrap();
    assert!(keys.keys().all(|key| key.starts_with("fld")));
    let count = sim.get(&format!("{tasks}?recordMetadata[]=commentCount&maxRecords=1")).await;
    assert_eq!(count["records"][0]["commentCount"], 2);
}
