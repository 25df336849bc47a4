//! Annotations that mean something.

use crate::{document::Metadata, notes::Notes};

/// The policy is evaluated and reported, and never enforced.
pub(super) const DRY_RUN: &str = "istio.io/dry-run";
/// A token that no rule is for goes on instead of being refused.
pub(super) const FORWARD_UNRECOGNIZED: &str = "airhost.dev/forward-unrecognized";

/// Those of this project are known or refused, and dry-run is not silently ignored where there is
/// none.
pub(super) fn check(metadata: &Metadata, known: &[&str], notes: &mut Notes<'_>) {
    for (name, value) in &metadata.annotations {
        let ours = name.starts_with("airhost.dev/") || name == DRY_RUN;
        if ours && !known.contains(&name.as_str()) {
            notes.error(value, format!("the annotation `{name}` has no meaning here"));
        }
    }
}

/// A boolean, as Go's `ParseBool` reads it; false when absent.
pub(super) fn flag(metadata: &Metadata, name: &str, notes: &mut Notes<'_>) -> bool {
    let Some(value) = metadata.annotations.get(name) else { return false };
    match value.value.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        other => {
            notes.error(value, format!("`{name}` is \"true\" or \"false\", and not `{other}`"));
            false
        }
    }
}
