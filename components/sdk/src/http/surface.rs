//! Whose error shape a path answers in.
//!
//! Clients of the compatible surfaces (`/v0`, `/v1`, `/mcp`) parse their own API's errors and
//! nothing else. The host answers its own errors there in the same shapes.

use serde_json::{Value, json};

use super::Response;
use crate::Error;

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

const RETRY: &str = "The service is temporarily unavailable. Please retry shortly.";
const FAILED: &str = "Try again. If the problem persists, contact support.";
const FORBIDDEN: &str = "Invalid permissions, or the requested model was not found. Check that \
    both your user and your token have the required permissions, and that the model names and/or \
    ids are correct.";

impl Surface {
    /// The surface that a path belongs to.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path.strip_prefix('/').unwrap_or(path).split('/').next() {
            Some("v0") => Self::Airtable,
            Some("v1") => Self::OpenAi,
            Some("mcp") => Self::Mcp,
            _ => Self::Problem,
        }
    }

    /// The response for an error in this shape. A code that begins with `airtable.` names the
    /// `type` that Airtable's own error has, as `airtable.INVALID_RECORDS`.
    #[must_use]
    pub fn response(self, error: &Error, instance: &str, correlation_id: &str) -> Response {
        let problem = error.problem(instance, correlation_id);
        let body = match self {
            Self::Problem => return problem,
            Self::Airtable => airtable(error),
            Self::OpenAi => openai(error),
            Self::Mcp => mcp(error, correlation_id),
        };
        let headers = problem.headers.into_iter().filter(|(name, _)| name != "content-type");
        let headers = headers.collect();
        Response { headers, ..Response::of(error.status()) }
            .with("content-type", "application/json")
            .body_is(body.to_string())
    }
}

/// An object `error` with type and message, but a bare string for 404 and a list `errors` for 429.
fn airtable(error: &Error) -> Value {
    let named = error.code().strip_prefix("airtable.");
    let (kind, message) = match error.status() {
        _ if named.is_some() => (named.unwrap_or_default(), error.detail()),
        404 => return json!({"error": "NOT_FOUND"}),
        429 => {
            return json!({"errors": [{
                "error": "RATE_LIMIT_REACHED",
                "message": "Rate limit exceeded. Please try again later",
            }]});
        }
        401 => ("AUTHENTICATION_REQUIRED", "Authentication required"),
        403 => ("INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", FORBIDDEN),
        405 => ("METHOD_NOT_ALLOWED", error.detail()),
        413 => ("REQUEST_TOO_LARGE", error.detail()),
        503 => ("SERVICE_UNAVAILABLE", RETRY),
        504 => ("GATEWAY_TIMEOUT", "The request took too long."),
        500.. => ("SERVER_ERROR", FAILED),
        _ => ("INVALID_REQUEST_UNKNOWN", error.detail()),
    };
    json!({"error": {"type": kind, "message": message}})
}

fn openai(error: &Error) -> Value {
    let (kind, code) = match error.status() {
        401 => ("invalid_request_error", "invalid_api_key"),
        403 => ("invalid_request_error", "permission_denied"),
        404 => ("invalid_request_error", "unknown_url"),
        405 => ("invalid_request_error", "method_not_supported"),
        429 => ("requests", "rate_limit_exceeded"),
        500.. => ("server_error", error.code()),
        _ => ("invalid_request_error", error.code()),
    };
    json!({"error": {"message": shown(error), "type": kind, "param": null, "code": code}})
}

/// JSON-RPC 2.0 asks for a null id where the request's is not known.
fn mcp(error: &Error, correlation_id: &str) -> Value {
    let code = match error.status() {
        429 | 503 | 504 => -32000,
        500.. => -32603,
        _ => -32600,
    };
    json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {
            "code": code,
            "message": shown(error),
            "data": {"code": error.code(), "correlation_id": correlation_id},
        },
    })
}

fn shown(error: &Error) -> &str {
    if error.status() == 500 { FAILED } else { error.detail() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(path: &str, error: &Error) -> Value {
        let response = Surface::of(path).response(error, path, "c-1");
        assert_eq!(response.status, error.status());
        serde_json::from_slice(&response.body).unwrap()
    }

    #[test]
    fn every_surface_has_its_own_shape() {
        let limited = Error::too_many_requests("slower", 1500);
        assert_eq!(body("/api/v1/x", &limited)["status"], 429);
        assert_eq!(body("/v0/app1/T", &limited)["errors"][0]["error"], "RATE_LIMIT_REACHED");
        assert_eq!(body("/v1/models", &limited)["error"]["code"], "rate_limit_exceeded");
        assert_eq!(body("/mcp", &limited)["error"]["code"], -32000);
        let response = Surface::Airtable.response(&limited, "/v0/app1/T", "c-1");
        assert_eq!(response.header("retry-after"), Some("2"));
        assert_eq!(response.header("content-type"), Some("application/json"));
    }

    #[test]
    fn airtable_has_a_word_for_each_status() {
        let rows = [
            (Error::not_found("x"), json!({"error": "NOT_FOUND"})),
            (
                Error::unauthorized("x"),
                json!({"error": {
                    "type": "AUTHENTICATION_REQUIRED", "message": "Authentication required",
                }}),
            ),
            (
                Error::new(422, "airtable.INVALID_RECORDS", "at most 10"),
                json!({"error": {"type": "INVALID_RECORDS", "message": "at most 10"}}),
            ),
        ];
        for (error, expected) in rows {
            assert_eq!(body("/v0/app1/T", &error), expected);
        }
        for (error, kind) in [
            (Error::forbidden("x"), "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"),
            (Error::unavailable("x"), "SERVICE_UNAVAILABLE"),
            (Error::internal("secret"), "SERVER_ERROR"),
            (Error::bad_gateway("x"), "SERVER_ERROR"),
            (Error::bad_request("x"), "INVALID_REQUEST_UNKNOWN"),
        ] {
            let answer = body("/v0/app1/T", &error);
            assert_eq!(answer["error"]["type"], kind);
            assert!(!answer.to_string().contains("secret"));
        }
    }

    #[test]
    fn nothing_of_a_fault_is_told() {
        for path in ["/api", "/v0/a", "/v1/a", "/mcp"] {
            assert!(!body(path, &Error::internal("secret")).to_string().contains("secret"));
        }
    }
}
