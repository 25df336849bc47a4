//! Makes one file of a service: component, manifest, migrations, API and event schemas.

use std::path::{Path, PathBuf};

use airhost_core::Revision;
use airhost_manifest::{Artifact, Contents, Manifest};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;

use super::toolchain;
use crate::{Global, contracts, output, progress::Progress};

/// What a component exports that says which requests it answers.
const DESCRIBE: &str = "pyairtable:service/describe";

#[derive(Args)]
pub(crate) struct Options {
    /// The service's folder, with `service.toml` in it.
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
    /// A component that is built already; otherwise the folder's own language builds it.
    #[arg(long)]
    pub(crate) component: Option<PathBuf>,
    /// Where the artifact goes; `<folder>/<name>.wasm` if not given.
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Folder of event schemas; `wit/events/schemas` of a folder above, or `schemas` in the
    /// service's folder, if not given. Topics of the contracts need none.
    #[arg(long)]
    pub(crate) schemas: Option<PathBuf>,
    /// Prints nothing if all is well.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let progress = Progress::new(options.quiet || global.json);
    let (file, bytes) = build(options, &progress)?;
    let revision = Revision::of(&bytes);
    if global.json {
        return output::json(&serde_json::json!({
            "file": file,
            "bytes": bytes.len(),
            "digest": revision,
        }));
    }
    progress.step(
        "artifact",
        &format!(
            "{} · {} KiB · sha256:{}",
            file.display(),
            bytes.len().div_ceil(1024),
            revision.short()
        ),
    );
    progress.done("built");
    Ok(())
}

/// Builds the artifact of a folder; answers its file and content.
pub(crate) fn build(options: &Options, progress: &Progress) -> Result<(PathBuf, Vec<u8>)> {
    let folder = &options.folder;
    let manifest = manifest(folder)?;
    let component = match &options.component {
        Some(file) => file.clone(),
        None => toolchain::compile(folder, &manifest, progress)?,
    };
    let component = std::fs::read(&component)
        .with_context(|| format!("cannot read {}", component.display()))?;
    progress.step("pack", "manifest, migrations, API, schemas");
    let schemas = match &options.schemas {
        Some(folder) => folder.clone(),
        None => above(folder, "wit/events/schemas").unwrap_or_else(|| folder.join("schemas")),
    };
    let mut contents =
        Contents::load(folder, &schemas, &|topic| contracts::event_schema(topic.as_str()))
            .map_err(airhost_core::Error::from)?;
    airhost_node::check_migrations(&contents.migrations)?;
    let pack = |contents: &Contents| {
        Artifact::pack(&component, contents).map_err(airhost_core::Error::from)
    };
    let mut bytes = pack(&contents)?;
    // Compiling a component only to learn that it says nothing of itself would take long.
    let describes = check(&bytes)?.exports().iter().any(|export| &*export.name == DESCRIBE);
    if contents.openapi.is_none() && describes {
        contents.openapi = airhost_node::describe(&component)?;
        bytes = pack(&contents)?;
    }
    let output =
        options.output.clone().unwrap_or_else(|| folder.join(format!("{}.wasm", manifest.name)));
    std::fs::write(&output, &bytes)
        .with_context(|| format!("cannot write {}", output.display()))?;
    Ok((output, bytes))
}

/// The manifest of a service's folder.
pub(crate) fn manifest(folder: &Path) -> Result<Manifest> {
    let file = folder.join("service.toml");
    if !file.exists() {
        bail!(
            "{} has no service.toml: name a service's folder, or make one with `airhost new`",
            folder.display()
        );
    }
    Ok(Manifest::load(&file).map_err(airhost_core::Error::from)?)
}

/// Packs a manifest into a component that has none.
pub(crate) fn with_manifest(component: &[u8], manifest: &Path) -> Result<Vec<u8>> {
    let manifest = Manifest::load(manifest).map_err(airhost_core::Error::from)?;
    let artifact =
        Artifact::with_manifest(component, manifest).map_err(airhost_core::Error::from)?;
    Ok(artifact.bytes().to_vec())
}

/// What a deploy would refuse is refused here, where it can be mended.
fn check(bytes: &[u8]) -> Result<Artifact> {
    let artifact = Artifact::from_bytes(bytes).map_err(airhost_core::Error::from)?;
    match artifact.check_grants(artifact.manifest(), airhost_node::interfaces()) {
        Ok(()) => Ok(artifact),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            Err(anyhow!("{}", lines.join("\n")))
        }
    }
}

/// A folder of this name in the folder or one above it.
pub(crate) fn above(folder: &Path, name: &str) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    folder.ancestors().map(|folder| folder.join(name)).find(|path| path.is_dir())
}
