//! `service/jobs`.

/// A job that is running.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Job;
