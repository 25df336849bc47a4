//! Runs the benchmarks.

use anyhow::Result;

use crate::{
    guests, setup,
    shell::{program, run as run_program},
    up::Profile,
};

/// Builds everything with optimisation and runs the benchmark program, which writes
/// `docs/benchmarks.md`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::packages(&[("wrk", "wrk")])?;
    let components = guests::build_components(&[], Profile::Release)?;
    let mut bench =
        program("cargo", ["run", "--release", "--locked", "--package", "airhost-bench", "--"]);
    bench.args(arguments);
    if let Some(folder) = components.first().and_then(|file| file.parent()) {
        bench.env("AIRHOST_COMPONENTS", folder);
    }
    run_program(bench)
}
