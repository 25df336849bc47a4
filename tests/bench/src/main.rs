//! Measures the host beside a native server and beside `wasmtime serve`, and writes
//! `docs/benchmarks.md`. `cargo xtask bench` builds and runs it.
//!
//! Servers are processes of their own (`serve`, which this program starts itself with), so that
//! their CPU time can be read apart from that of whatever sends requests. Contestants take turns
//! within a run, and medians of several runs are compared, so that a busy machine slows all of them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]

mod artifacts;
mod client;
mod machine;
mod process;
mod report;
mod run;
mod scenarios;
mod series;
mod servers;
mod steady;
mod wasmtime;
mod wrk;

/// What all contestants do with a request; the guests compile the same file.
#[path = "../../guests/echo-json/src/order.rs"]
mod order;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// As in `airhost`; the native server has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures the host", args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Selection,
}

#[derive(Subcommand)]
enum Command {
    /// Measures; the same as no command.
    Run(run::Selection),
    /// Serves until its standard input ends, for a run that has started it.
    #[command(subcommand, hide = true)]
    Serve(servers::Role),
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { command, run: options } = Options::parse();
    match command {
        Some(Command::Serve(role)) => servers::serve(role).await,
        Some(Command::Run(options)) => run::run(options).await,
        None => run::run(options).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Options::command().debug_assert();
    }
}
