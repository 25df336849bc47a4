//! The control API under `/_sim/`: faults, the request log, counts, limits, time, reset.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use jiff::SignedDuration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::Call;
use crate::app::App;
use crate::clock::iso;
use crate::config::LimitConfig;
use crate::faults::Fault;
use crate::reply::{ApiError, ApiResult, Reply};

/// The body of `POST /_sim/limits`; what is left out is off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    #[serde(default)]
    per_base: Option<u32>,
    #[serde(default)]
    per_token: Option<u32>,
    #[serde(default)]
    pause_ms: Option<u64>,
    #[serde(default)]
    retry_after: bool,
}

/// The body of `POST /_sim/clock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

pub(super) fn answer(
    app: &Arc<App>,
    method: &Method,
    path: &str,
    query: &str,
    body: &Bytes,
) -> ApiResult<Reply> {
    let call = Call::new(method.clone(), path, query, None, body.clone());
    let rest: Vec<&str> = call.segments.iter().skip(1).map(String::as_str).collect();
    match (method.as_str(), rest.as_slice()) {
        ("GET", ["faults"]) => Ok(Reply::Json(json!({"faults": app.observer.rules()}))),
        ("POST", ["faults"]) => {
            let fault: Fault = parse(body)?;
            if !app.observer.add(fault) {
                return Err(ApiError::request("There are too many faults"));
            }
            Ok(Reply::Json(json!({"faults": app.observer.rules()})))
        }
        ("DELETE", ["faults"]) => {
            app.observer.clear_rules();
            Ok(Reply::Json(json!({"faults": []})))
        }
        ("GET", ["requests"]) => {
            let limit = call.param("limit").and_then(|text| text.parse().ok()).unwrap_or(1000);
            Ok(Reply::Json(json!({"requests": app.observer.log(limit)})))
        }
        ("DELETE", ["requests"]) => {
            app.observer.clear_log();
            Ok(Reply::Json(json!({"requests": []})))
        }
        ("GET", ["stats"]) => Ok(Reply::Json(json!(app.observer.stats()))),
        ("POST", ["limits"]) => {
            let limits: Limits = parse(body)?;
            app.limiter.configure(LimitConfig {
                per_base: limits.per_base,
                per_token: limits.per_token,
                pause: Duration::from_millis(limits.pause_ms.unwrap_or(30_000)),
                retry_after: limits.retry_after,
            });
            Ok(Reply::Json(json!({"ok": true})))
        }
        ("POST", ["clock"]) => {
            let advance: Advance = parse(body)?;
            let millis =
                i64::try_from(advance.advance_ms).map_err(|_| ApiError::bad_parameters())?;
            app.clock.advance(SignedDuration::from_millis(millis));
            Ok(Reply::Json(json!({"now": iso(app.now())})))
        }
        ("POST", ["reset"]) => {
            app.reset().map_err(|error| ApiError::new(500, "RESET_FAILED", error.to_string()))?;
            Ok(Reply::Json(json!({"ok": true})))
        }
        _ => Err(ApiError::not_found()),
    }
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> ApiResult<T> {
    serde_json::from_slice(body).map_err(|error| ApiError::request(error.to_string()))
}
