//! Builds the components: Rust to Wasm, then `airhost build` packs manifest, migrations, OpenAPI
//! and schemas into each.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    layout, setup,
    shell::{program, run},
    up::Profile,
};

/// Every component folder, by name.
pub(crate) fn all() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(layout::root().join("components"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('_') && entry.path().join("service.toml").is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Builds components (all when none is named) and answers their files.
pub(crate) fn build_components(names: &[String], profile: Profile) -> Result<Vec<PathBuf>> {
    setup::toolchain()?;
    let all = all()?;
    let names = if names.is_empty() { &all } else { names };
    if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
        bail!("there is no component `{unknown}`: there are {}", all.join(", "));
    }
    let folder = layout::root().join("components");
    let mut cargo = program("cargo", ["build", "--release", "--target", setup::GUEST_TARGET]);
    for name in names {
        cargo.args(["--package", name]);
    }
    cargo.current_dir(&folder).env("CARGO_TARGET_DIR", layout::guest_target());
    run(cargo)?;

    let airhost = crate::up::host_binary(profile)?;
    let output = layout::component_output();
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let mut files = Vec::new();
    for name in names {
        let file = output.join(format!("{name}.wasm"));
        let built = layout::guest_target()
            .join(setup::GUEST_TARGET)
            .join("release")
            .join(format!("{}.wasm", name.replace('-', "_")));
        let mut pack = program(&airhost.to_string_lossy(), ["build", "--quiet"]);
        pack.arg(folder.join(name)).arg("--component").arg(built).arg("--output").arg(&file);
        run(pack)?;
        files.push(file);
    }
    Ok(files)
}
