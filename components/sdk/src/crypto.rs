//! Cryptography in native code.

use std::fmt::Write as _;

use crate::{
    Result,
    bindings::pyairtable::crypto::{
        compression, hash as wit_hash, password as wit_password, signature,
    },
    imports,
};

pub use compression::Format;
pub use signature::Algorithm as SignatureAlgorithm;
pub use wit_hash::Algorithm as HashAlgorithm;
pub use wit_password::Verdict;

/// The digest of some bytes.
#[must_use]
pub fn digest(algorithm: HashAlgorithm, data: &[u8]) -> Vec<u8> {
    imports::hash::digest(algorithm, data)
}

/// SHA-256.
#[must_use]
pub fn sha256(data: &[u8]) -> Vec<u8> {
    digest(HashAlgorithm::Sha256, data)
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(data: &[u8]) -> String {
    hex(&sha256(data))
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        text.write_fmt(format_args!("{byte:02x}")).map_or_else(|_| String::new(), |()| text)
    })
}

/// HMAC with a key the service has; for keys it must not have see [`secrets`](crate::secrets).
#[must_use]
pub fn hmac(algorithm: HashAlgorithm, key: &[u8], data: &[u8]) -> Vec<u8> {
    imports::hash::hmac(algorithm, key, data)
}

/// Compares in constant time.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    imports::hash::equal(a, b)
}

/// Passwords: Argon2id, run off the serving threads; tens of milliseconds.
pub mod password {
    pub use super::Verdict;
    use super::{Result, imports};

    /// A PHC string for a password of 1 to 1 024 bytes.
    ///
    /// # Errors
    /// `password.length`, `password.busy`.
    pub fn hash(password: &str) -> Result<String> {
        Ok(imports::password::hash(password)?)
    }

    /// Whether a password is right, and whether its hash should be replaced. Takes Argon2id and
    /// bcrypt.
    ///
    /// # Errors
    /// `password.format`, `password.busy`.
    pub fn verify(password: &str, hash: &str) -> Result<Verdict> {
        Ok(imports::password::verify(password, hash)?)
    }

    /// Spends the time of [`verify`] and matches nothing, for a user that does not exist.
    ///
    /// # Errors
    /// `password.busy`.
    pub fn verify_nothing(password: &str) -> Result<()> {
        Ok(imports::password::verify_nothing(password)?)
    }
}

/// Verifies a signature by a public key (a JWK as JSON text).
///
/// # Errors
/// `signature.key`.
pub fn verify_signature(
    algorithm: SignatureAlgorithm,
    public_key: &str,
    message: &[u8],
    signature: &[u8],
) -> Result<bool> {
    Ok(imports::signature::verify(algorithm, public_key, message, signature)?)
}

/// Compresses.
///
/// # Errors
/// `compression.*`.
pub fn compress(format: Format, data: &[u8]) -> Result<Vec<u8>> {
    Ok(imports::compression::compress(format, data)?)
}

/// Decompresses to at most `max` bytes.
///
/// # Errors
/// `compression.too-large`, `compression.invalid`.
pub fn decompress(format: Format, data: &[u8], max: u64) -> Result<Vec<u8>> {
    Ok(imports::compression::decompress(format, data, max)?)
}
