use std::borrow::Cow;

use airhost_core::{Error, codes};
use airhost_telemetry::ResponseFlag;

/// The detail (`flag` = `CB`) that tells an open breaker from a refused connection.
pub(crate) const BREAKER_ATTR: (&str, &str) = ("flag", "CB");

/// The detail (`flag` = `NC`) that tells a destination that is not defined from one without
/// endpoints.
pub(crate) const NO_CLUSTER_ATTR: (&str, &str) = ("flag", "NC");

fn has(error: &Error, flag: (&str, &str)) -> bool {
    error.attrs.iter().any(|(name, value)| (&**name, &**value) == flag)
}

/// Whether an error is that of an open breaker.
pub(crate) fn is_breaker_open(error: &Error) -> bool {
    codes::CALL_UNREACHABLE.is(error) && has(error, BREAKER_ATTR)
}

/// Whether an error is that of a destination that no policy defines.
fn is_no_cluster(error: &Error) -> bool {
    codes::GUEST_NO_REVISION.is(error) && has(error, NO_CLUSTER_ATTR)
}

/// Why a call has failed, in a word of Envoy's (`%RESPONSE_CODE_DETAILS%`) where there is one, else
/// by the error's code.
pub(crate) fn details(error: &Error) -> Cow<'static, str> {
    Cow::Borrowed(match response_flag(error) {
        ResponseFlag::BreakerOpen => "circuit_breaker_open",
        ResponseFlag::ConnectFailure => {
            "upstream_reset_before_response_started{connection_failure}"
        }
        ResponseFlag::Overflow => "upstream_reset_before_response_started{overflow}",
        ResponseFlag::Reset => "upstream_reset_before_response_started{connection_termination}",
        ResponseFlag::RateLimited => "request_rate_limited",
        ResponseFlag::PolicyDenied => "rbac_access_denied_matched_policy[none]",
        ResponseFlag::NoRoute => "route_not_found",
        ResponseFlag::NoCluster => "cluster_not_found",
        ResponseFlag::NoHealthyEndpoint => "no_healthy_upstream",
        ResponseFlag::Timeout => "response_timeout",
        _ => return error.code.clone(),
    })
}

/// The response flag that an error of the host stands for.
#[must_use]
pub fn response_flag(error: &Error) -> ResponseFlag {
    let is = |rows: &[&codes::Code]| rows.iter().any(|row| row.is(error));
    if is_breaker_open(error) {
        ResponseFlag::BreakerOpen
    } else if is_no_cluster(error) {
        ResponseFlag::NoCluster
    } else if is(&[&codes::CALL_UNREACHABLE, &codes::CALL_UNKNOWN_HOST]) {
        ResponseFlag::ConnectFailure
    } else if is(&[&codes::CALL_OVERLOADED]) {
        ResponseFlag::Overflow
    } else if is(&[&codes::CALL_RESET, &codes::GUEST_TRAP]) {
        ResponseFlag::Reset
    } else if is(&[&codes::CALL_PACED]) {
        ResponseFlag::RateLimited
    } else if is(&[&codes::CALL_DENIED]) {
        ResponseFlag::PolicyDenied
    } else if is(&[&codes::REQUEST_NO_ROUTE, &codes::REQUEST_METHOD]) {
        ResponseFlag::NoRoute
    } else if is(&[&codes::GUEST_NO_REVISION, &codes::CANCELLED_SHUTDOWN]) {
        ResponseFlag::NoHealthyEndpoint
    } else if is(&[&codes::DEADLINE_EXCEEDED]) {
        ResponseFlag::Timeout
    } else if is(&[&codes::CANCELLED_CALLER, &codes::BODY_TOO_SLOW, &codes::BODY_TRUNCATED]) {
        ResponseFlag::DownstreamCancelled
    } else if is(&[
        &codes::REQUEST_INVALID,
        &codes::REQUEST_MISDIRECTED,
        &codes::REQUEST_URI_TOO_LONG,
    ]) {
        ResponseFlag::ProtocolError
    } else {
        ResponseFlag::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_flag_and_its_word() {
        let reset = "upstream_reset_before_response_started";
        let (nc, cb) = (NO_CLUSTER_ATTR, BREAKER_ATTR);
        let cases = [
            (codes::CALL_OVERLOADED.error("full"), "UO", format!("{reset}{{overflow}}")),
            (codes::GUEST_NO_REVISION.error("none"), "UH", "no_healthy_upstream".into()),
            (
                codes::GUEST_NO_REVISION.error("none").with(nc.0, nc.1),
                "NC",
                "cluster_not_found".into(),
            ),
            (codes::DEADLINE_EXCEEDED.error("late"), "UT", "response_timeout".into()),
            (
                codes::CALL_UNREACHABLE.error("refused"),
                "UF",
                format!("{reset}{{connection_failure}}"),
            ),
            (
                codes::CALL_UNREACHABLE.error("open").with(cb.0, cb.1),
                "CB",
                "circuit_breaker_open".into(),
            ),
            (codes::CALL_RESET.error("gone"), "UC", format!("{reset}{{connection_termination}}")),
            (codes::CALL_PACED.error("wait"), "RL", "request_rate_limited".into()),
            (codes::REQUEST_NO_ROUTE.error("no"), "NR", "route_not_found".into()),
            (
                codes::CALL_DENIED.error("no"),
                "RBAC",
                "rbac_access_denied_matched_policy[none]".into(),
            ),
            (codes::CANCELLED_CALLER.error("left"), "DC", "cancelled.caller".into()),
            (codes::INTERNAL.error("other"), "-", "internal.error".into()),
        ];
        for (error, flag, word) in cases {
            assert_eq!(response_flag(&error).as_str(), flag, "{error}");
            assert_eq!(details(&error), word, "{error}");
        }
    }
}
