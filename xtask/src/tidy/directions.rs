use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell::{output, program};

/// The floors of the host, from the lowest. A crate leans only on floors below its own.
const FLOORS: &[&[&str]] = &[
    &["core"],
    &["telemetry", "manifest"],
    &["policy"],
    &["storage", "crypto"],
    &["identity", "secrets", "mail"],
    &["events"],
    &["jobs"],
    &["runtime", "mesh"],
    &["migrate"],
    &["control"],
    &["node"],
    &["cli"],
];

/// Crates that must not reach a network, a disk or a clock, and what they would do it with.
const PURE: &[(&str, &[&str])] = &[("airhost-policy", &["tokio", "hyper", "rusqlite", "reqwest"])];

/// Engine crates that only their floor may name.
const CONFINED: &[(&str, &[&str])] = &[
    ("wasmtime", &["airhost-runtime"]),
    ("wasmtime-wasi", &["airhost-runtime"]),
    ("wasmtime-wizer", &["airhost-runtime"]),
    ("rusqlite", &["airhost-storage", "airhost-secrets", "airhost-events"]),
];

pub(super) fn check() -> Result<Vec<String>> {
    let metadata = output(program("cargo", ["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        // What tests of a crate use does not bind those who build on it.
        let used: Vec<&str> = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .collect();
        let in_host = path.contains("/host/");
        if in_host {
            match floor(name) {
                None => wrong.push(format!("{name} has no floor: add it to the list in xtask")),
                Some(own) => {
                    for other in &used {
                        if floor(other).is_some_and(|floor| floor >= own) {
                            wrong.push(format!(
                                "{name} must not lean on {other}, which is not below it"
                            ));
                        }
                    }
                }
            }
        }
        for (pure, refused) in PURE.iter().filter(|(pure, _)| *pure == name) {
            for other in used.iter().filter(|other| refused.contains(other)) {
                wrong.push(format!("{pure} must not use {other}"));
            }
        }
        for (engine, owners) in CONFINED {
            if in_host && used.contains(engine) && !owners.contains(&name) {
                wrong.push(format!(
                    "{name} must not use {engine}; that is for {}",
                    owners.join(", ")
                ));
            }
        }
    }
    Ok(wrong)
}

fn floor(package: &str) -> Option<usize> {
    let short = package.strip_prefix("airhost-")?;
    FLOORS.iter().position(|floor| floor.contains(&short))
}
