//! Access tokens: JWTs (RFC 7519) signed with ES256 (RFC 7518, section 3.4).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

/// What an access token says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claims<'a> {
    pub(crate) iss: &'a str,
    pub(crate) aud: &'a str,
    /// The user.
    pub(crate) sub: &'a str,
    /// The tenant.
    pub(crate) tid: &'a str,
    /// What `session.revoked` names: the session, or the long-lived token it was exchanged for.
    pub(crate) sid: &'a str,
    pub(crate) roles: &'a [&'a str],
    /// Scopes, separated by spaces.
    pub(crate) scope: &'a str,
    pub(crate) email_verified: bool,
    /// `session`, `personal` or `api_key`: what was shown to get this token.
    pub(crate) kind: &'a str,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// What is signed.
pub(crate) fn signing_input(kid: &str, claims: &Claims<'_>) -> serde_json::Result<String> {
    let header = serde_json::to_vec(&Header { alg: "ES256", typ: "JWT", kid })?;
    let claims = serde_json::to_vec(claims)?;
    let mut input = String::with_capacity((header.len() + claims.len()) * 4 / 3 + 96);
    BASE64_URL_SAFE_NO_PAD.encode_string(header, &mut input);
    input.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut input);
    Ok(input)
}

/// The token.
pub(crate) fn complete(mut input: String, signature: &[u8]) -> String {
    input.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut input);
    input
}
