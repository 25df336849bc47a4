//! `service/jobs`.

/// A job that is running.
pub(crate) struct Job;
