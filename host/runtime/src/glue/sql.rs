//! `storage/sql`.

/// A transaction of a guest.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Transaction;
