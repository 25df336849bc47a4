//! Files made into one validated whole.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{
    document::{Document, Head},
    finding::{Finding, Place, PolicyError, Severity},
    mesh::MeshConfig,
    notes::Notes,
    security::{self, Inbound, Security},
    selector::{is_namespace, is_resource_name},
    traffic::{self, Traffic},
    workload::Workload,
};

/// Largest policy file.
pub const LARGEST_FILE: usize = 1 << 20;

/// API groups with their versions and kinds.
const SUPPORTED: &[(&str, &[&str], &[&str])] = &[
    (
        "security.istio.io",
        &["v1", "v1beta1"],
        &["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"],
    ),
    (
        "networking.istio.io",
        &["v1", "v1beta1", "v1alpha3"],
        &["VirtualService", "DestinationRule", "ServiceEntry"],
    ),
    ("airhost.dev", &["v1"], &["CircuitBreaker", "EgressLimit"]),
];

/// Every policy of the mesh at one time. It never changes: what is changed is another snapshot,
/// put in the place of this one as a whole. The default one has no policies.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    mesh: Arc<MeshConfig>,
    security: Security,
    traffic: Traffic,
}

impl Snapshot {
    /// Reads all files together. With an error anywhere none of them is taken, and all that is
    /// wrong is said at once; otherwise the warnings come with the snapshot. Findings are in the
    /// order of files and lines.
    ///
    /// # Errors
    ///
    /// Unknown kinds, versions, fields and values; resources that are there twice; what refers to
    /// something that is not there; files larger than [`LARGEST_FILE`].
    pub fn compile<N, T>(
        files: impl IntoIterator<Item = (N, T)>,
        mesh: &MeshConfig,
    ) -> Result<(Self, Vec<Finding>), PolicyError>
    where
        N: Into<Arc<str>>,
        T: AsRef<str>,
    {
        let mut loader = Loader::new(mesh);
        for (name, text) in files {
            loader.file(&name.into(), text.as_ref());
        }
        loader.finish()
    }

    /// The mesh without policies: everything is allowed, and calls are made as Istio makes them by
    /// default.
    #[must_use]
    pub fn empty(mesh: &MeshConfig) -> Self {
        let mut unused = Vec::new();
        Self {
            mesh: Arc::new(mesh.clone()),
            security: security::Builder::default().finish(mesh, &mut unused),
            traffic: traffic::Builder::default().finish(mesh, &mut unused),
        }
    }

    /// The mesh's settings that it was made for.
    #[must_use]
    pub fn mesh(&self) -> &MeshConfig {
        &self.mesh
    }

    /// Where calls go and how they are made.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What holds for what enters a workload. It looks at every policy: it is to be kept for as
    /// long as workload and snapshot stay the same.
    #[must_use]
    pub fn inbound(&self, workload: &Workload) -> Inbound {
        self.security.inbound(workload)
    }
}

struct Loader<'a> {
    mesh: &'a MeshConfig,
    findings: Vec<Finding>,
    /// Where each kind, namespace and name is.
    seen: HashMap<(String, String, String), Place>,
    security: security::Builder,
    traffic: traffic::Builder,
}

impl<'a> Loader<'a> {
    fn new(mesh: &'a MeshConfig) -> Self {
        Self {
            mesh,
            findings: Vec::new(),
            seen: HashMap::new(),
            security: security::Builder::default(),
            traffic: traffic::Builder::default(),
        }
    }

    fn file(&mut self, name: &Arc<str>, text: &str) {
        if text.len() > LARGEST_FILE {
            let place = Place { file: Arc::clone(name), line: 1, column: 1 };
            let message = format!(
                "the file has {} bytes; a policy file has at most {LARGEST_FILE}: split it",
                text.len()
            );
            self.findings.push(Finding::error(place, message));
            return;
        }
        for document in Document::split(name, text) {
            self.document(&document);
        }
    }

    fn document(&mut self, document: &Document) {
        let head = match document.head() {
            Ok(head) => head,
            Err(finding) => {
                self.findings.push(finding);
                return;
            }
        };
        let Some(group) = self.group(document, &head) else { return };
        self.check_name(document, &head);
        let kind = head.kind.value.as_str();
        if security::Builder::takes(group, kind) {
            self.security.add(document, &head, self.mesh, &mut self.findings);
        } else if traffic::Builder::takes(group, kind) {
            self.traffic.add(document, &head, self.mesh, &mut self.findings);
        }
    }

    /// The resource's API group, if its kind and version are supported.
    fn group(&mut self, document: &Document, head: &Head) -> Option<&'static str> {
        let (group, version) = head.api_version.value.split_once('/').unwrap_or_default();
        let kind = head.kind.value.as_str();
        let found = SUPPORTED.iter().find(|(known, _, _)| *known == group);
        let mut notes = Notes::new(document, &mut self.findings);
        match found {
            Some((group, versions, kinds)) if kinds.contains(&kind) => {
                if versions.contains(&version) {
                    return Some(group);
                }
                notes.error(
                    &head.api_version,
                    format!(
                        "{kind} of `{group}` has the versions {}, and not `{version}`",
                        versions.join(", ")
                    ),
                );
            }
            Some((group, _, kinds)) => notes.error(
                &head.kind,
                format!("`{kind}` of `{group}` is not supported; there are {}", kinds.join(", ")),
            ),
            None if head.api_version.value == "v1" && kind == "List" => notes.error(
                &head.kind,
                "a `List` is not supported: write each item as a document of its own, with `---` between them",
            ),
            None => {
                let groups: Vec<&str> = SUPPORTED.iter().map(|(group, _, _)| *group).collect();
                notes.error(
                    &head.api_version,
                    format!(
                        "`{}` is not supported; there are resources of {}",
                        head.api_version.value,
                        groups.join(", ")
                    ),
                );
            }
        }
        None
    }

    fn check_name(&mut self, document: &Document, head: &Head) {
        let name = &head.metadata.name;
        let namespace = head.namespace(self.mesh);
        let mut notes = Notes::new(document, &mut self.findings);
        if !is_resource_name(&name.value) {
            notes.error(
                name,
                format!(
                    "`{}` is not a name: 1 to 253 characters of a-z, 0-9, `-` and `.` (RFC 1123)",
                    name.value
                ),
            );
        }
        if let Some(written) = &head.metadata.namespace
            && !is_namespace(namespace)
        {
            notes.error(
                written,
                format!(
                    "`{namespace}` is not a namespace: 1 to 63 characters of a-z, 0-9 and `-` (RFC 1123)"
                ),
            );
        }
        let kind = &head.kind.value;
        let key = (kind.clone(), namespace.to_owned(), name.value.clone());
        match self.seen.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(document.at(name));
            }
            Entry::Occupied(other) => {
                let other = other.get();
                notes.error(
                    name,
                    format!("{kind} {namespace}/{} is there twice: also at {other}", name.value),
                );
            }
        }
    }

    fn finish(mut self) -> Result<(Snapshot, Vec<Finding>), PolicyError> {
        let security = self.security.finish(self.mesh, &mut self.findings);
        let traffic = self.traffic.finish(self.mesh, &mut self.findings);
        self.findings.sort();
        self.findings.dedup();
        if self.findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(PolicyError { findings: self.findings });
        }
        let snapshot = Snapshot { mesh: Arc::new(self.mesh.clone()), security, traffic };
        Ok((snapshot, self.findings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_largest_size() {
        let mesh = MeshConfig::default();
        let largest = "#".repeat(LARGEST_FILE);
        assert_eq!(Snapshot::compile([("f", &largest)], &mesh).unwrap().1, []);
        let larger = "#".repeat(LARGEST_FILE + 1);
        let error = Snapshot::compile([("f", &larger)], &mesh).unwrap_err();
        let expect =
            "f:1:1: the file has 1048577 bytes; a policy file has at most 1048576: split it";
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn findings_of_all_files_are_told_in_their_order() {
        let file = |kind: &str| {
            format!(
                "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}\n"
            )
        };
        let files =
            [("b.yaml", file("B")), ("a.yaml", file("A")), ("c.yaml", file("PeerAuthentication"))];
        let error = Snapshot::compile(files, &MeshConfig::default()).unwrap_err();
        let places: Vec<String> =
            error.findings.iter().map(|finding| finding.place.to_string()).collect();
        assert_eq!(places, ["a.yaml:2:7", "b.yaml:2:7"]);
    }

    #[test]
    fn the_same_name_of_another_kind_or_version_is_another_resource_or_the_same() {
        let mesh = MeshConfig::default();
        let file = |version: &str, kind: &str| {
            format!(
                "apiVersion: security.istio.io/{version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}\n"
            )
        };
        let kinds =
            [("a", file("v1", "AuthorizationPolicy")), ("b", file("v1", "PeerAuthentication"))];
        assert!(Snapshot::compile(kinds, &mesh).is_ok());
        let versions =
            [("a", file("v1", "PeerAuthentication")), ("b", file("v1beta1", "PeerAuthentication"))];
        let error = Snapshot::compile(versions, &mesh).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("b:3:18: PeerAuthentication pyairtable/a is there twice: also at a:3:18"),
            "{error}"
        );
    }
}
