//! Access tokens: JWTs (RFC 7519, RFC 9068) signed with ES256, EdDSA or RS256.

mod claims;
mod keys;
mod revoked;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use airhost_core::{Dispatch, Error, Principal, Result, codes};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, errors::ErrorKind};
use moka::sync::Cache;
use ring::digest;

use crate::{jwks::KeySet, ring_provider};
use keys::{Freshness, Keys};
use revoked::Revoked;

/// Longest token, in bytes: what fits into a header.
const MAX_TOKEN: usize = 16 << 10;
/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 30;
/// Verified tokens that are remembered.
const CACHED: u64 = 10_000;
/// How long a verified token is remembered at most: the time after which a key that is withdrawn
/// is surely without effect.
const CACHED_FOR: Duration = Duration::from_secs(300);
/// Algorithms that are taken. Neither `none` nor a MAC is among them: a token never chooses.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];

/// What tokens must say.
#[derive(Clone, Debug)]
pub struct Config {
    /// Accepted values of `iss`.
    pub issuers: Vec<String>,
    /// Accepted values of `aud`; one of the token's must be among them.
    pub audiences: Vec<String>,
}

/// Verifies access tokens. Cheap to clone.
///
/// A token that was verified before costs one hash and two look-ups, until it expires or five
/// minutes have passed. Sessions that were ended ([`Verifier::revoke`]) are looked up every time.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    validation: Validation,
    keys: Keys,
    cache: Cache<[u8; 32], Arc<Principal>>,
    revoked: Revoked,
    /// Seconds since the epoch.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("cached", &self.0.cache.entry_count()).finish()
    }
}

impl Verifier {
    /// A verifier with the keys of `http://auth-service/.well-known/jwks.json`. They are fetched
    /// when the first token comes, again in the background when they are older than five minutes,
    /// and at most every ten seconds for a `kid` that is not among them. While auth-service is
    /// away, the last ones are used for a day.
    #[must_use]
    pub fn new(config: &Config, dispatch: Arc<dyn Dispatch>) -> Self {
        Self::build(config, Keys::fetched(dispatch), Box::new(now))
    }

    /// A verifier with keys that do not change.
    #[must_use]
    pub fn with_keys(config: &Config, keys: KeySet) -> Self {
        Self::build(config, Keys::fixed(keys), Box::new(now))
    }

    fn build(config: &Config, keys: Keys, clock: Box<dyn Fn() -> u64 + Send + Sync>) -> Self {
        ring_provider::install();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&config.issuers);
        validation.set_audience(&config.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let cache = Cache::builder().max_capacity(CACHED).time_to_live(CACHED_FOR).build();
        let revoked = Revoked::default();
        Self(Arc::new(Inner { validation, keys, cache, revoked, clock }))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// `principal.invalid-token`, `principal.expired`, `principal.revoked`, and
    /// `principal.keys-unavailable` while there are no keys to verify with. No message repeats
    /// anything of the token.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>> {
        if token.len() > MAX_TOKEN {
            return Err(invalid("the token is larger than 16 KiB"));
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let principal = match self.0.cache.get(&key) {
            Some(principal) => {
                if self.0.keys.freshness() == Freshness::Stale {
                    self.refresh_behind();
                }
                principal
            }
            None => {
                let principal = Arc::new(self.verify_anew(token).await?);
                self.0.cache.insert(key, Arc::clone(&principal));
                principal
            }
        };
        let now = (self.0.clock)();
        if principal.expires_at.saturating_add(LEEWAY) < now {
            return Err(codes::PRINCIPAL_EXPIRED.error("the token has expired"));
        }
        if principal.session.as_deref().is_some_and(|session| self.0.revoked.contains(session, now))
        {
            return Err(codes::PRINCIPAL_REVOKED.error("the token's session was ended"));
        }
        Ok(principal)
    }

    /// Refuses the tokens of a session until then (seconds since the epoch): the moment after
    /// which none of them is valid any more.
    pub fn revoke(&self, session: &str, until: u64) {
        self.0.revoked.insert(session, until.saturating_add(LEEWAY), (self.0.clock)());
    }

    /// How many sessions are refused now.
    #[must_use]
    pub fn revoked(&self) -> usize {
        self.0.revoked.len((self.0.clock)())
    }

    /// Fetches the keys, so that the first token need not wait. An error is no reason not to
    /// start: auth-service may start later.
    pub async fn prefetch(&self) -> Result<()> {
        if self.0.keys.freshness() == Freshness::Missing { self.refresh().await } else { Ok(()) }
    }

    async fn verify_anew(&self, token: &str) -> Result<Principal> {
        let header = decode_header(token).map_err(|_| invalid("the token is not a JWT"))?;
        check_header(&header)?;
        match self.0.keys.freshness() {
            Freshness::Fresh => {}
            Freshness::Stale => self.refresh_behind(),
            Freshness::Missing => self.refresh().await?,
        }
        let kid = header.kid.as_deref();
        let mut keys = self.0.keys.current();
        if keys.find(kid).is_none() && self.0.keys.may_look_again() {
            self.refresh().await?;
            keys = self.0.keys.current();
        }
        let key = keys.find(kid).ok_or_else(|| invalid("the token's key is not known"))?;
        if key.algorithm != header.alg {
            return Err(invalid("the token's algorithm is not that of its key"));
        }
        let validation =
            Validation { algorithms: vec![key.algorithm], ..self.0.validation.clone() };
        let verified =
            decode(token, &key.decoding, &validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => {
                    codes::PRINCIPAL_EXPIRED.error("the token has expired")
                }
                ErrorKind::ImmatureSignature => invalid("the token is not valid yet"),
                ErrorKind::InvalidIssuer => invalid("the token's issuer is not accepted"),
                ErrorKind::InvalidAudience => invalid("the token is for another audience"),
                ErrorKind::MissingRequiredClaim(claim) => {
                    invalid(format!("the token has no valid claim `{claim}`"))
                }
                ErrorKind::InvalidSignature => invalid("the token's signature is not right"),
                _ => invalid("the token is not a valid JWT"),
            })?;
        claims::principal(verified.claims)
    }

    /// Fetches the keys, or waits for the one who does.
    async fn refresh(&self) -> Result<()> {
        let this = self.clone();
        // A task of its own: if the caller leaves, others still wait for it.
        let fetch = async move { this.fetch().await };
        airhost_telemetry::spawn_named("jwks-refresh", fetch)
            .await
            .map_err(|_| keys::unavailable("fetching the keys failed"))?
    }

    fn refresh_behind(&self) {
        if self.0.keys.begin_behind() {
            let this = self.clone();
            let fetch = async move {
                // Told in the log; the keys that are there are used on.
                let _fetched = this.fetch().await;
                this.0.keys.end_behind();
            };
            drop(airhost_telemetry::spawn_named("jwks-refresh", fetch));
        }
    }

    async fn fetch(&self) -> Result<()> {
        if self.0.keys.fetch().await? {
            // A key was withdrawn: what it signed is to be verified again.
            self.0.cache.invalidate_all();
        }
        Ok(())
    }
}

fn check_header(header: &Header) -> Result<()> {
    if !ALGORITHMS.contains(&header.alg) {
        return Err(invalid("the token's algorithm is not accepted"));
    }
    // RFC 7515, section 4.1.11: whoever does not understand an extension refuses it.
    if header.crit.is_some() {
        return Err(invalid("the token demands extensions that are not known"));
    }
    // An ID token is signed with the same keys, and gives access to nothing.
    let kind = header.typ.as_deref().unwrap_or("JWT");
    let kind = kind.strip_prefix("application/").unwrap_or(kind);
    if !kind.eq_ignore_ascii_case("JWT") && !kind.eq_ignore_ascii_case("at+jwt") {
        return Err(invalid("the token is not an access token"));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    codes::PRINCIPAL_INVALID_TOKEN.error(message)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
