use std::{fs, path::Path};

use anyhow::Result;

use crate::layout;

/// What every component folder has.
const REQUIRED: &[&str] =
    &["Cargo.toml", "service.toml", "README.md", "src/lib.rs", "src/handlers.rs"];
/// One of these holds the rules.
const RULES: &[&str] = &["src/domain.rs", "src/domain"];
/// What else it may have.
const ALLOWED: &[&str] = &[
    "Cargo.toml",
    "service.toml",
    "README.md",
    "src",
    "migrations",
    "tests",
    "pact",
    "openapi.json",
];
/// Most lines of `src/lib.rs`: the export and the route table.
const MOST_OF_LIB: usize = 120;

/// Every component folder has the same shape, so that who knows one knows all.
pub(super) fn check() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let components = layout::root().join("components");
    let mut names = crate::guests::all()?;
    names.push("_template".to_owned());
    for name in names {
        let folder = components.join(&name);
        for file in REQUIRED.iter().filter(|file| !folder.join(file).is_file()) {
            wrong.push(format!("components/{name} has no {file}"));
        }
        if !RULES.iter().any(|path| folder.join(path).exists()) {
            wrong.push(format!("components/{name} has neither {}", RULES.join(" nor ")));
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?.file_name().to_string_lossy().into_owned();
            if !ALLOWED.contains(&entry.as_str()) {
                wrong.push(format!("components/{name}/{entry} is not part of a component folder"));
            }
        }
        wrong.extend(lib_is_short(&folder, &name)?);
        wrong.extend(leans_on_sdk_alone(&folder, &name)?);
    }
    Ok(wrong)
}

fn lib_is_short(folder: &Path, name: &str) -> Result<Option<String>> {
    let Ok(text) = fs::read_to_string(folder.join("src/lib.rs")) else { return Ok(None) };
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    Ok((lines > MOST_OF_LIB)
        .then(|| format!("components/{name}/src/lib.rs has {lines} lines, {MOST_OF_LIB} at most")))
}

/// No component depends on another one, nor on a crate of the host.
fn leans_on_sdk_alone(folder: &Path, name: &str) -> Result<Vec<String>> {
    let Ok(text) = fs::read_to_string(folder.join("Cargo.toml")) else { return Ok(Vec::new()) };
    let foreign = |line: &&str| line.contains("path =") && !line.contains("../sdk");
    Ok(text
        .lines()
        .filter(foreign)
        .filter(|line| !line.trim_start().starts_with("path = \"src"))
        .map(|line| {
            format!("components/{name}/Cargo.toml leans on more than the SDK: {}", line.trim())
        })
        .collect())
}
