//! The `airhost` command: runs a node, deploys to it and looks into it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose answers go to a terminal"
)]

mod commands;
mod contracts;
mod output;
mod progress;

use std::{path::PathBuf, process::ExitCode};

use airhost_control::{Access, Client};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use commands::{
    build, component, config, deploy, dev, doctor, explain, inspect, logs, new, routes, sim,
    status, trace, up,
};

/// Runs services as WebAssembly components: builds them, deploys them, looks into them.
#[derive(Parser)]
#[command(name = "airhost", version, max_term_width = 100)]
struct Options {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Global {
    /// State folder of the node: where `up` keeps everything, and how the others find it; that of
    /// `airhost.toml` in this folder, or `.airhost`, if not given.
    #[arg(long, global = true, env = "AIRHOST_STATE")]
    state: Option<PathBuf>,
    /// Prints JSON instead of text for people.
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    /// A client of the node that runs with this state folder.
    fn client(&self) -> Result<Client> {
        let state = match &self.state {
            Some(state) => state.clone(),
            None => config::load(None)?.node.state,
        };
        Ok(Client::new(Access::read(&state)?))
    }
}

/// Lines of the log, spans and bodies are made on one thread and dropped on another, which costs a
/// good part of a request with the allocator of the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Subcommand)]
enum Command {
    /// Runs a node until Ctrl-C; on a laptop without any set-up.
    Up(up::Options),
    /// Watches a service's folder: rebuilds, swaps and follows its log.
    Dev(dev::Options),
    /// Packs a service's folder and its component into one artifact.
    Build(build::Options),
    /// Makes the folder of a new service.
    New(new::Options),
    /// Swaps a new revision into the running node.
    Deploy(deploy::Options),
    /// Shows the node and its services.
    Status,
    /// Shows log lines.
    Logs(logs::Options),
    /// Shows what happened in one request, over all services.
    Trace(trace::Options),
    /// Shows the gateway's routes.
    Routes,
    /// Runs a SELECT on a service's database, read-only.
    Sql(inspect::SqlOptions),
    /// Shows a service's keys and values.
    Kv(inspect::KvOptions),
    /// Shows the newest events.
    Events(inspect::EventsOptions),
    /// Looks into components without running them.
    #[command(subcommand)]
    Component(component::Command),
    /// Explains an error code: what it means and what to do.
    Explain(explain::Options),
    /// Checks this machine and the node.
    Doctor(doctor::Options),
    /// Runs a simulator of a service outside.
    #[command(subcommand)]
    Sim(sim::Command),
    /// Shows the configuration.
    #[command(subcommand)]
    Config(config::Command),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let json = options.global.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("airhost: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(options));
    // A thread that waits for standard input must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(&error, json);
            ExitCode::FAILURE
        }
    }
}

async fn run(Options { global, command }: Options) -> Result<()> {
    match command {
        Command::Up(options) => up::run(&global, options).await,
        Command::Dev(options) => dev::run(&global, options).await,
        Command::Build(options) => build::run(&global, &options),
        Command::New(options) => new::run(&global, &options),
        Command::Deploy(options) => deploy::run(&global, &options).await,
        Command::Status => status::run(&global).await,
        Command::Logs(options) => logs::run(&global, &options).await,
        Command::Trace(options) => trace::run(&global, &options).await,
        Command::Routes => routes::run(&global).await,
        Command::Sql(options) => inspect::sql(&global, &options).await,
        Command::Kv(options) => inspect::kv(&global, &options).await,
        Command::Events(options) => inspect::events(&global, &options).await,
        Command::Component(command) => component::run(&global, &command),
        Command::Explain(options) => explain::run(&global, &options),
        Command::Doctor(options) => doctor::run(&global, &options).await,
        Command::Sim(command) => sim::run(&global, command).await,
        Command::Config(command) => config::run(&global, &command),
    }
}
