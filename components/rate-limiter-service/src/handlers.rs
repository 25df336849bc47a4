//! Requests and jobs.

pub(crate) mod checks;
mod in_force;
pub(crate) mod policies;
pub(crate) mod usage;
