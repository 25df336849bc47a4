//! Who is asking.
//!
//! **Users** prove it with access tokens: a [`token::Verifier`] turns a JWT into a `Principal`, with
//! the keys that auth-service publishes and the list of sessions that were ended.
//!
//! **Services and nodes** prove it with X.509-SVIDs ([`svid`]), short-lived certificates that name a
//! SPIFFE id (`airhost_core::SpiffeId`):
//!
//! - [`authority`] is the node's own certificate authority;
//! - [`issuer`] is where certificates come from: that authority, another node's, or files;
//! - [`rotation`] keeps them fresh;
//! - [`tls`] holds them and makes the TLS configurations that show and verify them;
//! - [`bundle`] is what they are verified against;
//! - [`join`] is how a new node comes to its first.
//!
//! What always holds: a certificate is used only while it is valid and its key fits; a peer is who
//! its verified certificate says by every rule of the SPIFFE standard, or nobody; a change of
//! certificates or trust takes effect with the next handshake and closes no connection; private
//! keys are neither printed nor sent, and leave the process only into files of its owner
//! ([`AtRestKey`]).

mod at_rest;
pub mod authority;
pub mod bundle;
pub mod issuer;
pub mod join;
pub mod jwks;
mod ring_provider;
pub mod rotation;
pub mod svid;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod token;

pub use at_rest::{AtRestKey, FileError};
