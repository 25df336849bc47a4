//! Holds the contracts to compatible change: every world of the released packages must still be
//! met by the present ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use wit_parser::{PackageId, Resolve};

use crate::layout;

/// The packages, each after those it uses.
pub(crate) const PACKAGES: [&str; 7] =
    ["types", "storage", "events", "context", "mail", "crypto", "service"];

/// Checks the present contracts against the released ones, or releases them.
pub(crate) fn run(release: bool) -> Result<()> {
    let present = layout::root().join("wit");
    let released = present.join("released");
    let now = packages(&present)?;
    if release {
        return copy_packages(&present, &released);
    }
    if !released.is_dir() {
        bail!("wit/released is not there: run `cargo xtask wit --release` once");
    }
    let before = packages(&released)?;
    let mut broken = Vec::new();
    for (name, package) in &before.ids {
        let Some((_, current)) = now.ids.iter().find(|(other, _)| other == name) else {
            broken.push(format!("package {name} is gone"));
            continue;
        };
        for (world, id) in &before.resolve.packages[*package].worlds {
            if !now.resolve.packages[*current].worlds.contains_key(world) {
                broken.push(format!("world {name}/{world} is gone"));
                continue;
            }
            // Merging changes ids, so each check gets a copy of both.
            let mut merged = before.resolve.clone();
            let remap = merged.merge(renamed(&now.resolve)?)?;
            let current = now.resolve.packages[*current].worlds[world];
            let current = remap.map_world(current, Default::default())?;
            if let Err(error) = wit_component::semver_check(merged, *id, current) {
                broken.push(format!("world {name}/{world}: {error:#}"));
            }
        }
    }
    if broken.is_empty() {
        println!("the contracts still meet what is released");
        return Ok(());
    }
    bail!("incompatible change of a released contract:\n  {}", broken.join("\n  "))
}

struct Packages {
    resolve: Resolve,
    ids: Vec<(String, PackageId)>,
}

fn packages(folder: &Path) -> Result<Packages> {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let mut ids = Vec::new();
    for name in PACKAGES {
        let (id, _) = resolve
            .push_dir(folder.join(name))
            .with_context(|| format!("wit/{name} cannot be read"))?;
        ids.push((name.to_owned(), id));
    }
    Ok(Packages { resolve, ids })
}

/// A copy whose packages have another version, so that both can stand in one `Resolve`; the check
/// itself does not look at versions.
fn renamed(resolve: &Resolve) -> Result<Resolve> {
    let mut copy = resolve.clone();
    let mut names = copy.package_names.clone();
    names.clear();
    for (id, package) in copy.packages.iter_mut() {
        if let Some(version) = &mut package.name.version {
            version.major = u64::MAX;
        }
        names.insert(package.name.clone(), id);
    }
    copy.package_names = names;
    Ok(copy)
}

fn copy_packages(from: &Path, to: &Path) -> Result<()> {
    for name in PACKAGES {
        let target = to.join(name);
        if target.is_dir() {
            fs::remove_dir_all(&target)?;
        }
        fs::create_dir_all(&target)?;
        for entry in fs::read_dir(from.join(name))? {
            let file: PathBuf = entry?.path();
            if file.extension().is_some_and(|extension| extension == "wit") {
                fs::copy(&file, target.join(file.file_name().unwrap_or_default()))?;
            }
        }
    }
    println!("released the contracts as they are now");
    Ok(())
}
