//! The server itself: bounds, proxy form, determinism, the end.

use std::time::Duration;

use airhost_sim::{GuardConfig, SimConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{BASE, FULL, config, start, start_with};

/// Sends raw bytes and reads until the server closes.
async fn exchange(addr: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset by the server ends the answer as well as a close does.
    stream.read_to_end(&mut answer).await.unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn attachments_by_proxy_and_by_path() {
    let sim = start().await;
    let body =
        json!({"contentType": "text/plain", "filename": "a b.txt", "file": "c29t\nZSB0ZXh0\n"});
    let body = body.to_string();
    let path = "/v0/appDemoSales00001/recTask0000000002/Attachments/uploadAttachment";
    let request = format!(
        "POST http://content.airtable.com{path} HTTP/1.1\r\nhost: content.airtable.com\r\n\
         authorization: Bearer {FULL}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(sim.sim.addr(), &request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let (_, files) = answer["fields"].as_object().unwrap().iter().next().unwrap();
    assert_eq!((&files[0]["filename"], &files[0]["size"]), (&json!("a b.txt"), &json!(9)));
    let (status, headers, data) =
        sim.raw("GET", files[0]["url"].as_str().unwrap(), "").await.unwrap();
    assert_eq!((status, &data[..]), (200, &b"some text"[..]));
    assert_eq!(headers["content-type"], "text/plain");

    let again = sim.ok("POST", path, serde_json::from_str(&body).unwrap()).await;
    let (_, files) = again["fields"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(files.as_array().unwrap().len(), 2);
    let wrong = path.replace("Attachments", "Notes");
    let body: Value = serde_json::from_str(&body).unwrap();
    sim.refused("POST", &wrong, body, (422, "INVALID_VALUE_FOR_COLUMN")).await;
    sim.refused("GET", "/_attachments/attNope/x", Value::Null, (404, "NOT_FOUND")).await;
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let guard = GuardConfig { body_bytes: 1000, ..GuardConfig::default() };
    let sim = start_with(SimConfig { guard, ..config() }).await;
    let body = json!({"fields": {"Name": "x".repeat(2000)}});
    sim.refused("POST", &format!("{BASE}/Tasks"), body, (413, "REQUEST_TOO_LARGE")).await;
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let guard = GuardConfig {
        header_timeout: Duration::from_millis(30),
        body_timeout: Duration::from_millis(30),
        ..GuardConfig::default()
    };
    let sim = start_with(SimConfig { guard, ..config() }).await;
    let answer = exchange(sim.sim.addr(), "GET / HTTP/1.1\r\nhost: x\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
    let half =
        "POST /v0/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhalf";
    let answer = exchange(sim.sim.addr(), half).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_seed_repeats_everything() {
    let mut answers = Vec::new();
    for _ in 0..2 {
        let sim = start().await;
        let made = sim.ok("POST", &format!("{BASE}/Tasks"), json!({"fields": {"Name": "x"}})).await;
        let schema = sim.get("/v0/meta/bases/appDemoSales00001/tables").await;
        let contacts = sim.get(&format!("{BASE}/Contacts?maxRecords=3")).await;
        answers.push((made, schema, contacts));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way() {
    let sim = start().await;
    sim.ok("POST", "/_sim/faults", json!({"action": {"delay_ms": 40}})).await;
    let addr = sim.sim.addr();
    let request =
        format!("GET {BASE}/Tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {FULL}\r\n\r\n");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    while sim.sim.control().stats().faults == 0 {
        tokio::task::yield_now().await;
    }
    sim.sim.shutdown().await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn odd_requests_do_no_harm() {
    let sim = start().await;
    let paths = [
        "/v0//",
        "/v0/%00/%ff",
        "/v0/appDemoSales00001/%F0%28%8C%28",
        "/v0/meta",
        "/v0/bases",
        "/v0/appDemoSales00001/Tasks?sort[99999999999][field]=x&fields&=&a",
        "/v0/appDemoSales00001/Tasks?filterByFormula=%F0%28",
        "/v0/meta/bases/x/tables",
        "/v0/appDemoSales00001/Tasks/recTask0000000001/comments/x/y/z",
        "/_attachments",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let (status, body) = sim.send(method, path, json!({"records": [{"id": 1}]})).await;
            assert!(status < 500, "{method} {path}: {status} {body}");
        }
    }
}
