//! One error type for handlers: what a client gets to read (RFC 9457) and what a job or consumer
//! decides by.

use std::{borrow::Cow, fmt};

use serde::Serialize;

use crate::{bindings::pyairtable::types::errors as wit, http::Response};

pub use crate::bindings::pyairtable::types::errors::ErrorClass;

/// What handlers and the SDK's functions answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure with its HTTP status, stable code and a sentence for the client.
///
/// Failures of the platform convert by `?`. Those that are the service's own fault (a wrong
/// statement, a grant that is missing) become a 500 that tells the client nothing and the log all.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    status: u16,
    class: ErrorClass,
    code: Cow<'static, str>,
    detail: String,
    retry_after_ms: Option<u64>,
    attrs: Vec<(String, String)>,
    violations: Vec<Violation>,
    headers: Vec<(String, String)>,
}

/// One fault of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into the body; `/query/…`, `/path/…` and `/header/…` for the rest
    /// of the request.
    pub pointer: String,
    /// What is wrong, in the words of a user.
    pub message: String,
}

impl Violation {
    /// A fault at a pointer.
    #[must_use]
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl Error {
    /// An error of any status from 400 to 599; the class follows from the status.
    #[must_use]
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            class: class_of(status),
            code: code.into(),
            detail: detail.into(),
            retry_after_ms: None,
            attrs: Vec::new(),
            violations: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "request.invalid", detail)
    }

    /// 401: nobody proved who they are, or not well enough.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "request.unauthenticated", detail).header("www-authenticate", "Bearer")
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "request.forbidden", detail)
    }

    /// 404: it does not exist, or belongs to another tenant.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "resource.not-found", detail)
    }

    /// 409: the state does not allow it.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "resource.conflict", detail)
    }

    /// 412: the `If-Match` of the request is stale.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::new(412, "resource.changed", "the resource was changed since it was read")
    }

    /// 422 with one fault.
    #[must_use]
    pub fn violation(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::violations(vec![Violation::new(pointer, message)])
    }

    /// 422 with all faults of an input.
    #[must_use]
    pub fn violations(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.message),
            more => format!("{} faults in the request", more.len()),
        };
        let mut error = Self::new(422, "request.validation", detail);
        error.0.violations = violations;
        error
    }

    /// 429 with the time after which it may succeed.
    #[must_use]
    pub fn too_many_requests(detail: impl Into<String>, retry_after_ms: u64) -> Self {
        Self::new(429, "request.limited", detail).retry_after_ms(retry_after_ms)
    }

    /// 502: a service or host behind this one answered what cannot be used.
    #[must_use]
    pub fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::new(502, "upstream.answer", detail)
    }

    /// 503: what stands behind the service does not answer now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, "service.unavailable", detail)
    }

    /// 500: a fault of the service. The detail is logged, the client does not see it.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "service.internal", detail)
    }

    /// Replaces the code (`<area>.<reason>`).
    #[must_use]
    pub fn code_is(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = code.into();
        self
    }

    /// Says when the same request may succeed (`Retry-After`, in whole seconds).
    #[must_use]
    pub fn retry_after_ms(mut self, after: u64) -> Self {
        self.0.retry_after_ms = Some(after);
        self
    }

    /// Adds a header field to the response.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The stable code, as `sql.unique-violation`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The class, which says what a caller can do.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// An open detail of a platform error, as `constraint`.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.0.attrs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The faults of the input.
    #[must_use]
    pub fn faults(&self) -> &[Violation] {
        &self.0.violations
    }

    /// When the same call may succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.0.retry_after_ms
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.class,
            ErrorClass::Unavailable
                | ErrorClass::Deadline
                | ErrorClass::Exhausted
                | ErrorClass::Cancelled
                | ErrorClass::Internal
        ) || matches!(self.code(), "sql.busy" | "kv.cas-mismatch" | "store.wrong-version")
    }

    /// Another error in place of one code: `map_err(|e| e.when("sql.unique-violation", || …))`.
    #[must_use]
    pub fn when(self, code: &str, other: impl FnOnce() -> Self) -> Self {
        if self.code() == code { other() } else { self }
    }

    /// The problem response (RFC 9457) for the request `instance`.
    #[must_use]
    pub fn problem(&self, instance: &str, correlation_id: &str) -> Response {
        let inner = &*self.0;
        let hidden = inner.status == 500;
        let detail = if hidden {
            "the service failed; its log has the correlation id"
        } else {
            inner.detail.as_str()
        };
        let problem = Problem {
            kind: format!("urn:airhost:error:{}", inner.code),
            title: title_of(inner.status),
            status: inner.status,
            detail,
            message: detail,
            code: &inner.code,
            instance,
            correlation_id,
            errors: &inner.violations,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
        if let Some(after) = inner.retry_after_ms {
            headers.push(("retry-after".to_owned(), after.div_ceil(1000).max(1).to_string()));
        }
        headers.extend(inner.headers.iter().cloned());
        Response { status: inner.status, headers, body }
    }

    /// As the contracts say it, for exports that answer one.
    #[doc(hidden)]
    #[must_use]
    pub fn into_wit(self) -> wit::Error {
        let inner = *self.0;
        wit::Error {
            class: inner.class,
            code: inner.code.into_owned(),
            message: inner.detail,
            retry_after_ms: inner.retry_after_ms,
            attrs: inner.attrs,
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    message: &'a str,
    code: &'a str,
    instance: &'a str,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Violation],
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        let status = status_of(&error);
        Self(Box::new(Inner {
            status,
            class: error.class,
            code: error.code.into(),
            detail: error.message,
            retry_after_ms: error.retry_after_ms,
            attrs: error.attrs,
            violations: Vec::new(),
            headers: Vec::new(),
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.detail, self.0.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// What a failed import means to the client of the service.
fn status_of(error: &wit::Error) -> u16 {
    match error.code.as_str() {
        "body.too-large" | "idempotency.too-large" => 413,
        "body.truncated" | "request.invalid" => 400,
        "blob.precondition" => 412,
        "compression.invalid"
        | "compression.too-large"
        | "mail.address"
        | "mail.too-large"
        | "password.length" => 422,
        "sql.full" | "kv.full" => 507,
        "call.depth" => 508,
        "call.reset" | "call.unreachable" | "call.unknown-host" => 502,
        "sql.result-too-large" | "tx.open" | "tx.closed" | "tx.read-only" | "response.started" => {
            500
        }
        code if code.starts_with("principal.") => {
            if code == "principal.denied" {
                500
            } else {
                401
            }
        }
        _ => match error.class {
            ErrorClass::NotFound => 404,
            ErrorClass::Conflict => 409,
            ErrorClass::Exhausted => 429,
            ErrorClass::Unavailable => 503,
            ErrorClass::Deadline => 504,
            ErrorClass::Cancelled => 499,
            ErrorClass::Unsupported => 501,
            // A wrong statement, a key too long, a grant that is missing: the service's own fault.
            ErrorClass::Invalid | ErrorClass::Denied | ErrorClass::Internal => 500,
        },
    }
}

fn class_of(status: u16) -> ErrorClass {
    match status {
        401 | 403 => ErrorClass::Denied,
        404 | 410 => ErrorClass::NotFound,
        409 | 412 | 423 | 428 => ErrorClass::Conflict,
        429 | 507 => ErrorClass::Exhausted,
        501 => ErrorClass::Unsupported,
        502 | 503 => ErrorClass::Unavailable,
        408 | 504 => ErrorClass::Deadline,
        400..=499 => ErrorClass::Invalid,
        _ => ErrorClass::Internal,
    }
}

/// The reason phrase of a status (IANA registry).
pub(crate) fn title_of(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        423 => "Locked",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(class: ErrorClass, code: &str) -> Error {
        wit::Error {
            class,
            code: code.to_owned(),
            message: "secret sentence".to_owned(),
            retry_after_ms: Some(1200),
            attrs: vec![],
        }
        .into()
    }

    #[test]
    fn platform_errors_blame_whoever_is_at_fault() {
        let rows = [
            (ErrorClass::Conflict, "sql.unique-violation", 409),
            (ErrorClass::Invalid, "sql.syntax", 500),
            (ErrorClass::Denied, "call.denied", 500),
            (ErrorClass::Unavailable, "sql.unavailable", 503),
            (ErrorClass::Deadline, "deadline.exceeded", 504),
            (ErrorClass::Denied, "principal.expired", 401),
            (ErrorClass::Invalid, "body.too-large", 413),
            (ErrorClass::NotFound, "blob.not-found", 404),
        ];
        for (class, code, status) in rows {
            assert_eq!(platform(class, code).status(), status, "{code}");
        }
    }

    #[test]
    fn a_500_tells_the_client_nothing_but_the_correlation_id() {
        let response = platform(ErrorClass::Invalid, "sql.syntax").problem("/x", "c-1");
        let text = String::from_utf8(response.body).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("\"correlation_id\":\"c-1\""), "{text}");
    }

    #[test]
    fn a_problem_lists_pointers_and_repeats_detail_as_message() {
        let response = Error::violation("/name", "must not be empty").problem("/x", "c");
        let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(problem["status"], 422);
        assert_eq!(problem["errors"][0]["pointer"], "/name");
        assert_eq!(problem["detail"], problem["message"]);
        let response = platform(ErrorClass::Unavailable, "sql.busy").problem("/x", "c");
        assert!(response.headers.contains(&("retry-after".into(), "2".into())));
    }
}
