//! `storage/sql`.

/// A transaction of a guest.
pub(crate) struct Transaction;
