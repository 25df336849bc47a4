//! Limits, faults, and the control API.

use std::time::Duration;

use airhost_sim::{LimitConfig, SimConfig};
use serde_json::{Value, json};

use crate::support::{BASE, config, start, start_with};

#[tokio::test]
async fn five_requests_a_second() {
    let limits = LimitConfig { retry_after: true, ..LimitConfig::default() };
    let sim = start_with(SimConfig { limits, ..config() }).await;
    let path = format!("{BASE}/Tasks?maxRecords=1");
    for _ in 0..5 {
        sim.get(&path).await;
    }
    let (status, headers, body) = sim.raw("GET", &path, "").await.unwrap();
    assert_eq!((status, &headers["retry-after"]), (429, &"30".parse().unwrap()));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["errors"][0]["error"], "RATE_LIMIT_REACHED");
    // Schema and webhooks count for the base; what belongs to no base does not.
    let (status, _) = sim.send("GET", "/v0/meta/bases/appDemoSales00001/tables", Value::Null).await;
    assert_eq!(status, 429);
    sim.get("/v0/meta/whoami").await;
    sim.ok("POST", "/_sim/limits", json!({"per_base": 1, "pause_ms": 1})).await;
    sim.get(&path).await;
    let (_, headers, _) = sim.raw("GET", &path, "").await.unwrap();
    assert!(!headers.contains_key("retry-after"));
    sim.ok("POST", "/_sim/limits", json!({})).await;
    for _ in 0..20 {
        sim.get(&path).await;
    }
}

#[tokio::test]
async fn faults_on_demand() {
    let sim = start().await;
    let tasks = format!("{BASE}/Tasks");
    let fault = async |fault: Value| sim.ok("POST", "/_sim/faults", fault).await;
    fault(json!({"count": 2, "method": "GET", "action": {"status": {"code": 503}}})).await;
    let headers = json!({"Retry-After": "7"});
    let action = json!({"status": {"code": 429, "body": {"x": 1}, "headers": headers}});
    fault(json!({"base": "appDemoSales00001", "method": "PATCH", "action": action})).await;
    fault(json!({"path_prefix": "/v0/nope", "action": {"status": {"code": 500}}})).await;
    assert_eq!(sim.send("GET", &tasks, Value::Null).await.0, 503);
    sim.create("Tasks", json!({"Name": "passes"})).await;
    assert_eq!(sim.send("GET", &tasks, Value::Null).await.0, 503);
    sim.get(&tasks).await;
    let (status, headers, body) = sim.raw("PATCH", &tasks, "").await.unwrap();
    assert_eq!(
        (status, &headers["retry-after"], &body[..]),
        (429, &"7".parse().unwrap(), &b"{\"x\":1}"[..])
    );
    assert_eq!(sim.get("/_sim/faults").await["faults"].as_array().unwrap().len(), 1);
    sim.ok("DELETE", "/_sim/faults", Value::Null).await;

    fault(json!({"action": "drop"})).await;
    assert!(sim.raw("GET", &tasks, "").await.is_err());
    fault(json!({"action": {"truncate": 10}})).await;
    assert!(sim.raw("GET", &tasks, "").await.is_err());
    fault(json!({"method": "POST", "action": "drop_after"})).await;
    assert!(sim.raw("POST", &tasks, "{\"fields\":{\"Name\":\"kept\"}}").await.is_err());
    let kept = sim.get(&format!("{tasks}?filterByFormula=Name%3D'kept'")).await;
    assert_eq!(kept["records"].as_array().unwrap().len(), 1);
    fault(json!({"action": {"delay_ms": 30}})).await;
    let start = tokio::time::Instant::now();
    sim.get(&tasks).await;
    assert!(start.elapsed() >= Duration::from_millis(30));
    let (status, _) = sim.send("POST", "/_sim/faults", json!({"action": "nope"})).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn log_stats_and_reset() {
    let sim = start().await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    sim.send("GET", "/v0/nope?a=b", Value::Null).await;
    let log = sim.get("/_sim/requests?limit=5").await;
    let expect = json!({
        "number": 2, "method": "GET", "path": "/v0/nope", "query": "a=b",
        "token": crate::support::FULL, "status": 404,
    });
    assert_eq!(log["requests"][1], expect);
    let stats = sim.get("/_sim/stats").await;
    assert_eq!(stats["requests"], 2);
    assert_eq!(stats["by_status"], json!({"200": 1, "404": 1}));
    sim.ok("POST", "/_sim/reset", Value::Null).await;
    assert_eq!(sim.get("/_sim/stats").await["requests"], 0);
    assert_eq!(sim.get(&format!("{BASE}/Tasks")).await["records"].as_array().unwrap().len(), 5);
    let now = sim.ok("POST", "/_sim/clock", json!({"advance_ms": 86_400_000})).await;
    assert!(now["now"].as_str().unwrap().starts_with("2024-06-02"));
}

#[tokio::test]
async fn no_control_unless_asked() {
    let sim = start_with(SimConfig { control: false, ..config() }).await;
    sim.refused("GET", "/_sim/stats", Value::Null, (404, "NOT_FOUND")).await;
}
