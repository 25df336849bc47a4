use airhost_core::{Error, codes};
use airhost_telemetry::ResponseFlag;

/// The detail (`flag` = `CB`) that tells an open breaker from a refused connection.
pub(crate) const BREAKER_ATTR: (&str, &str) = ("flag", "CB");

/// Whether an error is that of an open breaker.
pub(crate) fn is_breaker_open(error: &Error) -> bool {
    let is_flag = |(name, value): &(String, String)| (&**name, &**value) == BREAKER_ATTR;
    codes::CALL_UNREACHABLE.is(error) && error.attrs.iter().any(is_flag)
}

/// The response flag that an error of the host stands for.
#[must_use]
pub fn response_flag(error: &Error) -> ResponseFlag {
    let is = |rows: &[&codes::Code]| rows.iter().any(|row| row.is(error));
    if is_breaker_open(error) {
        ResponseFlag::BreakerOpen
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
    fn an_error_has_its_flag() {
        let cases = [
            (codes::CALL_OVERLOADED.error("full"), "UO"),
            (codes::GUEST_NO_REVISION.error("none"), "UH"),
            (codes::DEADLINE_EXCEEDED.error("late"), "UT"),
            (codes::CALL_UNREACHABLE.error("refused"), "UF"),
            (codes::CALL_UNREACHABLE.error("open").with("flag", "CB"), "CB"),
            (codes::CALL_PACED.error("wait"), "RL"),
            (codes::CALL_DENIED.error("no"), "RBAC"),
            (codes::INTERNAL.error("other"), "-"),
        ];
        for (error, flag) in cases {
            assert_eq!(response_flag(&error).as_str(), flag, "{error}");
        }
    }
}
