//! Who and what: subjects and resources by kind and id.

use std::fmt;

use sdk::{Schema, Text};
use serde::{Deserialize, Serialize};

/// What a subject is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema, Text,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SubjectKind {
    /// A person.
    User,
    /// A group of users and groups.
    Group,
    /// A service.
    Service,
}

/// Who may do something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectRef {
    /// What it is.
    #[serde(rename = "type")]
    pub(crate) kind: SubjectKind,
    /// Its id.
    #[schema(min_length = 1, max_length = 200, check = plain, example = "0192f0c0-2222-7abc-8def-000000000002")]
    pub(crate) id: String,
}

/// What something is done with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceRef {
    /// `tenant`, `workspace`, `base`, `table`, `view`, `record`, or a kind of another service.
    #[serde(rename = "type")]
    #[schema(max_length = 40, format = "slug", example = "base")]
    pub(crate) kind: String,
    /// Its id.
    #[schema(min_length = 1, max_length = 200, check = plain, example = "appAbc12345678901")]
    pub(crate) id: String,
}

impl SubjectRef {
    pub(crate) fn user(id: impl Into<String>) -> Self {
        Self { kind: SubjectKind::User, id: id.into() }
    }
}

impl ResourceRef {
    pub(crate) fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }

    pub(crate) fn tenant(id: &str) -> Self {
        Self::new("tenant", id)
    }

    /// The root of another tenant's tree, of which nothing is known here.
    pub(crate) fn is_foreign(&self, tenant: &str) -> bool {
        self.kind == "tenant" && self.id != tenant
    }
}

impl fmt::Display for SubjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

fn plain(id: &str) -> Result<(), &'static str> {
    if id.chars().any(char::is_control) { Err("must have no control characters") } else { Ok(()) }
}

/// How far down a kind is. Kinds of other services are leaves.
fn level(kind: &str) -> u8 {
    match kind {
        "tenant" => 0,
        "workspace" => 1,
        "base" => 2,
        "table" => 3,
        _ => 4,
    }
}

/// Whether a resource may hang under another. Levels only go down, so the tree has no cycles.
pub(crate) fn may_hang_under(child: &str, parent: &str) -> bool {
    level(parent) < level(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_goes_down() {
        let rows = [
            ("workspace", "tenant", true),
            ("base", "workspace", true),
            ("base", "tenant", true),
            ("table", "base", true),
            ("record", "table", true),
            ("file", "workspace", true),
            ("tenant", "workspace", false),
            ("workspace", "workspace", false),
            ("base", "table", false),
            ("record", "view", false),
        ];
        for (child, parent, expected) in rows {
            assert_eq!(may_hang_under(child, parent), expected, "{child} under {parent}");
        }
    }
}
