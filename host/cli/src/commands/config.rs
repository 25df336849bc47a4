use std::path::PathBuf;

use airhost_node::config::Config;
use anyhow::Result;
use clap::Subcommand;

use crate::{Global, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints the whole configuration with all defaults, as `up` would use it.
    Show {
        /// The configuration file; `airhost.toml` in this folder if it is there.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

pub(crate) fn run(global: &Global, command: &Command) -> Result<()> {
    let Command::Show { config } = command;
    let config = load_for(global, config.as_deref())?;
    if global.json {
        return output::json(&config);
    }
    output::line(toml::to_string(&config)?.trim_end());
    Ok(())
}

/// The configuration that a node with these options has: `--state` counts more than the file.
pub(crate) fn load_for(global: &Global, path: Option<&std::path::Path>) -> Result<Config> {
    let mut config = load(path)?;
    if let Some(state) = &global.state {
        config.node.state.clone_from(state);
    }
    Ok(config)
}

/// The configuration in a file, in `airhost.toml` if it is there, or the defaults.
pub(crate) fn load(path: Option<&std::path::Path>) -> Result<Config> {
    let usual = std::path::Path::new("airhost.toml");
    match path {
        Some(path) => Ok(Config::load(path)?),
        None if usual.is_file() => Ok(Config::load(usual)?),
        None => Ok(Config::default()),
    }
}
