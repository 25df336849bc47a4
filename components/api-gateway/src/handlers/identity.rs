//! Who is asking: the credential made into a principal.

use std::time::Duration;

use sdk::{
    Error, Principal, Result, Timestamp,
    cache::{self, Scope},
    config, context, crypto,
    http::{self, Request},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::credential::{self, Credential};

/// How long a token that is not valid is remembered, so that a client that will not stop does not
/// keep auth-service busy.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// An access token is not used so shortly before it expires.
const MARGIN: u64 = 5;

/// What is remembered of an exchange.
#[derive(Serialize, Deserialize)]
enum Known {
    Valid(String),
    Refused,
}

/// Makes the request's credential the principal of the call. None without a credential; 401 for
/// one that does not hold.
pub(super) fn authenticate(request: &Request) -> Result<Option<Principal>> {
    let (authorization, key) = (request.header("authorization"), request.header("x-api-key"));
    match credential::of(authorization.as_deref(), key.as_deref()) {
        Ok(None) => Ok(None),
        Ok(Some(Credential::Jwt(token))) => assume(token).map(Some),
        Ok(Some(Credential::LongLived(token))) => by_exchange(token).map(Some),
        Err(credential::Malformed) => Err(invalid()),
    }
}

fn invalid() -> Error {
    Error::new(401, "token.invalid", "the token is not valid")
        .header("www-authenticate", "Bearer error=\"invalid_token\"")
}

fn assume(jwt: &str) -> Result<Principal> {
    context::assume(jwt).map_err(|error| match error.code() {
        "principal.invalid-token" | "principal.expired" | "principal.revoked" => invalid(),
        "principal.keys-unavailable" => Error::unavailable("tokens cannot be verified now")
            .code_is("principal.keys-unavailable"),
        _ => error,
    })
}

fn by_exchange(token: &str) -> Result<Principal> {
    // The token itself is not kept, not even in memory.
    let key = format!("token/{}", crypto::sha256_hex(token.as_bytes()));
    match cache::get_json(Scope::Shared, &key) {
        Some(Known::Refused) => return Err(invalid()),
        Some(Known::Valid(jwt)) => match assume(&jwt) {
            // Revoked or expired meanwhile: auth-service has the last word.
            Err(error) if error.status() == 401 => cache::delete(Scope::Shared, &key),
            other => return other,
        },
        None => {}
    }
    match exchange(token) {
        Ok(exchanged) => {
            let principal = assume(&exchanged.access_token)?;
            let limit: u64 = config::get("credential-cache-seconds")?;
            let now = Timestamp::now().as_seconds().unsigned_abs();
            let left = principal.expires_at().saturating_sub(now).saturating_sub(MARGIN);
            if limit.min(left) > 0 {
                let tag = format!("session/{}", exchanged.session);
                let ttl = Duration::from_secs(limit.min(left));
                let known = Known::Valid(exchanged.access_token);
                cache::put_json(Scope::Shared, &key, &known, ttl, &[&tag])?;
            }
            Ok(principal)
        }
        Err(error) if error.status() == 401 => {
            cache::put_json(Scope::Shared, &key, &Known::Refused, REFUSED_FOR, &[])?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    session: String,
}

fn exchange(token: &str) -> Result<Exchanged> {
    let answer = http::post("http://auth-service/internal/v1/auth/exchange")
        .json(&json!({"token": token}))
        .timeout(Duration::from_secs(5))
        .send()
        .and_then(|answer| if answer.status() == 401 { Err(invalid()) } else { answer.success() })
        .and_then(http::Answer::json);
    answer.map_err(|error| {
        if error.status() == 401 {
            return error;
        }
        sdk::error!(code = error.code(), "a token could not be exchanged: {}", error.detail());
        Error::unavailable("tokens cannot be verified now").code_is("auth.unavailable")
    })
}
