//! How destinations are called, `DestinationRule`: balancing, limits, ejection and TLS.

mod read;
mod table;

use std::{collections::BTreeMap, sync::Arc};

pub(super) use self::{read::DestinationRule, table::DestinationTable};
use super::{LoadBalancer, Outlier, PoolLimits, RetryBudget, RetryPolicy};

/// How a destination, one of its subsets and one of its ports is called, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DestinationPolicy {
    /// Which endpoints: those with all these labels. Empty selects all.
    pub labels: BTreeMap<String, String>,
    /// Which of them is next.
    pub load_balancer: LoadBalancer,
    /// Which localities come first.
    pub locality: Locality,
    /// How much at once.
    pub limits: PoolLimits,
    /// When an endpoint is left out; never when absent.
    pub outlier: Option<Outlier>,
    /// How the connection is made; the mesh's own mTLS inside it, and what the call's scheme says
    /// outside, when absent.
    pub tls: Option<ClientTls>,
    /// How many retries at once, in the place of `limits.retries`.
    pub retry_budget: Option<RetryBudget>,
    /// The retries of calls that no `VirtualService` routes: Istio's default, which with consistent
    /// hashing does not avoid the endpoints that were tried.
    pub default_retries: RetryPolicy,
    /// The `DestinationRule`s that it is made of, `namespace/name`.
    pub resources: Vec<Arc<str>>,
}

/// `loadBalancer.localityLbSetting`. Other localities than the caller's own are used only when
/// `outlierDetection` can tell that its endpoints are ill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// Whether the caller's locality is preferred. On.
    pub enabled: bool,
    /// Region, and the one that comes after it.
    pub failover: Vec<(Box<str>, Box<str>)>,
    /// Labels, `name` or `name=value`: an endpoint ranks by how many of them, from the first on,
    /// it shares with the caller.
    pub priority: Vec<Box<str>>,
}

impl Default for Locality {
    fn default() -> Self {
        Self { enabled: true, failover: Vec::new(), priority: Vec::new() }
    }
}

/// `trafficPolicy.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTls {
    /// In the clear.
    Disable,
    /// The destination shows a certificate.
    Simple(ServerTrust),
    /// Both do, the caller the one of these files.
    Mutual {
        /// How the destination's is checked.
        trust: ServerTrust,
        /// Path of a PEM file with the chain.
        certificate: Box<str>,
        /// Path of a PEM file with the key.
        key: Box<str>,
    },
    /// Both do, with the identities of the mesh.
    IstioMutual {
        /// SPIFFE ids that the destination may have, instead of its own service's.
        subject_alt_names: Vec<Box<str>>,
        /// The name in the TLS handshake, instead of the host.
        sni: Option<Box<str>>,
    },
}

/// How a destination's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTrust {
    /// Path of a PEM file with the roots; the system's own when absent.
    pub ca_certificates: Option<Box<str>>,
    /// Names of which the certificate must have one, instead of the host.
    pub subject_alt_names: Vec<Box<str>>,
    /// The name in the TLS handshake, instead of the host.
    pub sni: Option<Box<str>>,
    /// Whether it is not checked at all.
    pub skip_verify: bool,
}

/// A call names a subset that no `DestinationRule` in force for it defines: 503, flag NC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no DestinationRule defines the subset `{subset}` of {host}")]
pub struct MissingSubset {
    /// The host.
    pub host: String,
    /// The subset.
    pub subset: String,
}

/// Blocks of a `trafficPolicy`, each of which overrides as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    load_balancer: Option<(LoadBalancer, Locality)>,
    limits: Option<PoolLimits>,
    outlier: Option<Outlier>,
    tls: Option<ClientTls>,
    retry_budget: Option<RetryBudget>,
}

/// A `trafficPolicy`.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    blocks: Blocks,
    /// `portLevelSettings`: for these ports they are all there is.
    ports: BTreeMap<u16, Blocks>,
}

impl Policy {
    /// The blocks of a port: its own alone, if it has any (Istio: `GetPortLevelTrafficPolicy`).
    fn of_port(&self, port: Option<u16>) -> &Blocks {
        port.and_then(|port| self.ports.get(&port)).unwrap_or(&self.blocks)
    }
}

impl Blocks {
    /// These blocks with a subset's in their place, where it has them, or its port's alone where
    /// it has those (Istio: `MergeSubsetTrafficPolicy`).
    fn overridden(&self, subset: &Policy, port: Option<u16>) -> Self {
        if let Some(own) = port.and_then(|port| subset.ports.get(&port)) {
            return own.clone();
        }
        let own = subset.blocks.clone();
        let base = self.clone();
        Self {
            load_balancer: own.load_balancer.or(base.load_balancer),
            limits: own.limits.or(base.limits),
            outlier: own.outlier.or(base.outlier),
            tls: own.tls.or(base.tls),
            retry_budget: own.retry_budget.or(base.retry_budget),
        }
    }

    fn policy(
        self,
        labels: &BTreeMap<String, String>,
        resources: &[Arc<str>],
    ) -> DestinationPolicy {
        let (load_balancer, locality) = self.load_balancer.unwrap_or_default();
        let mut limits = self.limits.unwrap_or_default();
        if self.retry_budget.is_some() {
            limits.retries = None;
        }
        let hashed = matches!(load_balancer, LoadBalancer::ConsistentHash(_));
        DestinationPolicy {
            labels: labels.clone(),
            load_balancer,
            locality,
            limits,
            outlier: self.outlier,
            tls: self.tls,
            retry_budget: self.retry_budget,
            default_retries: RetryPolicy { ignore_previous: !hashed, ..RetryPolicy::default() },
            resources: resources.to_vec(),
        }
    }
}
