//! What `airhost status` shows of the runtime.

use std::sync::Arc;

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
    /// Whether instances start from a snapshot.
    pub snapshot: Snapshot,
    /// Its pools, the default one first.
    pub pools: Vec<PoolStatus>,
    /// Log lines that were dropped.
    pub log_lines_dropped: u64,
}

/// A pool now. It counts from when its generation began.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// Its name; `default` for the one that is always there.
    pub name: Arc<str>,
    /// How its instances live, and why.
    pub mode: Mode,
    /// Calls that are being handled.
    pub in_flight: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// Instances that are kept and idle.
    pub idle_instances: usize,
    /// Calls.
    pub calls: u64,
    /// Calls that a guest failed.
    pub failed: u64,
    /// Calls that were told to come back.
    pub rejected: u64,
    /// Instances that were made.
    pub instances: u64,
}

impl ServiceStatus {
    /// A count over all of its pools.
    pub fn sum<N: std::iter::Sum>(&self, of: impl Fn(&PoolStatus) -> N) -> N {
        self.pools.iter().map(of).sum()
    }
}
