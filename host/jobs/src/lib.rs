//! Durable background work of services, in each service's own database.
//!
//! - [`Jobs`] puts, cancels and shows jobs; with a transaction of the service a job exists if and
//!   only if that commits.
//! - [`Worker`] runs them: claimed with a lease, at least once, tried again with back-off, over
//!   crashes and deploys.
//! - [`Ticks`] runs what is due on a [`Schedule`]: once in the cluster, never overlapping, missed
//!   times once.
//!
//! The runtime implements [`RunJob`] and [`Tick`].

mod job;
mod jobs;
mod run;
mod schedule;
mod tables;
mod ticks;
mod worker;

pub use job::{JobSpec, JobState, JobStatus, KindRule, Kinds};
pub use jobs::Jobs;
pub use run::{RunJob, RunningJob, Tick};
pub use schedule::{Schedule, ScheduleError};
pub use tables::SCHEMA;
pub use ticks::{TickStatus, Ticks, TicksConfig};
pub use worker::{Worker, WorkerConfig, WorkerStatus};

#[cfg(test)]
mod testing;
