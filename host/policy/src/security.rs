//! Who may enter a workload, and how: `AuthorizationPolicy`, `PeerAuthentication` and
//! `RequestAuthentication`.

mod annotations;
mod authorization;
mod inbound;
mod jwt;
mod peer;
mod refused_fields;
mod request;

use std::{collections::BTreeMap, sync::Arc};

pub use authorization::{Authorization, Because, CustomCheck, Decision, Outcome};
pub use inbound::Inbound;
pub use jwt::{JwtRule, JwtRules, Keys, TokenLocation};
pub use peer::PeerMode;
pub use request::{Channel, Request};

use crate::{
    document::{Document, Head},
    finding::Finding,
    mesh::{ExtensionProvider, MeshConfig},
    workload::Workload,
};

/// The body of a denial's answer, with status 403, as Envoy has it. Which policy denies is for the
/// log ([`Authorization::sentence`]).
pub const DENIED: &str = "RBAC: access denied";

/// Collects the resources of this half.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    authorizations: Vec<authorization::Policy>,
    peers: Vec<peer::Policy>,
    tokens: Vec<jwt::Policy>,
}

impl Builder {
    /// Whether resources of this kind are for this half.
    pub(crate) fn takes(group: &str, kind: &str) -> bool {
        group == "security.istio.io"
            && matches!(
                kind,
                "AuthorizationPolicy" | "PeerAuthentication" | "RequestAuthentication"
            )
    }

    /// Reads one resource.
    pub(crate) fn add(
        &mut self,
        document: &Document,
        head: &Head,
        mesh: &MeshConfig,
        findings: &mut Vec<Finding>,
    ) {
        match head.kind.value.as_str() {
            "AuthorizationPolicy" => self
                .authorizations
                .extend(authorization::Policy::compile(document, head, mesh, findings)),
            "PeerAuthentication" => {
                self.peers.extend(peer::Policy::compile(document, head, mesh, findings));
            }
            _ => self.tokens.extend(jwt::Policy::compile(document, head, mesh, findings)),
        }
    }

    /// What needs to be known of all of them.
    pub(crate) fn finish(self, mesh: &MeshConfig, findings: &mut Vec<Finding>) -> Security {
        let mut authorizations: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for policy in self.authorizations {
            authorizations.entry(policy.namespace.clone()).or_default().push(policy);
        }
        let mut tokens: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for policy in self.tokens {
            tokens.entry(policy.namespace.clone()).or_default().push(policy);
        }
        // The order of files says nothing; that of names makes the rule that is named the same.
        for policies in authorizations.values_mut() {
            policies.sort_by(|a, b| a.name.cmp(&b.name));
        }
        for policies in tokens.values_mut() {
            policies.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Security {
            authorizations,
            peers: peer::Policies::new(self.peers, mesh, findings),
            tokens,
            root_namespace: mesh.root_namespace.as_str().into(),
            providers: mesh.extension_providers.clone(),
        }
    }
}

/// The resources of this half, by namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    authorizations: BTreeMap<String, Vec<authorization::Policy>>,
    peers: peer::Policies,
    tokens: BTreeMap<String, Vec<jwt::Policy>>,
    root_namespace: Box<str>,
    providers: BTreeMap<String, Arc<ExtensionProvider>>,
}

impl Security {
    pub(crate) fn inbound(&self, workload: &Workload) -> Inbound {
        let own = workload.namespace.as_str();
        let root = Some(self.root_namespace.as_ref()).filter(|root| *root != own);
        let namespaces = || root.into_iter().chain([own]);
        let authorizations = namespaces()
            .flat_map(|namespace| self.authorizations.get(namespace).into_iter().flatten())
            .filter(|policy| workload.has_labels(&policy.labels));
        let tokens = namespaces()
            .flat_map(|namespace| self.tokens.get(namespace).into_iter().flatten())
            .filter(|policy| workload.has_labels(&policy.labels));
        Inbound {
            authorization: Authorization::new(authorizations, &self.providers),
            jwt: JwtRules::new(tokens),
            peers: self.peers.modes(workload, &self.root_namespace),
        }
    }
}
