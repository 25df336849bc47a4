//! A write-only vault: no function returns a secret.

use crate::{Error, Result, imports::secrets as wit};

pub use crate::bindings::pyairtable::context::secrets::Algorithm;

/// Stores a value under a name the manifest lists; replaces what was there.
///
/// # Errors
/// `secrets.*`, here and below.
pub fn put(name: &str, value: &[u8]) -> Result<()> {
    Ok(wit::put(name, value)?)
}

/// Makes a random secret or key pair in the vault; answers the public key (a JWK as JSON text,
/// empty for MACs).
///
/// # Errors
/// `secrets.*`.
pub fn generate(name: &str, algorithm: Algorithm) -> Result<String> {
    Ok(wit::generate(name, algorithm)?)
}

/// Whether there is one of the name.
///
/// # Errors
/// `secrets.*`.
pub fn exists(name: &str) -> Result<bool> {
    Ok(wit::exists(name)?)
}

/// Deletes it; answers whether it was there.
///
/// # Errors
/// `secrets.*`.
pub fn delete(name: &str) -> Result<bool> {
    Ok(wit::delete(name)?)
}

/// Names that begin with a prefix.
///
/// # Errors
/// `secrets.*`.
pub fn names(prefix: &str) -> Result<Vec<String>> {
    Ok(wit::names(prefix)?)
}

/// The public half as a JWK (JSON text).
///
/// # Errors
/// `secrets.*`.
pub fn public_key(name: &str) -> Result<String> {
    Ok(wit::public_key(name)?)
}

/// Signs with it.
///
/// # Errors
/// `secrets.*`.
pub fn sign(name: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
    Ok(wit::sign(name, algorithm, message)?)
}

/// Verifies a signature or MAC in constant time; false for a wrong one.
///
/// # Errors
/// `secrets.*`.
pub fn verify(name: &str, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<bool> {
    Ok(wit::verify(name, algorithm, message, signature)?)
}

/// The MAC of a message.
///
/// # Errors
/// `secrets.*`.
pub fn mac(name: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
    Ok(wit::mac(name, algorithm, message)?)
}

/// Encrypts with authentication; `aad` must be given again to open it.
///
/// # Errors
/// `secrets.*`.
pub fn seal(name: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    Ok(wit::seal(name, plaintext, aad)?)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// `secrets.sealed` if it was changed or the `aad` is another.
pub fn open(name: &str, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
    Ok(wit::open(name, sealed, aad)?)
}

/// Checks a time-based one-time password; answers the step it matched, to be refused a second
/// time.
///
/// # Errors
/// `secrets.*`.
pub fn totp_verify(name: &str, code: &str) -> Result<Option<u64>> {
    Ok(wit::totp_verify(name, code)?)
}

/// The public half as a JWK, parsed.
///
/// # Errors
/// `secrets.*`.
pub fn public_jwk(name: &str) -> Result<serde_json::Value> {
    serde_json::from_str(&public_key(name)?)
        .map_err(|error| Error::internal(format!("the vault's key is no JWK: {error}")))
}
