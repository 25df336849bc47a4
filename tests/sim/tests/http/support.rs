//! A simulator and a client for it.

use airhost_sim::{ClockSource, LimitConfig, Sim, SimConfig};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

pub(crate) const FULL: &str = "patDemoFull000001.secret";
pub(crate) const READ: &str = "patDemoRead000003.secret";
pub(crate) const BASE: &str = "/v0/appDemoSales00001";

pub(crate) struct Fixture {
    pub(crate) sim: Sim,
    pub(crate) token: &'static str,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// The demo base without limits, with the control API, a seed and a clock that stands.
pub(crate) fn config() -> SimConfig {
    SimConfig {
        limits: LimitConfig::off(),
        control: true,
        seed: Some(1),
        clock: ClockSource::Fixed("2024-06-01T00:00:00Z".parse().unwrap()),
        ..SimConfig::default()
    }
}

pub(crate) async fn start() -> Fixture {
    start_with(config()).await
}

pub(crate) async fn start_with(config: SimConfig) -> Fixture {
    let sim = Sim::start(config).await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    Fixture { sim, token: FULL, client }
}

impl Fixture {
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<(u16, HeaderMap, Bytes), String> {
        let url = if path.starts_with("http") { path.to_owned() } else { self.sim.url() + path };
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(url)
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(body.into()))
            .unwrap();
        let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((parts.status.as_u16(), parts.headers, body))
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, _, body) = self.raw(method, path, text).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The answer to a request that must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }

    /// Asserts a refusal by its status and its type.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Value, expect: (u16, &str)) {
        let (status, answer) = self.send(method, path, body).await;
        let kind = answer["error"]["type"].as_str().or(answer["error"].as_str()).unwrap_or("");
        assert_eq!((status, kind), expect, "{method} {path}: {answer}");
    }

    /// Creates one record and returns its id.
    pub(crate) async fn create(&self, table: &str, fields: Value) -> String {
        let made = self.ok("POST", &format!("{BASE}/{table}"), json!({"fields": fields})).await;
        made["id"].as_str().unwrap().to_owned()
    }
}

/// The values of one field over the records of an answer.
pub(crate) fn column(answer: &Value, field: &str) -> Vec<Value> {
    let records = answer["records"].as_array().unwrap();
    records.iter().map(|record| record["fields"][field].clone()).collect()
}
