//! The public keys, what is known of this issuer, and the rotation of keys.

use sdk::{
    Result, Schema, Timestamp, config,
    http::{IntoResponse, Json, Response, Routes},
    openapi::Operation,
};
use serde::Serialize;
use serde_json::Value;

use crate::{domain::credential::SCOPES, issuer};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "keys";
    /// The keys that access tokens are signed with (RFC 7517).
    GET "/.well-known/jwks.json" => jwks;
    /// What is known of this issuer (OpenID Connect Discovery 1.0).
    GET "/.well-known/openid-configuration" => configuration;
};

/// A response that everyone may keep for five minutes.
#[derive(Debug)]
struct Public<R>(R);

impl<R: IntoResponse> IntoResponse for Public<R> {
    fn into_response(self) -> Result<Response> {
        Ok(self.0.into_response()?.with("cache-control", "public, max-age=300"))
    }

    fn describe_response(op: &mut Operation) {
        R::describe_response(op);
    }
}

/// A set of keys.
#[derive(Debug, Serialize, Schema)]
struct KeySet {
    /// The keys, as JSON Web Keys.
    keys: Vec<Value>,
}

fn jwks() -> Result<Public<Json<KeySet>>> {
    let keys = issuer::published()?.into_iter().map(|key| key.jwk).collect();
    Ok(Public(Json(KeySet { keys })))
}

/// What is known of this issuer.
#[derive(Debug, Serialize, Schema)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
    id_token_signing_alg_values_supported: Vec<String>,
    subject_types_supported: Vec<String>,
    response_types_supported: Vec<String>,
    grant_types_supported: Vec<String>,
    scopes_supported: Vec<String>,
    claims_supported: Vec<String>,
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn configuration() -> Result<Public<Json<Configuration>>> {
    let base: String = config::get("public-url")?;
    Ok(Public(Json(Configuration {
        issuer: config::get("issuer")?,
        jwks_uri: format!("{}/.well-known/jwks.json", base.trim_end_matches('/')),
        id_token_signing_alg_values_supported: names(&["ES256"]),
        subject_types_supported: names(&["public"]),
        response_types_supported: Vec::new(),
        grant_types_supported: Vec::new(),
        scopes_supported: names(SCOPES),
        claims_supported: names(&[
            "iss",
            "aud",
            "sub",
            "tid",
            "sid",
            "roles",
            "scope",
            "email_verified",
            "iat",
            "exp",
            "jti",
        ]),
    })))
}

pub(crate) fn rotate(_due: Timestamp) -> Result<()> {
    issuer::rotate(Timestamp::now())
}
