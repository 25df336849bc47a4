//! Compiles a service's folder with the tools of its language.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use airhost_manifest::{Language, Manifest};
use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::progress::Progress;

/// The target that Rust services are built for.
const TARGET: &str = "wasm32-wasip2";

/// Builds the component of a folder; answers its file.
pub(crate) fn compile(folder: &Path, manifest: &Manifest, progress: &Progress) -> Result<PathBuf> {
    match manifest.language {
        Language::Rust => rust(folder, progress),
        Language::Python => python(folder, manifest, progress),
        Language::JavaScript => javascript(folder, manifest, progress),
        Language::Other => bail!(
            "{} has `language = \"other\"`: build the component with its own tools and name the file with --component",
            folder.display()
        ),
    }
}

fn rust(folder: &Path, progress: &Progress) -> Result<PathBuf> {
    progress.step("compile", "cargo build --release --target wasm32-wasip2");
    let arguments =
        ["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"];
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo: install Rust from https://rustup.rs")?;
    if !output.status.success() {
        if !super::doctor::builds_components().unwrap_or(true) {
            bail!("Rust's target for components is missing: `rustup target add {TARGET}`");
        }
        bail!("the service does not compile: what is wrong is said above");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut files = artifacts.filter_map(|message| {
        let files = message["filenames"].as_array()?;
        files
            .iter()
            .filter_map(Value::as_str)
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    });
    // What is built last is the folder's own; its dependencies come before it.
    files.next_back().with_context(|| {
        format!(
            "{} makes no component: its Cargo.toml needs `crate-type = [\"cdylib\"]` under [lib]",
            folder.display()
        )
    })
}

/// `app.py` through componentize-py, with the world in `wit/`.
fn python(folder: &Path, manifest: &Manifest, progress: &Progress) -> Result<PathBuf> {
    progress.step("compile", "componentize-py");
    let file = output(folder, manifest)?;
    let mut command = Command::new("componentize-py");
    command.args(["-d", "wit", "-w", "service", "componentize", "app", "-o"]).arg(&file);
    run(
        folder,
        command,
        "componentize-py: `pip install -r requirements.txt` in the service's folder",
    )?;
    Ok(file)
}

/// `app.js` through jco, with the world in `wit/`.
fn javascript(folder: &Path, manifest: &Manifest, progress: &Progress) -> Result<PathBuf> {
    progress.step("compile", "jco componentize");
    let file = output(folder, manifest)?;
    // Not through `npx`, which fetches a package of that name if none is installed here.
    let jco = folder.canonicalize()?.join("node_modules/.bin/jco");
    let mut command = Command::new(jco);
    // Replies are synchronous in the contracts, and the host's engine runs without the component
    // model's asynchronous built-ins.
    command
        .args(["componentize", "app.js", "--wit", "wit", "--world-name", "service"])
        .args(["--backend", "quickjs", "--backend-qjs-disable-async", "-o"])
        .arg(&file);
    run(folder, command, "jco: `npm install` in the service's folder")?;
    Ok(file)
}

/// Where the component goes before it is packed.
fn output(folder: &Path, manifest: &Manifest) -> Result<PathBuf> {
    let build = folder.join("build");
    std::fs::create_dir_all(&build).with_context(|| format!("cannot make {}", build.display()))?;
    let build = build.canonicalize()?;
    Ok(build.join(format!("{}.component.wasm", manifest.name)))
}

fn run(folder: &Path, mut command: Command, needs: &str) -> Result<()> {
    // Standard output is for the answers of this program.
    let status = command.current_dir(folder).stdout(std::io::stderr()).status().map_err(
        |error| match error.kind() {
            ErrorKind::NotFound => anyhow!("this needs {needs}"),
            _ => anyhow!(error).context(format!("cannot start {needs}")),
        },
    )?;
    if !status.success() {
        bail!("the service does not compile: what is wrong is said above");
    }
    Ok(())
}
