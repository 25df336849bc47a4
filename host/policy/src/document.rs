//! Files taken apart into documents, and documents into typed resources.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};
use serde_saphyr::{Location, MessageFormatter as _, Options, Spanned, UserMessageFormatter};

use crate::{
    finding::{Finding, Place},
    mesh::MeshConfig,
};

/// One YAML document of a file.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    file: Arc<str>,
    text: String,
    /// Lines of the file before the text's first one.
    lines_before: u64,
}

/// What every resource begins with; the rest of it is not looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) api_version: Spanned<String>,
    pub(crate) kind: Spanned<String>,
    pub(crate) metadata: HeadMetadata,
}

/// What names a resource.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct HeadMetadata {
    pub(crate) name: Spanned<String>,
    pub(crate) namespace: Option<Spanned<String>>,
}

impl Head {
    /// The resource's namespace: its own, or that of all services.
    pub(crate) fn namespace<'a>(&'a self, mesh: &'a MeshConfig) -> &'a str {
        self.metadata.namespace.as_ref().map_or(&mesh.namespace, |namespace| &namespace.value)
    }
}

/// `metadata`. What a cluster adds when a resource is exported from it is accepted and not used.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) name: Spanned<String>,
    pub(crate) namespace: Option<Spanned<String>>,
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, Spanned<String>>,
    /// RFC 3339; the oldest of several `PeerAuthentication`s counts.
    pub(crate) creation_timestamp: Option<Spanned<String>>,
    #[serde(rename = "uid")]
    _uid: Option<serde::de::IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _resource_version: Option<serde::de::IgnoredAny>,
    #[serde(rename = "generation")]
    _generation: Option<serde::de::IgnoredAny>,
    #[serde(rename = "managedFields")]
    _managed_fields: Option<serde::de::IgnoredAny>,
    #[serde(rename = "ownerReferences")]
    _owner_references: Option<serde::de::IgnoredAny>,
    #[serde(rename = "selfLink")]
    _self_link: Option<serde::de::IgnoredAny>,
}

/// A whole resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Resource<S> {
    #[serde(rename = "apiVersion")]
    _api_version: serde::de::IgnoredAny,
    #[serde(rename = "kind")]
    _kind: serde::de::IgnoredAny,
    pub(crate) metadata: Metadata,
    pub(crate) spec: S,
    #[serde(rename = "status")]
    _status: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// The documents of a file. Those without content are left out.
    pub(crate) fn split(file: &Arc<str>, text: &str) -> Vec<Self> {
        let mut documents = Vec::new();
        let mut current = Self { file: Arc::clone(file), text: String::new(), lines_before: 0 };
        for (before, line) in (0..).zip(text.split_inclusive('\n')) {
            // A marker stands at the start of its line, whatever surrounds it (YAML 1.2, 9.1.2).
            let marker = ["---", "..."].into_iter().find(|marker| {
                line.strip_prefix(marker).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])
                })
            });
            if let Some(marker) = marker {
                let next =
                    Self { file: Arc::clone(file), text: String::new(), lines_before: before };
                documents.push(std::mem::replace(&mut current, next));
                // What follows a marker on its line is content, and stays in its column.
                current.text.extend(marker.chars().map(|_| ' '));
                current.text.push_str(&line[marker.len()..]);
            } else {
                current.text.push_str(line);
            }
        }
        documents.push(current);
        documents.retain(Self::has_content);
        documents
    }

    /// Whether there is more than comments and directives, with which no plain text begins.
    fn has_content(&self) -> bool {
        self.text
            .lines()
            .any(|line| !matches!(line.trim_start().as_bytes().first(), None | Some(b'#' | b'%')))
    }

    pub(crate) fn head(&self) -> Result<Head, Finding> {
        self.read()
    }

    pub(crate) fn resource<S: DeserializeOwned>(&self) -> Result<Resource<S>, Finding> {
        self.read()
    }

    /// The place of a value.
    pub(crate) fn at<T>(&self, value: &Spanned<T>) -> Place {
        self.place(value.referenced)
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Finding> {
        serde_saphyr::from_str_with_options(&self.text, options()).map_err(|error| {
            let place = self.place(error.location().unwrap_or(Location::UNKNOWN));
            Finding::error(place, sentence(error.without_snippet()))
        })
    }

    fn place(&self, location: Location) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: self.lines_before + location.line().max(1),
            column: location.column().max(1),
        }
    }
}

/// What the parser says, in the words of who wrote the file.
fn sentence(error: &serde_saphyr::Error) -> String {
    let message = match error {
        serde_saphyr::Error::Unexpected { expected: "sequence start", .. } => {
            "a list is expected here".into()
        }
        serde_saphyr::Error::Unexpected { expected: "mapping start", .. } => {
            "a mapping is expected here".into()
        }
        other => UserMessageFormatter.format_message(other),
    };
    // Parts of the file may be in it: no control characters in logs.
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Far above any policy, far below what would be felt: a document is at most a file, which is
/// bounded, so these bound what its anchors can be made into.
fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 250_000,
            max_nodes: 100_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_depth: 32,
            max_documents: 1,
            max_merge_keys: 100,
            max_total_scalar_bytes: 4 << 20,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 4 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 1_000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Spec {
        #[serde(default)]
        values: Vec<Spanned<String>>,
    }

    fn documents(text: &str) -> Vec<Document> {
        Document::split(&"f.yaml".into(), text)
    }

    const RESOURCE: &str =
        "apiVersion: a/v1\nkind: K\nmetadata:\n  name: n\nspec:\n  values: [a]\n";

    #[test]
    fn files_are_split_at_markers_and_lines_are_those_of_the_file() {
        for (text, lines) in [
            (RESOURCE.to_owned(), vec![6]),
            (format!("---\n{RESOURCE}"), vec![7]),
            (format!("# c\n---\n{RESOURCE}---\n# nothing\n---\n\n{RESOURCE}"), vec![8, 18]),
            (format!("%YAML 1.2\n---\n{RESOURCE}"), vec![8]),
            (format!("{RESOURCE}...\n{RESOURCE}"), vec![6, 13]),
            (format!("--- # c\r\n{}", RESOURCE.replace('\n', "\r\n")), vec![7]),
            (String::new(), vec![]),
            ("---\n---\n# c\n".to_owned(), vec![]),
        ] {
            let found: Vec<u64> = documents(&text)
                .iter()
                .map(|document| {
                    let resource = document.resource::<Spec>().unwrap();
                    document.at(&resource.spec.values[0]).line
                })
                .collect();
            assert_eq!(found, lines, "{text}");
        }
    }

    #[test]
    fn content_on_the_line_of_a_marker_is_kept() {
        let text = "--- {apiVersion: a/v1, kind: K, metadata: {name: n}, spec: {values: [a]}}\n";
        let document = &documents(text)[0];
        let place = document.at(&document.resource::<Spec>().unwrap().spec.values[0]);
        assert_eq!((place.line, place.column), (1, 70));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_quickly() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        text.push_str(RESOURCE);
        let finding = documents(&text)[0].head().unwrap_err();
        assert!(finding.message.contains("too large or too complex"), "{finding}");
    }

    #[test]
    fn many_markers_cost_no_more_than_their_lines() {
        let text = "---\n#\n".repeat(150_000) + "---\n" + RESOURCE;
        let found = documents(&text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines_before, 300_000);
    }
}
