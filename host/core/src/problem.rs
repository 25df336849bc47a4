use http::{HeaderValue, header};
use serde::Serialize;

use crate::{Body, CorrelationId, Error, Response};

/// RFC 9457 problem details, with the members every service adds.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    /// Repeats `detail` for clients of the legacy shape.
    message: &'a str,
    code: &'a str,
    instance: &'a str,
    correlation_id: &'a str,
}

/// The response for a call that ended in an error: `application/problem+json` (RFC 9457) with
/// `Retry-After` in whole seconds where the error knows it.
#[must_use]
pub fn problem_response(error: &Error, path: &str, correlation: &CorrelationId) -> Response {
    let status = error.status();
    let problem = Problem {
        kind: format!("urn:airhost:error:{}", error.code),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: &error.message,
        message: &error.message,
        code: &error.code,
        instance: path,
        correlation_id: correlation.as_str(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(after) = error.retry_after {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64),
        );
    }
    response
}

/// Marks the host's answer for a guest that failed before it gave one, among the extensions of the
/// response. To the mesh the call was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFailure;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codes;

    #[tokio::test]
    async fn an_error_becomes_a_problem_with_retry_after() {
        let error = codes::CALL_OVERLOADED
            .error("auth-service is full")
            .retry_after(Duration::from_millis(1200));
        let response = problem_response(&error, "/x", &CorrelationId::generate());
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        let body = response.into_body().collect(4096).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["type"], "urn:airhost:error:call.overloaded");
        assert_eq!(problem["detail"], problem["message"]);
        assert_eq!(problem["instance"], "/x");
    }
}
