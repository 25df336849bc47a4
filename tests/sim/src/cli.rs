//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::clock::ClockSource;
use crate::config::{LimitConfig, NotifyConfig, SimConfig, TokenConfig, World};
use crate::error::Result;
use crate::sim::Sim;

/// Options of the simulator.
#[derive(Debug, Clone, Args)]
pub struct SimArgs {
    /// Address to serve.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// JSON file with users, tokens and bases; the demo base when left out.
    #[arg(long)]
    pub bases: Option<PathBuf>,
    /// File that keeps the data over restarts; once it exists, --bases is not read.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Accept this token too, for all bases and scopes. May be repeated.
    #[arg(long = "token")]
    pub tokens: Vec<String>,
    /// Requests a second for one base; 0 is no limit.
    #[arg(long, default_value_t = 5)]
    pub base_rate: u32,
    /// Requests a second for one token; 0 is no limit.
    #[arg(long, default_value_t = 50)]
    pub token_rate: u32,
    /// Seconds of refusals after a limit was passed.
    #[arg(long, default_value_t = 30.0)]
    pub pause: f64,
    /// Switch both limits off.
    #[arg(long)]
    pub no_limits: bool,
    /// Send `Retry-After` with refusals.
    #[arg(long)]
    pub retry_after: bool,
    /// Base of attachment URLs; the address served when left out.
    #[arg(long)]
    pub public_url: Option<String>,
    /// PEM file of further authorities that webhooks' https subscribers are trusted by.
    #[arg(long)]
    pub notify_ca: Option<PathBuf>,
    /// Serve the control API under `/_sim/`.
    #[arg(long)]
    pub control: bool,
    /// Seed of ids and secrets.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Let the time of records stand at this moment.
    #[arg(long)]
    pub fixed_time: Option<jiff::Timestamp>,
}

impl SimArgs {
    /// The configuration that the options describe.
    pub fn config(self) -> SimConfig {
        let rate = |rate: u32| (rate > 0 && !self.no_limits).then_some(rate);
        let token = |token: String| TokenConfig { token, user: None, scopes: None, bases: None };
        SimConfig {
            listen: self.listen,
            world: self.bases.map_or(World::Demo, World::File),
            data: self.data,
            limits: LimitConfig {
                per_base: rate(self.base_rate),
                per_token: rate(self.token_rate),
                pause: Duration::try_from_secs_f64(self.pause).unwrap_or(Duration::ZERO),
                retry_after: self.retry_after,
            },
            tokens: self.tokens.into_iter().map(token).collect(),
            public_url: self.public_url,
            notify: NotifyConfig { ca_file: self.notify_ca, ..NotifyConfig::default() },
            control: self.control,
            seed: self.seed,
            clock: self.fixed_time.map_or(ClockSource::System, ClockSource::Fixed),
            ..SimConfig::default()
        }
    }
}

/// Serves until the process is interrupted or asked to end.
pub async fn run(args: SimArgs) -> Result<()> {
    let sim = Sim::start(args.config()).await?;
    tracing::info!(url = %sim.url(), "the Airtable simulator serves");
    interrupted().await;
    sim.shutdown().await;
    Ok(())
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    drop(tokio::signal::ctrl_c().await);
}
