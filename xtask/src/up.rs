//! Builds everything and runs the platform.

use std::{os::unix::process::CommandExt as _, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    guests, layout,
    shell::{self, program},
};

/// How the host is built.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// With optimisation, to be used.
    Release,
    /// As its tests are, so that they and it share what is compiled.
    Dev,
}

/// Builds the host and answers its file.
pub(crate) fn host_binary(profile: Profile) -> Result<PathBuf> {
    let mut build = program("cargo", ["build", "--locked"]);
    let folder = match profile {
        Profile::Release => {
            build.args(["--release", "--package", "airhost-cli"]);
            "release"
        }
        Profile::Dev => {
            // With the features of the whole workspace, as its tests have them.
            build.args(["--workspace", "--bin", "airhost"]);
            "debug"
        }
    };
    shell::run(build)?;
    Ok(layout::target().join(folder).join("airhost"))
}

/// Builds host and components, then becomes `airhost up`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    guests::build_components(&[], Profile::Release)?;
    let airhost = layout::target().join("release/airhost");
    let mut up = program(&airhost.to_string_lossy(), ["up", "--components"]);
    up.arg(layout::component_output()).args(arguments);
    // Replaces this process, so that Ctrl-C and the exit status are the platform's own.
    Err(up.exec()).context("cannot start the platform")
}
