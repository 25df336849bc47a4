//! The project's tasks. `cargo xtask --help` lists them; `./x` is the same after making sure that
//! a linker is there.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]
#![allow(
    clippy::disallowed_methods,
    reason = "starts programs and measures them; nothing here serves requests"
)]

mod bench;
mod guests;
mod layout;
mod setup;
mod shell;
mod tests;
mod tidy;
mod up;
mod wit;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Builds, runs and checks the project")]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what building needs (the Wasm target).
    Setup,
    /// Builds the host and the components and runs the platform; further words go to `airhost up`.
    Up {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds the components (all, or those named).
    BuildComponents { names: Vec<String> },
    /// Checks the structure: crate directions, paths in documents, file lengths, component folders.
    Tidy,
    /// Checks the contracts against the last released ones.
    Wit {
        /// Makes the present contracts the released ones.
        #[arg(long)]
        release: bool,
    },
    /// Runs all tests, or the named steps.
    Test {
        /// Steps to run; all when none is named.
        steps: Vec<String>,
        /// Lists the steps.
        #[arg(long)]
        list: bool,
    },
    /// Runs the benchmarks and writes docs/benchmarks.md.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = run(Options::parse().task);
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::toolchain(),
        Task::Up { arguments } => up::run(&arguments),
        Task::BuildComponents { names } => {
            guests::build_components(&names, up::Profile::Release).map(drop)
        }
        Task::Tidy => tidy::run(),
        Task::Wit { release } => wit::run(release),
        Task::Test { steps, list } => tests::run_all(&steps, list),
        Task::Bench { arguments } => bench::run(&arguments),
    }
}
