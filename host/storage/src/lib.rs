//! The stores of a service.
//!
//! Each capability is a folder with one contract and its engines: [`sql`] (SQLite embedded) and
//! [`kv`] (in memory with snapshots). Engines know nothing of guests: the runtime translates, and
//! puts service and tenant before every key.
//!
//! Beside them stands [`idempotency`], which stores the answers to `Idempotency-Key` in the same
//! database as the effect. The feature `testing` has the conformance suites that every engine of
//! a contract passes.
//!
//! Invariants: what is acknowledged is on the disk ([`sql`]); a statement is parsed, checked and
//! written anew before an engine sees it; no engine's text reaches a guest; every queue is
//! bounded and every wait ends at a deadline.

pub mod idempotency;
pub mod kv;
pub mod sql;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
