//! Answers as HTTP responses.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::{Body, full};
use crate::reply::{ApiError, ApiResult, Reply};

fn json_response(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The response to an API request.
pub(super) fn reply(answer: ApiResult) -> Response<Body> {
    match answer {
        Ok(Reply::Json(body)) => json_response(200, &body),
        Ok(Reply::Empty) => Response::new(full(Bytes::new())),
        Ok(Reply::File { content_type, data }) => {
            let mut response = Response::new(full(data));
            let kind = HeaderValue::from_str(&content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => json_response(error.status, &error.body),
    }
}

/// The response to a request beyond the rate limits.
pub(super) fn limited(retry_after: Option<Duration>) -> Response<Body> {
    let error = ApiError::rate_limited();
    let mut response = json_response(error.status, &error.body);
    if let Some(pause) = retry_after {
        let seconds = pause.as_secs_f64().ceil() as u64;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The response of a fault.
pub(super) fn fault(
    code: u16,
    body: Option<Value>,
    headers: &BTreeMap<String, String>,
) -> Response<Body> {
    let body = body.unwrap_or_else(|| {
        if code == 429 {
            return ApiError::rate_limited().body;
        }
        json!({"error": {"type": "SIMULATED_FAULT", "message": format!("Status {code} on demand")}})
    });
    let code = if StatusCode::from_u16(code).is_ok_and(|c| code >= 200 && c.as_u16() < 600) {
        code
    } else {
        500
    };
    let mut response = json_response(code, &body);
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Announces the whole length, sends `bytes` of the body, then breaks the connection.
pub(super) async fn truncated(
    response: Response<Body>,
    bytes: usize,
) -> io::Result<Response<Body>> {
    let (mut parts, body) = response.into_parts();
    let whole = body.collect().await?.to_bytes();
    if bytes >= whole.len() {
        return Ok(Response::from_parts(parts, full(whole)));
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let frames =
        [Ok(Frame::data(whole.slice(..bytes))), Err(io::Error::other("the body is cut on demand"))];
    let body = StreamBody::new(stream::iter(frames));
    Ok(Response::from_parts(parts, BodyExt::boxed(body)))
}
