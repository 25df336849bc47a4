//! Holds the structure: what a reader may rely on is checked, not hoped for.

mod components;
mod directions;
mod documents;
mod lengths;

use anyhow::{Result, bail};

/// Finds what is wrong, each a sentence.
type Check = fn() -> Result<Vec<String>>;

/// Runs every check and reports all that is wrong at once.
pub(crate) fn run() -> Result<()> {
    let checks: [(&str, Check); 4] = [
        ("crate directions", directions::check),
        ("paths in documents", documents::check),
        ("file lengths", lengths::check),
        ("component folders", components::check),
    ];
    let mut wrong = Vec::new();
    for (name, check) in checks {
        wrong.extend(check()?.into_iter().map(|finding| format!("{name}: {finding}")));
    }
    if wrong.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{} thing(s) to tidy:\n  {}", wrong.len(), wrong.join("\n  "))
}

/// Files that git tracks, or would, with one of these endings.
fn files(endings: &[&str]) -> Result<Vec<String>> {
    let listed = crate::shell::output(crate::shell::program(
        "git",
        ["ls-files", "--cached", "--others", "--exclude-standard"],
    ))?;
    let wanted = |path: &&str| endings.iter().any(|ending| path.ends_with(ending));
    let present = |path: &&str| crate::layout::root().join(path).is_file();
    Ok(listed.lines().filter(wanted).filter(present).map(str::to_owned).collect())
}
