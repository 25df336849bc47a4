//! Builds everything and runs the platform.

use std::{os::unix::process::CommandExt as _, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    guests, layout,
    shell::{self, program},
};

/// Builds the host, with optimisation, and answers its file.
pub(crate) fn host_binary() -> Result<PathBuf> {
    shell::run(program("cargo", ["build", "--release", "--locked", "--package", "airhost-cli"]))?;
    Ok(layout::target().join("release/airhost"))
}

/// Builds host and components, then becomes `airhost up`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    guests::build_components(&[])?;
    let airhost = layout::target().join("release/airhost");
    let mut up = program(&airhost.to_string_lossy(), ["up", "--components"]);
    up.arg(layout::component_output()).args(arguments);
    // Replaces this process, so that Ctrl-C and the exit status are the platform's own.
    Err(up.exec()).context("cannot start the platform")
}
