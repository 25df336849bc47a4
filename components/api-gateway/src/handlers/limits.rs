//! Limits, asked of rate-limiter-service.

use std::time::Duration;

use sdk::{
    Error, Result,
    http::{self, Pending},
};

use crate::domain::limits::{Check, Verdict};

/// A check under way.
pub(super) struct Asked(Result<Pending>);

/// Asks, beside other calls.
pub(super) fn ask(check: &Check) -> Asked {
    let call = http::post("http://rate-limiter-service/internal/v1/limits/check")
        .json(check)
        .timeout(Duration::from_secs(1));
    Asked(call.start())
}

impl Asked {
    /// What was answered; 429 where a limit is used up. Whether a limit holds while its store is
    /// away is told by its policy; where the service itself is away requests go on, since the
    /// gateway's own queue still bounds them.
    pub(super) fn verdict(self) -> Result<Verdict> {
        let answer = self.0.and_then(Pending::join).and_then(http::Answer::success);
        let verdict = match answer.and_then(http::Answer::json::<Verdict>) {
            Ok(verdict) => verdict,
            Err(error) => {
                sdk::warn!(code = error.code(), "limits were not checked: {}", error.detail());
                return Ok(Verdict::unknown());
            }
        };
        if verdict.allowed {
            return Ok(verdict);
        }
        let mut error =
            Error::too_many_requests("too many requests; slow down", verdict.retry_after_ms());
        for (name, value) in verdict.fields().into_iter().flatten() {
            error = error.header(name, value);
        }
        Err(error)
    }
}
