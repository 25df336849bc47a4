//! What an operator decides about running components.

use std::{fmt, path::PathBuf};

use airhost_core::TrustDomain;
use airhost_telemetry::Telemetry;

/// The settings of a node's runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of compiled code; made with mode 0700. None compiles at every start.
    pub cache_folder: Option<PathBuf>,
    /// Authenticates what is in that folder.
    pub cache_key: CacheKey,
    /// Names the services' identities.
    pub trust_domain: TrustDomain,
    /// What is reserved for instances.
    pub reservation: Reservation,
    /// How an instance's memory is reset for the next one.
    pub reset: Reset,
    /// Where instances are counted, and guests' log lines and spans go.
    pub telemetry: Telemetry,
}

/// Sizes of the instance pool: address space that is reserved once, at start. What is not used
/// costs no memory.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// Instances alive at once on this node, of all services. Each linear memory takes 4 GiB of
    /// address space.
    pub instances: u32,
    /// Most bytes a linear memory can grow to; services have lower limits of their own.
    pub memory: usize,
    /// Most elements of one table. Python guests need some ten thousand.
    pub table_elements: usize,
    /// Most core module instances in a component. Python guests have one a native library.
    pub core_instances_per_component: u32,
    /// Most linear memories in a component.
    pub memories_per_component: u32,
    /// Most tables in a component.
    pub tables_per_component: u32,
}

/// How an instance's memory is reset for the next one in its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// `PAGEMAP_SCAN` where kernel and swap allow it, `madvise` elsewhere.
    #[default]
    Auto,
    /// `madvise` always: slower, works everywhere.
    Decommit,
}

/// The node's key for files of compiled code. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key with these bytes, which nobody but the node may know.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

impl Default for Reservation {
    fn default() -> Self {
        Self {
            instances: 1_000,
            memory: 4 << 30,
            table_elements: 100_000,
            core_instances_per_component: 200,
            memories_per_component: 16,
            tables_per_component: 64,
        }
    }
}

impl Config {
    /// The settings of a node without a folder for compiled code.
    #[must_use]
    pub fn new(cache_key: CacheKey, telemetry: Telemetry) -> Self {
        Self {
            cache_folder: None,
            cache_key,
            trust_domain: TrustDomain::default(),
            reservation: Reservation::default(),
            reset: Reset::Auto,
            telemetry,
        }
    }
}
