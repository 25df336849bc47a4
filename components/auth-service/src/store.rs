//! Accounts, sessions, tokens and keys in the database.
//!
//! Signing in, refreshing and redeeming happen before a tenant is known: what they use takes the
//! database across tenants, and finds rows by what the caller proved to have.

pub(crate) mod attempts;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod one_time;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;
