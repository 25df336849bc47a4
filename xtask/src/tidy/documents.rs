use std::fs;

use anyhow::Result;

use crate::layout;

/// Tops of the repository: a word in back ticks that begins with one of them is a path.
const TOPS: &[&str] =
    &["host/", "components/", "wit/", "policies/", "deploy/", "tests/", "docs/", "xtask/", ".ci/"];

/// Paths in back ticks and links of documents must exist.
pub(super) fn check() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for document in super::files(&[".md"])? {
        // Documents of services that are still to be made speak of those services' files.
        if document.contains("/templates/") {
            continue;
        }
        let text = fs::read_to_string(layout::root().join(&document))?;
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            if fenced {
                continue;
            }
            for path in quoted(line).chain(linked(line)) {
                if !exists(&document, path) {
                    wrong.push(format!("{document}:{}: {path} does not exist", number + 1));
                }
            }
        }
    }
    Ok(wrong)
}

/// Words in back ticks that are paths of the repository, without patterns and placeholders.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|word| {
        TOPS.iter().any(|top| word.starts_with(top))
            && !word.contains(['<', '*', '{', ' ', '…', '$'])
    })
}

/// Relative targets of links.
fn linked(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| {
        !target.contains("://")
            && !target.starts_with('#')
            && !target.starts_with('/')
            && !target.is_empty()
    })
}

fn exists(document: &str, path: &str) -> bool {
    let path = path.split(['#', ':']).next().unwrap_or_default();
    let beside = layout::root().join(document).with_file_name(path);
    layout::root().join(path).exists() || beside.exists()
}
