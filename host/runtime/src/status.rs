//! What `airhost status` shows of the runtime.

use airhost_core::{Revision, ServiceName};

use crate::{deployment::Mode, engine::ResetStrategy, snapshot::Snapshot};

/// The runtime now.
#[derive(Clone, Debug)]
pub struct Status {
    /// How instances are reset, and why so.
    pub reset: ResetStrategy,
    /// The services that serve, by name.
    pub services: Vec<ServiceStatus>,
}

/// A service now.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// The service.
    pub service: ServiceName,
    /// The revision that serves.
    pub revision: Revision,
    /// Which generation it is; each activation is a new one.
    pub generation: u64,
    /// How instances live, and why.
    pub mode: Mode,
    /// Whether instances start from a snapshot.
    pub snapshot: Snapshot,
    /// Calls that are being handled.
    pub in_flight: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// Instances that are kept and idle.
    pub idle_instances: usize,
    /// Calls since the generation began.
    pub calls: u64,
    /// Calls that a guest failed.
    pub failed: u64,
    /// Calls that were told to come back.
    pub rejected: u64,
    /// Instances that were made.
    pub instances: u64,
    /// Log lines that were dropped.
    pub log_lines_dropped: u64,
}
