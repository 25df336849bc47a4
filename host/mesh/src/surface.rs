//! The shapes in which the host's own errors are answered.
//!
//! The compatible surfaces (`/v0`, `/v1`, `/mcp`) are used by clients that parse their own API's
//! errors and nothing else, so what the host refuses there (no route, too large, overload, time
//! out, rate) must look as the real API would have said it.

use airhost_core::{Body, CorrelationId, Error, Response, problem_response};
use airhost_telemetry::ResponseFlag;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::{
    flags::{details, response_flag},
    outcome::Outcome,
};

/// Whose error shape a path answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// Airtable's REST API: paths under `/v0`.
    Airtable,
    /// OpenAI's API: paths under `/v1`.
    OpenAi,
    /// The Model Context Protocol: `/mcp`, JSON-RPC 2.0.
    Mcp,
}

impl Surface {
    /// The surface that a path belongs to.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let first = path.strip_prefix('/').unwrap_or(path);
        match first.split('/').next() {
            Some("v0") => Self::Airtable,
            Some("v1") => Self::OpenAi,
            Some("mcp") => Self::Mcp,
            _ => Self::Problem,
        }
    }

    /// The response for an error, in this surface's shape, with `Retry-After` where the error
    /// knows it and an [`Outcome`] as an extension.
    #[must_use]
    pub fn response(self, error: &Error, path: &str, correlation: &CorrelationId) -> Response {
        let status = error.status();
        let body = match self {
            Self::Problem => {
                let mut response = problem_response(error, path, correlation);
                finish(&mut response, error);
                return response;
            }
            Self::Airtable => airtable(status, error),
            Self::OpenAi => openai(status, error),
            Self::Mcp => mcp(status, error, correlation),
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = error.retry_after {
            let seconds = after.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        finish(&mut response, error);
        response
    }
}

/// What every surface adds: `Allow` for a 405, Envoy's word for overload, the flags.
fn finish(response: &mut Response, error: &Error) {
    if let Some((_, methods)) = error.attrs.iter().find(|(name, _)| name == ALLOW_ATTR)
        && let Ok(value) = HeaderValue::from_str(methods)
    {
        response.headers_mut().insert(header::ALLOW, value);
    }
    let flag = response_flag(error);
    if flag == ResponseFlag::Overflow {
        response.headers_mut().insert("x-envoy-overloaded", HeaderValue::from_static("true"));
    }
    response.extensions_mut().insert(Outcome { flag, route: None, details: Some(details(error)) });
}

/// The detail of `request.method` that lists what the route takes.
pub(crate) const ALLOW_ATTR: &str = "allow";

/// Airtable's shapes: an object `error` with type and message, but a bare string for 404 and a
/// list `errors` for 429. Clients need a JSON object in every case.
fn airtable(status: StatusCode, error: &Error) -> serde_json::Value {
    let (kind, message) = match status {
        StatusCode::NOT_FOUND => return json!({ "error": "NOT_FOUND" }),
        StatusCode::TOO_MANY_REQUESTS => {
            return json!({ "errors": [{
                "error": "RATE_LIMIT_REACHED",
                "message": "Rate limit exceeded. Please try again later",
            }] });
        }
        StatusCode::UNAUTHORIZED => ("AUTHENTICATION_REQUIRED", "Authentication required"),
        StatusCode::FORBIDDEN => (
            "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND",
            "Invalid permissions, or the requested model was not found. Check that both your user \
             and your token have the required permissions, and that the model names and/or ids \
             are correct.",
        ),
        StatusCode::METHOD_NOT_ALLOWED => ("METHOD_NOT_ALLOWED", error.message.as_str()),
        StatusCode::PAYLOAD_TOO_LARGE => ("REQUEST_TOO_LARGE", error.message.as_str()),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("SERVICE_UNAVAILABLE", "The service is temporarily unavailable. Please retry shortly.")
        }
        StatusCode::GATEWAY_TIMEOUT => ("GATEWAY_TIMEOUT", "The request took too long."),
        status if status.is_server_error() => {
            ("SERVER_ERROR", "Try again. If the problem persists, contact support.")
        }
        _ => ("INVALID_REQUEST_UNKNOWN", error.message.as_str()),
    };
    json!({ "error": { "type": kind, "message": message } })
}

fn openai(status: StatusCode, error: &Error) -> serde_json::Value {
    let (kind, code) = match status {
        StatusCode::UNAUTHORIZED => ("invalid_request_error", "invalid_api_key"),
        StatusCode::NOT_FOUND => ("invalid_request_error", "unknown_url"),
        StatusCode::METHOD_NOT_ALLOWED => ("invalid_request_error", "method_not_supported"),
        StatusCode::FORBIDDEN => ("invalid_request_error", "permission_denied"),
        StatusCode::TOO_MANY_REQUESTS => ("requests", "rate_limit_exceeded"),
        status if status.is_server_error() => ("server_error", error.code.as_ref()),
        _ => ("invalid_request_error", error.code.as_ref()),
    };
    json!({ "error": { "message": error.message, "type": kind, "param": null, "code": code } })
}

/// The body was not read, so the request's id is unknown: JSON-RPC 2.0 asks for null then.
fn mcp(status: StatusCode, error: &Error, correlation: &CorrelationId) -> serde_json::Value {
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => -32000,
        status if status.is_server_error() => -32603,
        _ => -32600,
    };
    json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {
            "code": code,
            "message": error.message,
            "data": { "code": error.code, "correlation_id": correlation.as_str() },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use airhost_core::codes;

    use super::*;

    #[test]
    fn the_first_segment_decides() {
        for (path, surface) in [
            ("/v0/app1/T", Surface::Airtable),
            ("/v0", Surface::Airtable),
            ("/v01", Surface::Problem),
            ("/v1/chat/completions", Surface::OpenAi),
            ("/mcp", Surface::Mcp),
            ("/api/v1/users", Surface::Problem),
            ("", Surface::Problem),
        ] {
            assert_eq!(Surface::of(path), surface, "{path}");
        }
    }

    async fn body(path: &str, error: Error) -> (u16, serde_json::Value) {
        let response = Surface::of(path).response(&error, path, &CorrelationId::generate());
        let status = response.status().as_u16();
        let bytes = response.into_body().collect(1 << 16).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn airtable_clients_find_their_own_errors() {
        let cases = [
            (codes::REQUEST_NO_ROUTE.error("x"), 404, json!({ "error": "NOT_FOUND" })),
            (
                codes::PRINCIPAL_EXPIRED.error("x"),
                401,
                json!({ "error": { "type": "AUTHENTICATION_REQUIRED", "message": "Authentication required" } }),
            ),
            (
                codes::BODY_TOO_LARGE.error("too large"),
                413,
                json!({ "error": { "type": "REQUEST_TOO_LARGE", "message": "too large" } }),
            ),
        ];
        for (error, status, expected) in cases {
            assert_eq!(body("/v0/app1/T", error).await, (status, expected));
        }
        let (status, limited) = body("/v0/app1/T", codes::CALL_PACED.error("wait")).await;
        assert_eq!((status, &limited["errors"][0]["error"]), (429, &json!("RATE_LIMIT_REACHED")));
        for error in [
            codes::CALL_OVERLOADED.error("x"),
            codes::DEADLINE_EXCEEDED.error("x"),
            codes::INTERNAL.error("x"),
        ] {
            let (_, answer) = body("/v0/app1/T", error).await;
            assert!(answer["error"]["type"].is_string(), "{answer}");
        }
    }

    #[tokio::test]
    async fn openai_and_mcp_clients_too() {
        let (status, answer) = body("/v1/models", codes::CALL_PACED.error("wait")).await;
        assert_eq!((status, &answer["error"]["code"]), (429, &json!("rate_limit_exceeded")));
        let (status, answer) = body("/mcp", codes::INTERNAL.error("x")).await;
        assert_eq!(
            (status, &answer["error"]["code"], &answer["id"]),
            (500, &json!(-32603), &json!(null))
        );
    }

    #[test]
    fn headers_say_when_and_what_else() {
        let error = codes::CALL_OVERLOADED.error("full").retry_after(Duration::from_millis(1100));
        let response = Surface::Airtable.response(&error, "/v0/a", &CorrelationId::generate());
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["x-envoy-overloaded"], "true");
        let error = codes::REQUEST_METHOD.error("no").with(ALLOW_ATTR, "GET, HEAD");
        let response = Surface::Problem.response(&error, "/x", &CorrelationId::generate());
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("GET, HEAD"))
        );
    }
}
