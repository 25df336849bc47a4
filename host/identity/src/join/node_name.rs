use std::{fmt, str::FromStr, sync::Arc};

use airhost_core::{SpiffeId, TrustDomain};
use serde::{Deserialize, Serialize};

use super::token::JOIN_SERVER;

/// The namespace of the host's own identities.
pub(super) const NAMESPACE: &str = "airhost-system";
/// Longest name, in bytes (RFC 1123, as for Kubernetes' nodes).
const MAX_NAME: usize = 253;

/// The name of a node: lower-case DNS labels with dots between them, 253 characters at most, as
/// Kubernetes names its nodes. `join` is taken.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// The text is not the name of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a node's name: use labels of a-z, 0-9 and - with dots between them, at most 253 characters, and not `join`"
)]
pub struct NodeNameError(String);

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The node's identity: `spiffe://<trust domain>/ns/airhost-system/sa/<name>`.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "labels and dots are a segment of a SPIFFE id, and short"
    )]
    pub fn identity(&self, trust_domain: &TrustDomain) -> SpiffeId {
        let id = format!("spiffe://{trust_domain}/ns/{NAMESPACE}/sa/{}", self.0);
        SpiffeId::parse(&id).expect("a node's name is a segment of a path")
    }

    /// The node of an identity; none if it is not a node's, or of another trust domain.
    #[must_use]
    pub fn of(id: &SpiffeId, trust_domain: &TrustDomain) -> Option<Self> {
        let (namespace, name) = id.workload()?;
        let ours = id.trust_domain() == trust_domain.as_str() && namespace == NAMESPACE;
        if ours { name.parse().ok() } else { None }
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let valid = text.len() <= MAX_NAME && text != JOIN_SERVER && text.split('.').all(label);
        if valid { Ok(Self(text.into())) } else { Err(NodeNameError(text.to_owned())) }
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes_nodes() {
        let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        for good in ["a", "node-1", "1", "ip-10-0-0-1.ec2.internal", &longest] {
            let name = good.parse::<NodeName>().unwrap();
            let domain = TrustDomain::default();
            assert_eq!(NodeName::of(&name.identity(&domain), &domain), Some(name));
        }
        let label = "a".repeat(64);
        let long = format!("{longest}.e");
        for bad in [
            "", ".", "..", "a.", ".a", "a..b", "A", "a_b", "a/b", "-a", "a-", "join", &label, &long,
        ] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn services_and_strangers_are_not_nodes() {
        let domain = TrustDomain::default();
        for id in [
            "spiffe://cluster.local/ns/pyairtable/sa/node-1",
            "spiffe://other/ns/airhost-system/sa/node-1",
            "spiffe://cluster.local/ns/airhost-system/sa/join",
            "spiffe://cluster.local/node-1",
        ] {
            assert_eq!(NodeName::of(&SpiffeId::parse(id).unwrap(), &domain), None, "{id}");
        }
    }
}
