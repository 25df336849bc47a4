//! Whether a try that failed is made again, and how long to wait before it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::settings::{GRPC_CANCELLED, GRPC_UNAVAILABLE, RetryOn, RetryPolicy};

/// Set by a rate limiter in front of the destination (Envoy: `x-envoy-ratelimited`).
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// A client's promise that doing a write twice is doing it once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// gRPC's codes by the names that `retryOn` and faults write them with.
const GRPC: [(&str, u8); 17] = [
    ("OK", 0),
    ("CANCELLED", GRPC_CANCELLED),
    ("UNKNOWN", 2),
    ("INVALID_ARGUMENT", 3),
    ("DEADLINE_EXCEEDED", 4),
    ("NOT_FOUND", 5),
    ("ALREADY_EXISTS", 6),
    ("PERMISSION_DENIED", 7),
    ("RESOURCE_EXHAUSTED", 8),
    ("FAILED_PRECONDITION", 9),
    ("ABORTED", 10),
    ("OUT_OF_RANGE", 11),
    ("UNIMPLEMENTED", 12),
    ("INTERNAL", 13),
    ("UNAVAILABLE", GRPC_UNAVAILABLE),
    ("DATA_LOSS", 15),
    ("UNAUTHENTICATED", 16),
];

/// The code of a gRPC status by its name in capitals.
pub(super) fn grpc_code(name: &str) -> Option<u8> {
    GRPC.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

/// How one try went.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The destination answered; trailers are not looked at.
    Answer {
        /// Its status, which no failure of the mesh stands behind.
        status: StatusCode,
        /// The head of the answer.
        headers: &'a HeaderMap,
    },
    /// The connection could not be made.
    ConnectFailure,
    /// The connection was lost, or a guest failed, before the head of an answer.
    Reset {
        /// Whether any of the request was sent.
        request_sent: bool,
    },
    /// HTTP/2 `REFUSED_STREAM`: the destination says that it did nothing.
    RefusedStream,
    /// No head in the time of one try.
    PerTryTimeout,
    /// A limit of this node refused the call before it was made. Never tried again: the limit is
    /// there to take load away.
    Overflow,
}

impl Outcome<'_> {
    /// Whether the destination has surely not begun to act on the request.
    fn never_arrived(&self) -> bool {
        matches!(
            self,
            Self::ConnectFailure | Self::RefusedStream | Self::Reset { request_sent: false }
        )
    }
}

impl RetryPolicy {
    /// Whether what happened is something that the policy tries again, if tries are left and the
    /// method allows it ([`Self::may_retry`]). Envoy: `RetryStateImpl::wouldRetryFromHeaders` and
    /// `wouldRetryFromReset`.
    #[must_use]
    pub fn should_retry(&self, outcome: &Outcome<'_>) -> bool {
        if self.attempts == 0 {
            return false;
        }
        let on = &self.on;
        let unanswered = on.server_error || on.gateway_error || on.reset;
        match *outcome {
            Outcome::Answer { headers, .. } if headers.contains_key(RATE_LIMITED) => {
                on.rate_limited
            }
            Outcome::Answer { status, headers } => {
                on.has_status(status) || on.has_grpc_status(headers)
            }
            Outcome::ConnectFailure => unanswered || on.connect_failure || on.reset_before_request,
            Outcome::Reset { request_sent } => {
                unanswered || (on.reset_before_request && !request_sent)
            }
            Outcome::RefusedStream => unanswered || on.refused_stream,
            Outcome::PerTryTimeout => unanswered,
            Outcome::Overflow => false,
        }
    }

    /// Whether a try with this method and these headers is made again after this outcome.
    ///
    /// POST and PATCH change something each time, so that what may have been acted upon is tried
    /// again only if the request carries an `Idempotency-Key`. What never arrived is always tried
    /// again, and so is what gRPC's own status or a rate limiter declares undone.
    #[must_use]
    pub fn may_retry(&self, method: &Method, request: &HeaderMap, outcome: &Outcome<'_>) -> bool {
        self.should_retry(outcome) && self.may_retry_writes(method, request, outcome)
    }

    /// The half of [`Self::may_retry`] that looks at the request: false for a write that may have
    /// been acted upon and has no `Idempotency-Key`.
    #[must_use]
    pub fn may_retry_writes(
        &self,
        method: &Method,
        request: &HeaderMap,
        outcome: &Outcome<'_>,
    ) -> bool {
        if (*method != Method::POST && *method != Method::PATCH)
            || request.contains_key(IDEMPOTENCY_KEY)
            || outcome.never_arrived()
        {
            return true;
        }
        match *outcome {
            Outcome::Answer { status, headers } => {
                headers.contains_key(RATE_LIMITED)
                    || (!self.on.has_status(status) && self.on.has_grpc_status(headers))
            }
            _ => false,
        }
    }

    /// How long to wait before a retry: the first is 1, `roll` is a random number in `[0, 1)`.
    /// Uniform in `[0, (2^retry - 1) * B)`, where that bound is at most 10 B.
    #[must_use]
    pub fn back_off(&self, retry: u32, roll: f64) -> Duration {
        let times = 1_u32.checked_shl(retry).map_or(10, |power| (power - 1).min(10));
        let roll = if roll.is_finite() { roll.clamp(0.0, 1.0) } else { 1.0 };
        self.back_off.saturating_mul(times).mul_f64(roll)
    }
}

impl RetryOn {
    fn has_status(&self, status: StatusCode) -> bool {
        (self.server_error && status.is_server_error())
            || (self.gateway_error && matches!(status.as_u16(), 502..=504))
            || (self.retriable_4xx && status == StatusCode::CONFLICT)
            || self.statuses.contains(&status)
    }

    fn has_grpc_status(&self, headers: &HeaderMap) -> bool {
        !self.grpc.is_empty()
            && headers
                .get(GRPC_STATUS)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .is_some_and(|code: u8| self.grpc.contains(&code))
    }

    /// Reads `retryOn`. The error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut on = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "5xx" => on.server_error = true,
                "gateway-error" => on.gateway_error = true,
                "reset" => on.reset = true,
                "reset-before-request" => on.reset_before_request = true,
                "connect-failure" => on.connect_failure = true,
                "refused-stream" => on.refused_stream = true,
                "retriable-4xx" => on.retriable_4xx = true,
                "envoy-ratelimited" => on.rate_limited = true,
                // Says that the listed statuses count, which they do anyway.
                "retriable-status-codes" => {}
                "cancelled" | "deadline-exceeded" | "internal" | "resource-exhausted"
                | "unavailable" => {
                    let name = word.to_ascii_uppercase().replace('-', "_");
                    on.grpc.extend(grpc_code(&name));
                }
                "retriable-headers" => {
                    return Err("`retriable-headers` is not supported: a VirtualService has no field that names the headers".to_owned());
                }
                "http3-post-connect-failure" => {
                    return Err("`http3-post-connect-failure` is not supported: nothing is called over HTTP/3".to_owned());
                }
                _ => {
                    on.statuses.insert(known_status(word).ok_or_else(|| unknown_word(word))?);
                }
            }
        }
        Ok(on)
    }
}

/// A status that has a name (Istio: `http.StatusText`).
fn known_status(word: &str) -> Option<StatusCode> {
    let digits = word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit());
    let status = StatusCode::from_bytes(word.as_bytes()).ok().filter(|_| digits)?;
    status.canonical_reason().map(|_| status)
}

fn unknown_word(word: &str) -> String {
    format!(
        "`{word}` is no condition of `retryOn`; use 5xx, gateway-error, reset, reset-before-request, connect-failure, refused-stream, retriable-4xx, envoy-ratelimited, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable, or statuses as 503"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_ten_times_the_base() {
        let policy = RetryPolicy::default();
        for (retry, roll, expect) in [
            (1, 0.0, 0),
            (1, 1.0, 25_000),
            (1, 0.5, 12_500),
            (2, 1.0, 75_000),
            (3, 1.0, 175_000),
            (4, 1.0, 250_000),
            (5, 1.0, 250_000),
            (31, 1.0, 250_000),
            (32, 1.0, 250_000),
            (u32::MAX, 0.5, 125_000),
            (0, 1.0, 0),
            (2, f64::NAN, 75_000),
            (2, -1.0, 0),
            (2, 7.0, 75_000),
        ] {
            let wait = policy.back_off(retry, roll);
            assert_eq!(wait, Duration::from_micros(expect), "{retry} {roll}");
        }
        let base = Duration::from_secs(3);
        let policy = RetryPolicy { back_off: base, ..policy };
        assert_eq!(policy.back_off(9, 1.0), Duration::from_secs(30));
    }

    #[test]
    fn a_read_is_always_one_that_may_be_repeated() {
        let policy = RetryPolicy::default();
        let none = HeaderMap::new();
        for (method, expect) in [
            (Method::GET, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
        ] {
            let outcome = Outcome::Answer { status: StatusCode::BAD_GATEWAY, headers: &none };
            assert_eq!(policy.may_retry_writes(&method, &none, &outcome), expect, "{method}");
            let outcome = Outcome::RefusedStream;
            assert!(policy.may_retry_writes(&method, &none, &outcome), "{method}");
        }
    }
}
