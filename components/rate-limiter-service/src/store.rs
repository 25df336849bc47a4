//! Counters in the key-value store; policies and what was used in the database.

pub(crate) mod counters;
pub(crate) mod policies;
pub(crate) mod usage;
