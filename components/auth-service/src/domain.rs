//! What accounts, sessions and tokens are. Nothing here knows of requests, tables or the vault.

pub(crate) mod account;
pub(crate) mod credential;
pub(crate) mod jwt;
pub(crate) mod key;
pub(crate) mod lockout;
