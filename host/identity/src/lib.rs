//! Who is asking: the verification of users' access tokens.
//!
//! A [`token::Verifier`] turns a JWT into a `Principal`, with the keys that auth-service publishes
//! and the list of sessions that were ended. Services' own identities are SPIFFE ids
//! (`airhost_core::SpiffeId`).

pub mod jwks;
mod ring_provider;
pub mod token;
