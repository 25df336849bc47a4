//! The stores of a service.
//!
//! Each capability is a folder with one contract and its engines: [`sql`] (SQLite embedded) and
//! [`kv`] (in memory with snapshots). Engines know nothing of guests: the runtime translates.

pub mod idempotency;
pub mod kv;
pub mod sql;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
