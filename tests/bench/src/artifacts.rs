//! The components that are measured, as artifacts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use airhost_manifest::{Artifact, Contents, Manifest};
use anyhow::{Context as _, Result};

use crate::process::free_ports;

/// A service of the benchmarks: its name, the guest it is made of, how its instances live, and
/// further lines of its manifest.
type Entry = (&'static str, &'static str, &'static str, &'static str);

const SERVICES: [Entry; 13] = [
    ("echo-fresh", "echo-json", "fresh", ""),
    ("echo-warm", "echo-json", "warm", ""),
    ("large-fresh", "large", "fresh", ""),
    ("large-warm", "large", "warm", ""),
    ("token-fresh", "token", "fresh", ASSUME),
    ("token-warm", "token", "warm", ASSUME),
    ("wasi-fresh", "wasi-json", "fresh", ""),
    ("wasi-warm", "wasi-json", "warm", ""),
    ("caller", "call-timer", "fresh", "[calls]\nservices = [\"callee-fresh\", \"callee-warm\"]\n"),
    ("callee-fresh", "call-timer", "fresh", CALLS),
    ("callee-warm", "call-timer", "warm", CALLS),
    (DEPLOYED, "medium", "fresh", ""),
    (HOSTILE, "hostile", "fresh", NARROW),
];

const ASSUME: &str = "[grants]\nprincipal-assume = true\n";
/// Both sides of a call are the same component, which can call.
const CALLS: &str = "[calls]\nservices = [\"caller\"]\n";

/// So that its faults end soon and follow each other closely.
const NARROW: &str =
    "[limits]\nmemory = \"32MiB\"\ncpu = \"100ms\"\nwall = \"2s\"\nstream-output = \"16MiB\"\n";

/// The service that does wrong whatever a guest can do wrong.
pub(crate) const HOSTILE: &str = "hostile";
/// The service that is deployed again and again: about 1 MB.
pub(crate) const DEPLOYED: &str = "deployed";
/// Issues the tokens that are checked.
pub(crate) const AUTH: &str = "auth-service";

/// Writes all of them into a folder, each with a free port of its own; answers the ports by name.
/// The service that issues tokens is among them if `components`, the folder of the platform's own
/// artifacts, is known.
pub(crate) fn write(folder: &Path, components: Option<&Path>) -> Result<BTreeMap<String, u16>> {
    let mut ports = free_ports(SERVICES.len() + 1)?.into_iter();
    let mut next = || ports.next().context("there are too few free ports");
    let mut known = BTreeMap::new();
    for (name, guest, instances, more) in SERVICES {
        let port = next()?;
        let file = pack(
            &read(&airhost_test_guests::guest(guest))?,
            &manifest(name, port, instances, more, ""),
        )?;
        save(folder, name, &file)?;
        known.insert(name.to_owned(), port);
    }
    if let Some(components) = components {
        let port = next()?;
        let artifact = Artifact::from_bytes(&read(&components.join(format!("{AUTH}.wasm")))?)?;
        let mut contents = artifact.contents().clone();
        contents.manifest.port = port;
        save(folder, AUTH, &Artifact::pack(artifact.bytes(), &contents)?)?;
        known.insert(AUTH.to_owned(), port);
    }
    Ok(known)
}

/// A revision of the deployed service that no node has seen or compiled before.
pub(crate) fn revision(port: u16, number: usize) -> Result<Vec<u8>> {
    let unique = format!(" {}.{number}", std::process::id());
    pack(
        &read(&airhost_test_guests::guest("medium"))?,
        &manifest(DEPLOYED, port, "fresh", "", &unique),
    )
}

/// The size of a guest's component, in bytes.
pub(crate) fn size(guest: &str) -> Result<u64> {
    Ok(std::fs::metadata(airhost_test_guests::guest(guest))?.len())
}

/// The folder of the platform's built components, if it is known: `cargo xtask bench` names it.
pub(crate) fn components() -> Option<PathBuf> {
    std::env::var_os("AIRHOST_COMPONENTS").map(PathBuf::from).filter(|folder| folder.is_dir())
}

fn manifest(name: &str, port: u16, instances: &str, more: &str, unique: &str) -> String {
    format!(
        "name = \"{name}\"\nteam = \"benchmarks\"\ndescription = \"Is measured.{unique}\"\nport = {port}\n\
         contract = \"0.1\"\nlanguage = \"rust\"\ninstances = \"{instances}\"\n{more}"
    )
}

fn pack(component: &[u8], manifest: &str) -> Result<Vec<u8>> {
    let manifest = Manifest::parse("service.toml", manifest)?;
    Ok(Artifact::pack(component, &Contents::of(manifest))?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn save(folder: &Path, name: &str, file: &[u8]) -> Result<()> {
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, file).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_is_valid() {
        for (name, _, instances, more) in SERVICES {
            let text = manifest(name, 8100, instances, more, " 1.2");
            let manifest = Manifest::parse("service.toml", &text).unwrap();
            assert_eq!(manifest.name.as_str(), name);
        }
    }
}
