//! `PeerAuthentication`: whether a workload takes plain text.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::annotations;
use crate::{
    document::{Document, Head, Resource},
    finding::{Finding, Place},
    mesh::MeshConfig,
    notes::Notes,
    rule::RuleName,
    selector::{Entries, Selector, selected_labels},
    workload::Workload,
};

/// `mtls.mode`, once what is unset was inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerMode {
    /// No TLS.
    Disable,
    /// Mutual TLS, and plain text.
    #[default]
    Permissive,
    /// Mutual TLS with a client certificate; a plain connection is reset, not answered.
    Strict,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    selector: Option<Spanned<Selector>>,
    mtls: Option<Mtls>,
    port_level_mtls: Option<Spanned<Entries<Option<Mtls>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mtls {
    mode: Option<Spanned<String>>,
}

/// One resource, compiled.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    name: Arc<RuleName>,
    namespace: String,
    labels: BTreeMap<String, String>,
    /// Absent is older than any: files have none.
    created: Option<Timestamp>,
    mode: Option<PeerMode>,
    ports: Vec<(u16, Option<PeerMode>)>,
}

impl Policy {
    pub(super) fn compile(
        document: &Document,
        head: &Head,
        mesh: &MeshConfig,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let resource: Resource<Spec> = match document.resource() {
            Ok(resource) => resource,
            Err(finding) => {
                findings.push(finding);
                return None;
            }
        };
        let mut notes = Notes::new(document, findings);
        annotations::check(&resource.metadata, &[], &mut notes);
        let created = resource.metadata.creation_timestamp.as_ref().and_then(|written| {
            let parsed = written.value.parse();
            if parsed.is_err() {
                let message = format!("`{}` is not a time (RFC 3339)", written.value);
                notes.error(written, message);
            }
            parsed.ok()
        });
        let spec = resource.spec;
        let labels = selected_labels(spec.selector.as_ref(), &mut notes);
        let namespace = head.namespace(mesh).to_owned();
        if let Some(ports) = &spec.port_level_mtls {
            if labels.is_empty() {
                notes.error(ports, "`portLevelMtls` needs a `selector`: ports are a workload's");
            } else if ports.value.0.is_empty() {
                notes.error(ports, "`portLevelMtls` is empty");
            }
        }
        let mut ports = Vec::new();
        for (port, mtls) in spec.port_level_mtls.iter().flat_map(|ports| &ports.value.0) {
            let mode = mode(mtls.as_ref(), &mut notes);
            match port.value.parse() {
                Ok(number @ 1..) => ports.push((number, mode)),
                _ => {
                    let message = format!("`{}` is not a port between 1 and 65535", port.value);
                    notes.error(port, message);
                }
            }
        }
        let mode = mode(spec.mtls.as_ref(), &mut notes);
        if let Some(selector) = &spec.selector
            && !labels.is_empty()
            && namespace == mesh.root_namespace
        {
            notes.warning(
                selector,
                format!("the resource has no effect: a `selector` in the root namespace `{namespace}` is ignored, as in Istio"),
            );
        }
        let name = RuleName {
            policy: format!("{namespace}/{}", resource.metadata.name.value).into(),
            rule: None,
            place: notes.at(&resource.metadata.name),
        };
        Some(Self { name: Arc::new(name), namespace, labels, created, mode, ports })
    }

    fn place(&self) -> &Place {
        &self.name.place
    }
}

fn mode(mtls: Option<&Mtls>, notes: &mut Notes<'_>) -> Option<PeerMode> {
    let written = mtls?.mode.as_ref()?;
    match written.value.as_str() {
        "UNSET" => None,
        "DISABLE" => Some(PeerMode::Disable),
        "PERMISSIVE" => Some(PeerMode::Permissive),
        "STRICT" => Some(PeerMode::Strict),
        other => {
            notes.error(
                written,
                format!("`{other}` is not a mode: UNSET, DISABLE, PERMISSIVE, STRICT"),
            );
            None
        }
    }
}

/// All resources. What one says is inherited by narrower ones that leave it unset; of several at
/// one scope the oldest counts (Istio: pilot/pkg/security/authn/policy_applier.go,
/// `ComposePeerAuthentication`).
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    /// The oldest first.
    policies: Vec<Policy>,
}

impl Policies {
    pub(super) fn new(
        mut policies: Vec<Policy>,
        mesh: &MeshConfig,
        findings: &mut Vec<Finding>,
    ) -> Self {
        policies
            .retain(|policy| policy.labels.is_empty() || policy.namespace != mesh.root_namespace);
        policies.sort_by(|a, b| (a.created, &a.name.policy).cmp(&(b.created, &b.name.policy)));
        for (position, policy) in policies.iter().enumerate() {
            // A workload that one of them selects is surely selected by the other when the
            // labels of the one are among those of the other.
            let older = policies[..position].iter().find(|older| {
                older.namespace == policy.namespace
                    && older.labels.is_empty() == policy.labels.is_empty()
                    && older
                        .labels
                        .iter()
                        .all(|(name, value)| policy.labels.get(name) == Some(value))
            });
            if let Some(older) = older {
                findings.push(Finding::warning(
                    policy.place().clone(),
                    format!("the resource has no effect: {} selects the same workloads, and the oldest counts", older.name),
                ));
            }
        }
        Self { policies }
    }

    pub(super) fn modes(&self, workload: &Workload, root_namespace: &str) -> PeerModes {
        let oldest = |namespace: &str, selecting: bool| {
            self.policies.iter().find(|policy| {
                policy.namespace == namespace
                    && policy.labels.is_empty() != selecting
                    && workload.has_labels(&policy.labels)
            })
        };
        let own = workload.namespace.as_str();
        let mesh = oldest(root_namespace, false);
        let namespace = oldest(own, false);
        let specific = oldest(own, true);
        let mut whole = (PeerMode::default(), None);
        for policy in [mesh, namespace, specific].into_iter().flatten() {
            if let Some(mode) = policy.mode {
                whole = (mode, Some(Arc::clone(&policy.name)));
            }
        }
        let mut ports = BTreeMap::new();
        if let Some(policy) = specific {
            // A port that is unset has the workload's mode.
            let set = policy.ports.iter().filter_map(|(port, mode)| Some((*port, (*mode)?)));
            ports.extend(set.map(|(port, mode)| (port, (mode, Arc::clone(&policy.name)))));
        }
        PeerModes { whole, ports }
    }
}

/// The modes of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerModes {
    whole: (PeerMode, Option<Arc<RuleName>>),
    ports: BTreeMap<u16, (PeerMode, Arc<RuleName>)>,
}

impl PeerModes {
    pub(super) fn mode(&self, port: u16) -> PeerMode {
        self.ports.get(&port).map_or(self.whole.0, |(mode, _)| *mode)
    }

    pub(super) fn rule(&self, port: u16) -> Option<&Arc<RuleName>> {
        self.ports.get(&port).map_or(self.whole.1.as_ref(), |(_, rule)| Some(rule))
    }
}
