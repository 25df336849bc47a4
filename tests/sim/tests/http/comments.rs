//! Comments.

use serde_json::{Value, json};

use crate::support::{BASE, start};

#[tokio::test]
async fn talk_about_a_record() {
    let mut sim = start().await;
    let path = format!("{BASE}/Tasks/recTask0000000001/comments");
    let list = sim.get(&path).await;
    assert_eq!(list["offset"], Value::Null);
    let (newest, oldest) = (&list["comments"][0], &list["comments"][1]);
    assert_eq!(newest["parentCommentId"], oldest["id"]);
    assert_eq!(oldest["mentioned"]["usrBen00000000002"]["displayName"], "Ben Example");
    assert_eq!(oldest["reactions"][0]["emoji"]["unicodeCharacter"], "1f44d");
    assert_eq!(oldest["lastUpdatedTime"], Value::Null);

    let made = sim.ok("POST", &path, json!({"text": "Third"})).await;
    let own = format!("{path}/{}", made["id"].as_str().unwrap());
    let edited = sim.ok("PATCH", &own, json!({"text": "Third, again"})).await;
    assert_eq!(edited["text"], "Third, again");
    assert!(edited["lastUpdatedTime"].is_string());

    let mut offset = String::new();
    let mut texts = Vec::new();
    loop {
        let page = sim.get(&format!("{path}?pageSize=2&offset={offset}")).await;
        let comments = page["comments"].as_array().unwrap();
        texts.extend(comments.iter().map(|comment| comment["text"].clone()));
        match page["offset"].as_str() {
            Some(next) => offset = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(texts.len(), 3);
    assert_eq!(texts[0], "Third, again");

    sim.refused("POST", &path, json!({}), (422, "INVALID_REQUEST_MISSING_FIELDS")).await;
    let orphan = json!({"text": "x", "parentCommentId": "comNope0000000000"});
    sim.refused("POST", &path, orphan, (404, "NOT_FOUND")).await;
    sim.token = "patDemoSecond0002.secret";
    sim.refused("DELETE", &own, Value::Null, (403, "INVALID_PERMISSIONS")).await;
    sim.token = crate::support::FULL;
    sim.ok("DELETE", &own, Value::Null).await;
    sim.refused("PATCH", &own, json!({"text": "x"}), (404, "NOT_FOUND")).await;
}
