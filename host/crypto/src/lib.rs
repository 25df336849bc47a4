//! Cryptography and compression in native code, behind `wit/crypto`.
//!
//! - [`hash`]: digests, HMAC and comparison in constant time.
//! - [`password`]: Argon2id and bcrypt, on threads of their own.
//! - [`signature`]: verification with public keys given as JWK.
//! - [`compression`]: gzip, deflate, zstd and brotli, with a limit on what comes out.
//!
//! Primitives are those of `ring`, except for passwords. Nothing here holds a key that belongs to
//! the platform: those are in the vault.

pub mod compression;
pub mod hash;
pub mod password;
pub mod signature;
