//! Durable background work of services: jobs and ticks.

mod run;

pub use run::{RunJob, RunningJob, Tick};
