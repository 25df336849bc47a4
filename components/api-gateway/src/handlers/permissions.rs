//! Permissions, asked of permission-service.

use std::time::Duration;

use sdk::{
    Error, Result,
    http::{self, Pending},
};
use serde::Deserialize;
use serde_json::json;

/// A check under way.
pub(super) struct Asked(Result<Pending>);

#[derive(Deserialize)]
struct Decision {
    allowed: bool,
}

/// Asks whether the principal may do something with a base, from an address, beside other calls.
pub(super) fn ask(action: &str, base: &str, ip: &str) -> Asked {
    let call = http::post("http://permission-service/api/v1/permissions/check")
        .json(&json!({
            "action": action,
            "resource": {"type": "base", "id": base},
            "context": {"ip": ip.parse::<std::net::IpAddr>().ok()},
        }))
        .timeout(Duration::from_secs(3));
    Asked(call.start())
}

impl Asked {
    /// 403 where it is not allowed, 503 where nobody could be asked.
    pub(super) fn granted(self) -> Result<()> {
        let answer = self.0.and_then(Pending::join).and_then(http::Answer::success);
        match answer.and_then(http::Answer::json::<Decision>) {
            Ok(Decision { allowed: true }) => Ok(()),
            Ok(Decision { allowed: false }) => {
                Err(Error::forbidden("this is not permitted to you"))
            }
            Err(error) => {
                sdk::error!(
                    code = error.code(),
                    "a permission was not checked: {}",
                    error.detail()
                );
                let unavailable = Error::unavailable("permissions cannot be checked now");
                Err(unavailable.code_is("permission.unavailable").retry_after_ms(1000))
            }
        }
    }
}
