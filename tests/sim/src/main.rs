//! `airtable-sim`: serves the simulator on its own.

use airhost_sim::SimArgs;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// A simulator of the Airtable Web API.
#[derive(Debug, Parser)]
#[command(name = "airtable-sim", version)]
struct Cli {
    #[command(flatten)]
    sim: SimArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    airhost_sim::run(Cli::parse().sim).await?;
    Ok(())
}
