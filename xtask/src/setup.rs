//! Installs what building and testing need, and says clearly what to do when it cannot.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{
    layout,
    shell::{exists, output, program, run},
};

/// The target that components are built for.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";

/// Makes sure that Rust can build components.
pub(crate) fn toolchain() -> Result<()> {
    rust_target(GUEST_TARGET)
}

/// Makes sure that Rust can build for a target.
pub(crate) fn rust_target(target: &str) -> Result<()> {
    let sysroot = output(program("rustc", ["--print", "sysroot"]))?;
    if PathBuf::from(sysroot.trim()).join("lib/rustlib").join(target).is_dir() {
        return Ok(());
    }
    println!("adding the Rust target {target}");
    run(program("rustup", ["target", "add", target])).with_context(|| {
        format!(
            "components need Rust's target {target}: run `rustup target add {target}` \
             where rustup can reach its server, then this again"
        )
    })
}

/// Makes sure that Debian packages are there: pairs of a program and the package that has it.
pub(crate) fn packages(needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        needed.iter().filter(|(name, _)| !exists(name)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !exists("apt-get") {
        bail!("install these packages, then run this again: {}", missing.join(" "));
    }
    println!("installing {}", missing.join(" "));
    let root = output(program("id", ["-u"]))?.trim() == "0";
    let apt = |words: &[&str]| {
        let mut command = if root {
            program("apt-get", words)
        } else {
            program("sudo", [&["apt-get"], words].concat())
        };
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(command)
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat())
}

/// A program that Cargo installs, in the version that is tested.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<()> {
    let installed = output(program("cargo", ["install", "--list"]))?;
    if installed.lines().any(|line| line.starts_with(&format!("{name} v{version}"))) {
        return Ok(());
    }
    println!("installing {name} {version}");
    // Without optimisation: building it takes longer than all it does here.
    let mut command =
        program("cargo", ["install", "--debug", "--locked", "--quiet", name, "--version", version]);
    command.env("CARGO_TARGET_DIR", layout::target().join("tools"));
    run(command)
}

/// A Python virtual environment with the packages of a requirements file; answers its `bin`.
pub(crate) fn python(name: &str, requirements: &str) -> Result<PathBuf> {
    if !exists("python3") {
        packages(&[("python3", "python3")])?;
    }
    let folder = layout::target().join("python").join(name);
    let bin = folder.join("bin");
    let wanted = std::fs::read_to_string(layout::root().join(requirements))
        .with_context(|| format!("cannot read {requirements}"))?;
    let stamp = folder.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(bin);
    }
    println!("making the Python environment `{name}`");
    let make = |command: &str| {
        run(program(
            command,
            ["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), folder.as_os_str()],
        ))
    };
    if make("python3").is_err() {
        packages(&[("pyvenv-missing", "python3-venv")])?;
        make("python3")?;
    }
    let pip = bin.join("pip");
    let pip = pip.to_str().context("the path of the target folder is not UTF-8")?;
    run(program(pip, ["install", "--quiet", "--requirement", requirements]))?;
    std::fs::write(stamp, wanted)?;
    Ok(bin)
}
