//! A service as its instances see it: name, limits, and what stands behind its imports.

use std::{collections::BTreeMap, fmt, sync::Arc};

use airhost_core::{Dispatch, Revision, ServiceName, SpiffeId};

use crate::{limits::Limits, log::LogGate};

/// What stands behind the imports of one service. What is none answers `denied` or `unsupported`
/// at the call.
#[derive(Clone)]
pub struct ServiceEnvironment {
    /// Where calls to other services and to granted hosts go: the mesh.
    pub outbound: Arc<dyn Dispatch>,
    /// The configuration of this generation, JSON values by key.
    pub config: Arc<BTreeMap<String, serde_json::Value>>,
}

/// What all instances of a generation share.
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) identity: SpiffeId,
    pub(crate) revision: Revision,
    /// Its first 12 digits.
    pub(crate) revision_short: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) outbound: Arc<dyn Dispatch>,
    pub(crate) environment: ServiceEnvironment,
    pub(crate) log: LogGate,
}

impl fmt::Debug for ServiceEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the configuration may be personal to the operator.
        f.debug_struct("ServiceEnvironment").field("config", &self.config.len()).finish_non_exhaustive()
    }
}
