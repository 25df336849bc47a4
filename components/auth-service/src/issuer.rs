//! Signing: the vault's keys, which of them signs, and access tokens.

use std::time::Duration;

use sdk::{
    Error, Result, Timestamp, Uuid,
    cache::{self, Scope},
    config, secrets,
};
use serde_json::{Value, json};

use crate::{
    domain::{
        jwt::{self, Claims},
        key::{self, Schedule, SigningKey},
    },
    store::keys,
};

/// In the cache: keys as they are, and as they were when the database was there last.
const FRESH: &str = "signing-keys";
const LAST: &str = "signing-keys-last";
const FRESH_FOR: Duration = Duration::from_secs(60);
const LAST_FOR: Duration = Duration::from_secs(24 * 3600);

fn vault_name(kid: &str) -> String {
    format!("shared/signing-key/{kid}")
}

fn schedule() -> Result<Schedule> {
    let seconds = |key| config::get::<u64>(key);
    let longest = seconds("access-token-seconds")?.max(seconds("exchange-token-seconds")?);
    Ok(Schedule {
        signs_for: Duration::from_secs(seconds("signing-key-days")? * 86_400),
        lead: Duration::from_secs(seconds("signing-key-lead-hours")? * 3600),
        token_life: Duration::from_secs(longest + 300),
    })
}

/// All keys that tokens may be signed with; of the last day's while the database is away.
pub(crate) fn published() -> Result<Vec<SigningKey>> {
    if let Some(known) = cache::get_json(Scope::Shared, FRESH) {
        return Ok(known);
    }
    match load() {
        Ok(keys) => Ok(keys),
        Err(error) if error.is_retryable() => cache::get_json(Scope::Shared, LAST).ok_or(error),
        Err(error) => Err(error),
    }
}

fn load() -> Result<Vec<SigningKey>> {
    let mut found = keys::all()?;
    if key::current(&found, Timestamp::now()).is_none() {
        let generation = found.iter().map(|key| key.generation).max().unwrap_or(0) + 1;
        make(generation, Timestamp::now())?;
        found = keys::all()?;
    }
    cache::put_json(Scope::Shared, FRESH, &found, FRESH_FOR, &[FRESH])?;
    cache::put_json(Scope::Shared, LAST, &found, LAST_FOR, &[])?;
    Ok(found)
}

/// Makes a key. Of two instances that do at once, one keeps its own.
fn make(generation: i64, active_from: Timestamp) -> Result<()> {
    let kid = Uuid::v7().to_string();
    let public = secrets::generate(&vault_name(&kid), secrets::Algorithm::Es256)?;
    let public: Value = serde_json::from_str(&public)
        .map_err(|error| Error::internal(format!("the vault's key is no JWK: {error}")))?;
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": public["x"], "y": public["y"],
    });
    let created_at = Timestamp::now();
    let made = SigningKey { kid, generation, jwk, created_at, active_from };
    if keys::insert(&made)? {
        cache::drop_tag(FRESH);
        sdk::info!(kid = made.kid, generation = generation, "made a signing key");
    } else {
        secrets::delete(&vault_name(&made.kid))?;
    }
    Ok(())
}

/// Makes the next key when it is time, and removes those that no token needs.
pub(crate) fn rotate(now: Timestamp) -> Result<()> {
    let schedule = schedule()?;
    let known = keys::all()?;
    if let Some((generation, active_from)) = key::due(&known, now, schedule) {
        make(generation, active_from)?;
    }
    for old in key::spent(&known, now, schedule) {
        keys::delete(&old.kid)?;
        secrets::delete(&vault_name(&old.kid))?;
        cache::drop_tag(FRESH);
        sdk::info!(kid = old.kid, "removed a signing key");
    }
    Ok(())
}

/// Whom an access token is for.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) user: Uuid,
    pub(crate) tenant: &'a str,
    pub(crate) role: &'a str,
    /// What `session.revoked` will name.
    pub(crate) session: Uuid,
    pub(crate) scope: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) seconds: i64,
}

/// An access token for an active user.
pub(crate) fn issue(grant: &Grant<'_>) -> Result<String> {
    let keys = published()?;
    // Asked after the keys: the first one may have been made just now.
    let now = Timestamp::now();
    let key = key::current(&keys, now)
        .ok_or_else(|| Error::unavailable("no key to sign with is known now"))?;
    let (issuer, audience): (String, String) = (config::get("issuer")?, config::get("audience")?);
    let claims = Claims {
        iss: &issuer,
        aud: &audience,
        sub: &grant.user.to_string(),
        tid: grant.tenant,
        sid: &grant.session.to_string(),
        roles: &[grant.role],
        scope: grant.scope,
        email_verified: true,
        kind: grant.kind,
        iat: now.as_seconds(),
        exp: now.as_seconds() + grant.seconds,
        jti: &Uuid::v7().to_string(),
    };
    let input = jwt::signing_input(&key.kid, &claims)
        .map_err(|error| Error::internal(format!("the claims are not JSON: {error}")))?;
    let signature =
        secrets::sign(&vault_name(&key.kid), secrets::Algorithm::Es256, input.as_bytes())?;
    Ok(jwt::complete(input, &signature))
}
