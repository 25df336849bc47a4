use std::path::Path;

use airhost_node::Connection;
use airhost_sim::{Sim, SimArgs, SimConfig, TokenConfig, World};
use anyhow::Result;
use clap::Subcommand;

use crate::{Global, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Airtable: its Web API with data, limits, webhooks and faults on demand.
    Airtable(Box<SimArgs>),
}

/// The base of the simulator's own data that the first user gets, and a table of it.
const DEMO: (&str, &str) = ("appDemoSales00001", "Contacts");
/// A token that the simulator takes from the platform. It protects nothing: the simulator listens
/// on loopback and its data is made up.
const TOKEN: &str = "patPlatform000001.simulator";

pub(crate) async fn run(global: &Global, command: Command) -> Result<()> {
    let Command::Airtable(arguments) = command;
    let simulator = Sim::start(arguments.config()).await?;
    match global.json {
        true => output::json(&serde_json::json!({ "url": simulator.url() }))?,
        false => output::line(&format!("the Airtable simulator serves at {}", simulator.url())),
    }
    let mut stop = super::up::Signals::new()?;
    stop.next().await;
    simulator.shutdown().await;
    Ok(())
}

/// The simulator that a platform without a token for the real Airtable runs with. `data` keeps
/// what was written for the next start.
pub(crate) async fn for_platform(bases: Option<&Path>, data: &Path) -> Result<Sim> {
    let token = TokenConfig { token: TOKEN.to_owned(), user: None, scopes: None, bases: None };
    let config = SimConfig {
        world: bases.map_or(World::Demo, |path| World::File(path.to_owned())),
        tokens: vec![token],
        control: true,
        data: Some(data.to_owned()),
        ..SimConfig::default()
    };
    Ok(Sim::start(config).await?)
}

/// What of the simulator the first user gets.
pub(crate) fn demo_connection() -> Connection {
    Connection { base: DEMO.0.to_owned(), table: DEMO.1.to_owned(), token: TOKEN.to_owned() }
}
