//! Runs all tests, step by step, and sums up.

use std::{path::PathBuf, process::Command, time::Instant};

use anyhow::{Result, bail};

use crate::{
    guests, layout, setup,
    shell::{program, run},
    up::Profile,
};

/// The version of `cargo deny` that is tested with.
const CARGO_DENY: &str = "0.20.2";

/// The version of `cargo component` whose services are tested.
const CARGO_COMPONENT: &str = "0.21.1";

type Step = (&'static str, &'static str, fn() -> Result<()>);

/// Every step in order: what is quick and fails often comes first.
const STEPS: &[Step] = &[
    ("format", "rustfmt finds nothing to change", format),
    ("wit", "the contracts are valid and compatible with the released ones", || {
        crate::wit::run(false)
    }),
    ("tidy", "the structure holds", crate::tidy::run),
    ("clippy", "no warnings", clippy),
    ("components", "tests of the components, natively", components),
    ("build-components", "all components build and pack", || {
        guests::build_components(&[], Profile::Dev).map(drop)
    }),
    ("host", "tests of the host's crates, and of the whole host with the components", host),
    ("clients", "unmodified clients against the running platform", clients),
    ("languages", "components of other languages and tools", languages),
    ("tutorial", "the commands of the tutorial", tutorial),
    ("docs", "the documentation builds without warnings", docs),
    ("deny", "licences, bans and sources of dependencies", deny),
];

/// Runs the named steps, or all.
pub(crate) fn run_all(names: &[String], list: bool) -> Result<()> {
    if list {
        for (name, about, _) in STEPS {
            println!("{name:18}{about}");
        }
        return Ok(());
    }
    let known = |name: &&String| STEPS.iter().any(|(step, ..)| step == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        bail!("there is no step `{unknown}`; --list shows them");
    }
    setup::toolchain()?;
    let mut failed = Vec::new();
    let mut passed = 0;
    for (name, about, step) in STEPS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("\n=== {name}: {about}");
        let start = Instant::now();
        match step() {
            Ok(()) => {
                passed += 1;
                println!("=== {name}: passed in {:.0} s", start.elapsed().as_secs_f64());
            }
            Err(error) => {
                println!("=== {name}: FAILED in {:.0} s: {error:#}", start.elapsed().as_secs_f64());
                failed.push(*name);
            }
        }
    }
    println!("\nsteps: {passed} passed, {} failed", failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn cargo(arguments: &[&str]) -> Command {
    program("cargo", arguments)
}

/// Cargo in the components' own workspace.
fn component_cargo(arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command
        .current_dir(layout::root().join("components"))
        .env("CARGO_TARGET_DIR", layout::guest_target());
    command
}

fn format() -> Result<()> {
    run(cargo(&["fmt", "--all", "--check"]))?;
    run(component_cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run(cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(component_cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// One command for all, so that dependencies are built with one set of features.
fn host() -> Result<()> {
    let mut command = cargo(&["test", "--locked", "--workspace", "--no-fail-fast", "--quiet"]);
    command.env("AIRHOST_COMPONENTS", layout::component_output());
    run(command)
}

fn components() -> Result<()> {
    run(component_cargo(&["test", "--locked", "--workspace", "--quiet"]))
}

fn clients() -> Result<()> {
    let bin = setup::python("clients", "tests/clients/requirements.txt")?;
    python_tests(&bin, "tests/clients")
}

fn languages() -> Result<()> {
    let bin = setup::python("languages", "tests/languages/requirements.txt")?;
    setup::cargo_tool("cargo-component", CARGO_COMPONENT)?;
    setup::rust_target("wasm32-wasip1")?;
    setup::packages(&[("npm", "npm")])?;
    python_tests(&bin, "tests/languages")
}

fn tutorial() -> Result<()> {
    let bin = setup::python("clients", "tests/clients/requirements.txt")?;
    python_tests(&bin, "tests/tutorial")
}

/// Runs a folder of pytest with the host's binary and the built components.
fn python_tests(bin: &std::path::Path, folder: &str) -> Result<()> {
    let airhost: PathBuf = crate::up::host_binary(Profile::Dev)?;
    let mut command =
        program(&bin.join("python").to_string_lossy(), ["-m", "pytest", "-q", folder]);
    command
        .env("AIRHOST", airhost)
        .env("AIRHOST_COMPONENTS", layout::component_output())
        .env("AIRHOST_GUEST_TARGET", layout::guest_target());
    run(command)
}

fn docs() -> Result<()> {
    let mut command = cargo(&[
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ]);
    // They are read in this clone, private items and all: such links work there.
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
    run(command)
}

fn deny() -> Result<()> {
    setup::cargo_tool("cargo-deny", CARGO_DENY)?;
    run(cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]))?;
    run(component_cargo(&[
        "deny",
        "--config",
        "../deny.toml",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}
