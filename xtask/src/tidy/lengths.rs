use std::fs;

use anyhow::Result;

use crate::layout;

/// Most lines of a source file, its tests left out.
const MOST: usize = 800;
/// Most lines of a crate's `lib.rs` in the host: it is a table of contents.
const MOST_OF_LIB: usize = 120;

pub(super) fn check() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for file in super::files(&[".rs", ".py", ".js", ".wit"])? {
        if file.contains("/generated/") {
            continue;
        }
        let text = fs::read_to_string(layout::root().join(&file))?;
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if lines > MOST {
            wrong.push(format!("{file} has {lines} lines, {MOST} at most: split it"));
        }
        if file.starts_with("host/") && file.ends_with("/src/lib.rs") && lines > MOST_OF_LIB {
            wrong.push(format!("{file} has {lines} lines, {MOST_OF_LIB} at most: it names modules, it does not hold code"));
        }
        // Cargo takes every file directly in `tests` for a test of its own: what they share is a
        // folder there.
        if file.ends_with("/mod.rs") && !file.contains("/tests/") {
            wrong.push(format!("{file}: use `name.rs` beside a folder `name/`"));
        }
    }
    Ok(wrong)
}
