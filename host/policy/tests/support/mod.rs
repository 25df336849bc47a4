//! Rows of tests/conformance, and what is made of them.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf};

use airhost_core::SpiffeId;
use airhost_policy::{
    Claims, ExtensionProvider, Finding, MeshConfig, PolicyError, Snapshot, Workload,
    security::{Channel, Request},
};
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A file or folder of tests/conformance.
pub(crate) fn conformance(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance").join(name)
}

/// The rows of a file.
pub(crate) fn rows<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let text = fs::read_to_string(conformance(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a row says of the mesh.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Mesh {
    trust_domain: Option<String>,
    aliases: Vec<String>,
    providers: Vec<String>,
}

impl Mesh {
    pub(crate) fn config(&self) -> MeshConfig {
        let mut mesh = MeshConfig::default();
        if let Some(domain) = &self.trust_domain {
            mesh.trust_domain = domain.parse().unwrap();
        }
        mesh.trust_domain_aliases =
            self.aliases.iter().map(|alias| alias.parse().unwrap()).collect();
        for name in &self.providers {
            let provider = ExtensionProvider::new(format!("{name}.example"), 8000);
            mesh.extension_providers.insert(name.clone(), provider.into());
        }
        mesh
    }
}

/// A resource, without what all have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    name: Option<String>,
    namespace: Option<String>,
    created: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    spec: Value,
}

/// Resources of one kind as one file, a line each.
pub(crate) fn file(kind: &str, policies: &[Policy]) -> String {
    let mut text = String::new();
    for (position, policy) in policies.iter().enumerate() {
        let mut metadata = json!({
            "name": policy.name.clone().unwrap_or_else(|| format!("p{position}")),
            "annotations": policy.annotations,
        });
        for (field, value) in
            [("namespace", &policy.namespace), ("creationTimestamp", &policy.created)]
        {
            if let Some(value) = value {
                metadata[field] = json!(value);
            }
        }
        let resource = json!({
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": policy.spec,
        });
        text.push_str(&format!("--- {resource}\n"));
    }
    text
}

pub(crate) fn compile(
    kind: &str,
    policies: &[Policy],
    mesh: &MeshConfig,
) -> Result<(Snapshot, Vec<Finding>), PolicyError> {
    Snapshot::compile([("case.yaml", file(kind, policies))], mesh)
}

/// The warnings are these, each with one of these words in it.
pub(crate) fn check_warnings(id: &str, found: &[Finding], expected: &[String]) {
    let all = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(found.len(), expected.len(), "{id}: {all}");
    for (finding, words) in found.iter().zip(expected) {
        assert!(finding.message.contains(words), "{id}: `{words}` in {finding}");
    }
}

pub(crate) fn workload(namespace: &str) -> Workload {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Workload {
        service: "records-service".parse().unwrap(),
        namespace: namespace.to_owned(),
        labels: [label("app", "records-service"), label("version", "v1")].into(),
    }
}

/// A request, and what is expected of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) expect: String,
    pub(crate) because: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) audited: Vec<String>,
    pub(crate) dry_run: Option<String>,
    pub(crate) custom: Option<String>,
    pub(crate) event: bool,
    pub(crate) peer: Option<String>,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) remote_ip: Option<IpAddr>,
    pub(crate) destination_ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) sni: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) headers: BTreeMap<String, Fields>,
    pub(crate) claims: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Fields {
    One(String),
    Several(Vec<String>),
}

/// What a request borrows from.
#[derive(Debug)]
pub(crate) struct Owned {
    case: Case,
    peer: Option<SpiffeId>,
    headers: HeaderMap,
    claims: Option<Claims>,
}

impl From<Case> for Owned {
    fn from(case: Case) -> Self {
        let mut headers = HeaderMap::new();
        for (name, fields) in &case.headers {
            let name: HeaderName = name.parse().unwrap();
            let values = match fields {
                Fields::One(value) => vec![value],
                Fields::Several(values) => values.iter().collect(),
            };
            for value in values {
                headers.append(name.clone(), value.parse().unwrap());
            }
        }
        Self {
            peer: case.peer.as_ref().map(|id| format!("spiffe://{id}").parse().unwrap()),
            claims: case.claims.clone().map(Claims::new),
            headers,
            case,
        }
    }
}

impl Owned {
    pub(crate) fn request(&self) -> Request<'_> {
        let case = &self.case;
        Request {
            channel: if case.event { Channel::Event } else { Channel::Http },
            peer: self.peer.as_ref(),
            source_ip: case.source_ip,
            remote_ip: case.remote_ip,
            destination_ip: case.destination_ip,
            port: case.port.unwrap_or(80),
            sni: case.sni.as_deref(),
            method: case.method.as_deref().unwrap_or("GET"),
            host: case.host.as_deref().unwrap_or("records-service"),
            path: case.path.as_deref().unwrap_or("/"),
            headers: &self.headers,
            claims: self.claims.as_ref(),
        }
    }
}
