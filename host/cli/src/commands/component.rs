//! Looks into components without running them.

use std::path::PathBuf;

use airhost_core::Revision;
use airhost_manifest::{Artifact, InterfaceName, Manifest};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::json;

use crate::{Global, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows what a component imports, exports and carries, and whether it fits this host.
    Inspect {
        /// The component or artifact.
        file: PathBuf,
        /// A manifest for a component that has none in it.
        #[arg(long)]
        manifest: Option<PathBuf>,
    },
}

pub(crate) fn run(global: &Global, command: &Command) -> Result<()> {
    let Command::Inspect { file, manifest } = command;
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let artifact = match manifest {
        Some(path) => {
            let manifest = Manifest::load(path).map_err(airhost_core::Error::from)?;
            Artifact::with_manifest(&bytes, manifest)
        }
        None => Artifact::from_bytes(&bytes),
    };
    let artifact = artifact.map_err(airhost_core::Error::from)?;
    let findings = artifact
        .check_grants(artifact.manifest(), airhost_node::interfaces())
        .err()
        .unwrap_or_default();
    let manifest = artifact.manifest();
    let digest = Revision::of(&bytes);
    let names = |names: &mut dyn Iterator<Item = &InterfaceName>| -> Vec<String> {
        names.map(ToString::to_string).collect()
    };
    let imports = names(&mut artifact.imports().iter().map(|import| &import.interface));
    let exports = names(&mut artifact.exports().iter());
    let migrations: Vec<String> =
        artifact.migrations().iter().map(|migration| migration.file_name()).collect();
    let problems: Vec<String> = findings.iter().map(ToString::to_string).collect();
    if global.json {
        return output::json(&json!({
            "service": manifest.name,
            "digest": digest,
            "bytes": bytes.len(),
            "imports": imports,
            "exports": exports,
            "migrations": migrations,
            "openapi": artifact.openapi().is_some(),
            "problems": problems,
            "manifest": manifest.to_toml(),
        }));
    }
    output::line(&format!(
        "{} · sha256:{digest} · {} KiB",
        manifest.name,
        bytes.len().div_ceil(1024)
    ));
    list("imports", &imports);
    list("exports", &exports);
    list("migrations", &migrations);
    list("problems", &problems);
    if problems.is_empty() {
        output::line("it fits this host");
    }
    Ok(())
}

fn list(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    output::line(&format!("{title}:"));
    for line in lines {
        output::line(&format!("  {line}"));
    }
}
