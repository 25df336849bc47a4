use std::{fmt, sync::Arc};

use crate::ServiceName;

/// The namespace that the services live in.
const NAMESPACE: &str = "pyairtable";

/// A SPIFFE trust domain; `cluster.local` unless configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// A trust domain with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The identity of a service in this trust domain.
    #[must_use]
    pub fn identity(&self, service: &ServiceName) -> SpiffeId {
        SpiffeId(format!("spiffe://{}/ns/{NAMESPACE}/sa/{service}", self.0).into())
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self::new("cluster.local")
    }
}

/// Who a service is: `spiffe://<trust domain>/ns/<namespace>/sa/<service>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
