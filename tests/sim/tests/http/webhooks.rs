//! Webhooks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use airhost_sim::{NotifyConfig, SimConfig};
use base64::Engine as _;
use parking_lot::Mutex;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{BASE, Fixture, config, start, start_with};

pub(crate) const HOOKS: &str = "/v0/bases/appDemoSales00001/webhooks";

/// A subscriber that answers with the given statuses in turn, then with 200.
pub(crate) async fn subscriber(
    statuses: &[u16],
) -> (String, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    let statuses = Arc::new(Mutex::new(VecDeque::from(statuses.to_vec())));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = statuses.lock().pop_front().unwrap_or(200);
            let notification = answer(&mut stream, status).await;
            // Some tests do not wait for all of them.
            if sender.send(notification).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

/// Reads a notification, its body and its signature, and answers with a status.
async fn answer(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    status: u16,
) -> (String, String) {
    let mut data = Vec::new();
    let mut part = [0; 4096];
    let text = loop {
        let count = stream.read(&mut part).await.unwrap();
        data.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&data).into_owned();
        if count == 0 || text.ends_with("\"}") {
            break text;
        }
    };
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mac = head
        .lines()
        .find_map(|line| line.strip_prefix("x-airtable-content-mac: "))
        .unwrap_or_default();
    (body.to_owned(), mac.to_owned())
}

pub(crate) async fn hook(
    sim: &Fixture,
    url: Option<&str>,
    filters: Value,
    includes: Value,
) -> (String, Value) {
    let spec = json!({"options": {"filters": filters, "includes": includes}});
    let body = json!({"notificationUrl": url, "specification": spec});
    let made = sim.ok("POST", HOOKS, body).await;
    (format!("{HOOKS}/{}", made["id"].as_str().unwrap()), made)
}

/// The body of a notification, whose signature must be right.
pub(crate) fn verified((body, mac): &(String, String), secret: &str) -> Value {
    let secret = base64::engine::general_purpose::STANDARD.decode(secret).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let mac = mac.strip_prefix("hmac-sha256=").unwrap();
    let mac: Vec<u8> = (0..mac.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap())
        .collect();
    ring::hmac::verify(&key, body.as_bytes(), &mac).unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn a_notification_is_signed() {
    let sim = start().await;
    let (url, mut received) = subscriber(&[]).await;
    let filters = json!({"dataTypes": ["tableData"]});
    let (path, made) = hook(&sim, Some(&url), filters, json!({})).await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    let secret = made["macSecretBase64"].as_str().unwrap();
    let body = verified(&received.recv().await.unwrap(), secret);
    assert_eq!(body["base"]["id"], "appDemoSales00001");
    assert_eq!(body["webhook"]["id"], made["id"]);
    let off = sim.raw("POST", &format!("{path}/enableNotifications"), "{\"enable\":false}").await;
    assert_eq!(off.unwrap().0, 200);
    assert_eq!(sim.get(HOOKS).await["webhooks"][0]["areNotificationsEnabled"], false);
}

#[tokio::test]
async fn failed_notifications_are_retried() {
    let notify = NotifyConfig {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
        ca_file: None,
    };
    let sim = start_with(SimConfig { notify, ..config() }).await;
    let (url, mut received) = subscriber(&[500, 503, 200, 500, 500, 500]).await;
    let (path, _) = hook(&sim, Some(&url), json!({"dataTypes": ["tableData"]}), json!({})).await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    for _ in 0..3 {
        received.recv().await.unwrap();
    }
    let state = async |want: &dyn Fn(&Value) -> bool| loop {
        let state = sim.get(HOOKS).await["webhooks"][0].clone();
        if want(&state) {
            break state;
        }
        tokio::task::yield_now().await;
    };
    let good = state(&|hook| hook["lastNotificationResult"]["success"] == true).await;
    assert_eq!(good["lastNotificationResult"]["retryNumber"], 2);
    assert!(good["lastSuccessfulNotificationTime"].is_string());
    sim.create("Tasks", json!({"Name": "y"})).await;
    let bad = state(&|hook| hook["areNotificationsEnabled"] == false).await;
    assert_eq!(bad["lastNotificationResult"]["willBeRetried"], false);
    // The payloads are there all the same.
    let page = sim.get(&format!("{path}/payloads")).await;
    assert_eq!(page["payloads"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn notifications_over_tls() {
    let names = vec!["localhost".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let (sender, mut received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate breaks off here.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                sender.send(answer(&mut stream, 204).await).unwrap();
            }
        }
    });
    let filters = json!({"dataTypes": ["tableData"]});

    let notify = NotifyConfig { ca_file: Some(authority), ..NotifyConfig::default() };
    let sim = start_with(SimConfig { notify, ..config() }).await;
    let (_, made) = hook(&sim, Some(&url), filters.clone(), json!({})).await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    let notification = received.recv().await.unwrap();
    let body = verified(&notification, made["macSecretBase64"].as_str().unwrap());
    assert_eq!(body["webhook"]["id"], made["id"]);

    let notify = NotifyConfig { attempts: 1, ..NotifyConfig::default() };
    let sim = start_with(SimConfig { notify, ..config() }).await;
    hook(&sim, Some(&url), filters, json!({})).await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    let message = loop {
        let result = sim.get(HOOKS).await["webhooks"][0]["lastNotificationResult"].clone();
        if let Some(message) = result["error"]["message"].as_str() {
            break message.to_owned();
        }
        tokio::task::yield_now().await;
    };
    assert!(message.contains("certificate"), "{message}");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn authorities_are_checked_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for content in
        [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let notify = NotifyConfig { ca_file: Some(path.clone()), ..NotifyConfig::default() };
        let error = airhost_sim::Sim::start(SimConfig { notify, ..config() }).await.unwrap_err();
        assert_eq!(error.code(), "certificates", "{content:?}");
    }
}

#[tokio::test]
async fn payloads_by_filter() {
    let sim = start().await;
    let schema = sim.get("/v0/meta/bases/appDemoSales00001/tables").await;
    let field = |table: usize, name: &str| {
        let fields = schema["tables"][table]["fields"].as_array().unwrap();
        let found = fields.iter().find(|field| field["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (name, status) = (field(3, "Name"), field(3, "Status"));
    let data = |more: Value| {
        let mut filters = json!({"dataTypes": ["tableData"]});
        filters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        filters
    };
    let none = json!({});
    let rows = [
        (data(json!({})), 3),
        (data(json!({"recordChangeScope": "tblTasks000000001"})), 3),
        (data(json!({"recordChangeScope": "tblDeals000000001"})), 0),
        (data(json!({"changeTypes": ["add", "remove"]})), 2),
        (data(json!({"watchDataInFieldIds": [status]})), 3),
        (data(json!({"fromSources": ["client"]})), 0),
        (json!({"dataTypes": ["tableFields"]}), 1),
        (json!({"dataTypes": ["tableMetadata"]}), 1),
    ];
    let mut hooks = Vec::new();
    for (filters, count) in rows {
        hooks.push((hook(&sim, None, filters.clone(), none.clone()).await.0, filters, count));
    }
    let includes = json!({"includePreviousCellValues": true, "includeCellValuesInFieldIds": "all"});
    let (full, _) = hook(&sim, None, data(json!({})), includes).await;

    let id = sim.create("Tasks", json!({"Name": "x", "Status": "Todo"})).await;
    let path = format!("{BASE}/Tasks/{id}");
    sim.ok("PATCH", &path, json!({"fields": {"Status": "Done"}})).await;
    sim.ok("DELETE", &path, Value::Null).await;
    let table = "/v0/meta/bases/appDemoSales00001/tables/tblTasks000000001";
    sim.ok("POST", &format!("{table}/fields"), json!({"name": "N", "type": "number"})).await;
    sim.ok("PATCH", table, json!({"description": "d"})).await;
    for (path, filters, count) in hooks {
        let page = sim.get(&format!("{path}/payloads")).await;
        assert_eq!(page["payloads"].as_array().unwrap().len(), count, "{filters}");
        assert_eq!(page["cursor"], count + 1);
    }
    let first = sim.get(&format!("{full}/payloads?cursor=1&limit=1")).await;
    assert_eq!((&first["cursor"], &first["mightHaveMore"]), (&json!(2), &json!(true)));
    let payload = &first["payloads"][0];
    assert_eq!(payload["payloadFormat"], "v0");
    assert_eq!(payload["actionMetadata"]["source"], "publicApi");
    let cells = &payload["changedTablesById"]["tblTasks000000001"]["createdRecordsById"][&id];
    assert_eq!(cells["cellValuesByFieldId"][&name], "x");
    assert_eq!(cells["cellValuesByFieldId"][&status]["name"], "Todo");
    let second = sim.get(&format!("{full}/payloads?cursor=2")).await;
    let change =
        &second["payloads"][0]["changedTablesById"]["tblTasks000000001"]["changedRecordsById"][&id];
    assert_eq!(change["current"]["cellValuesByFieldId"][&status]["name"], "Done");
    assert_eq!(change["previous"]["cellValuesByFieldId"][&status]["name"], "Todo");
    assert_eq!(change["unchanged"]["cellValuesByFieldId"][&name], "x");
    sim.refused(
        "GET",
        &format!("{full}/payloads?cursor=0"),
        Value::Null,
        (422, "INVALID_REQUEST_UNKNOWN"),
    )
    .await;
}

#[tokio::test]
async fn webhooks_live_seven_days() {
    let sim = start().await;
    let (path, made) = hook(&sim, None, json!({"dataTypes": ["tableData"]}), json!({})).await;
    assert!(made["expirationTime"].as_str().unwrap().starts_with("2024-06-08T00:00:00"));
    let day = Duration::from_secs(86_400);
    sim.sim.control().advance(6 * day);
    let refreshed = sim.ok("POST", &format!("{path}/refresh"), Value::Null).await;
    assert!(refreshed["expirationTime"].as_str().unwrap().starts_with("2024-06-14T00:00:00"));
    sim.sim.control().advance(6 * day);
    assert_eq!(sim.get(HOOKS).await["webhooks"].as_array().unwrap().len(), 1);
    sim.sim.control().advance(day);
    sim.refused("POST", &format!("{path}/refresh"), Value::Null, (404, "NOT_FOUND")).await;
}

#[tokio::test]
async fn specifications_are_checked() {
    let sim = start().await;
    for filters in [
        json!({}),
        json!({"dataTypes": []}),
        json!({"dataTypes": ["nope"]}),
        json!({"dataTypes": ["tableData"], "changeTypes": ["nope"]}),
        json!({"dataTypes": ["tableData"], "watchDataInFieldIds": "all"}),
        json!({"dataTypes": ["tableData"], "deep": (0..40).fold(json!(1), |deep, _| json!([deep]))}),
    ] {
        let body = json!({"specification": {"options": {"filters": filters}}});
        sim.refused("POST", HOOKS, body, (422, "INVALID_WEBHOOK_SPECIFICATION")).await;
    }
    for _ in 0..10 {
        hook(&sim, None, json!({"dataTypes": ["tableData"]}), json!({})).await;
    }
    let body = json!({"specification": {"options": {"filters": {"dataTypes": ["tableData"]}}}});
    sim.refused("POST", HOOKS, body, (422, "TOO_MANY_WEBHOOKS_IN_BASE")).await;
}
