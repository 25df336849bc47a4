//! What a policy can select.

use std::collections::BTreeMap;

use airhost_core::ServiceName;

/// A pool of a service, as selectors and subsets see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The service.
    pub service: ServiceName,
    /// Its namespace.
    pub namespace: String,
    /// `app`, `version`, `track`, and those of the manifest and the node.
    pub labels: BTreeMap<String, String>,
}

impl Workload {
    /// Whether all these labels are there with these values; no labels select everything.
    #[must_use]
    pub fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }
}
