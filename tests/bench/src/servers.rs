//! What this program serves as, in a process of its own.

mod attackers;
mod busy;
mod native;
mod node;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use tokio::io::AsyncReadExt as _;

use crate::process::Ready;

pub(crate) use attackers::FAULTS;
pub(crate) use native::{certificate, client_tls};

#[derive(Subcommand)]
pub(crate) enum Role {
    /// A node with the artifacts of a folder.
    Node {
        /// The artifacts.
        #[arg(long)]
        components: PathBuf,
        /// The state folder.
        #[arg(long)]
        state: PathBuf,
        /// Opens every service's own port.
        #[arg(long)]
        ports: bool,
    },
    /// A hyper server that does the same natively.
    Native {
        /// Keys that tokens are verified with (RFC 7517).
        #[arg(long)]
        keys: Option<PathBuf>,
        /// Folder with the certificate and key of both sides.
        #[arg(long)]
        certificate: PathBuf,
    },
    /// Clients that ask a hostile service for its faults.
    Attackers {
        /// The hostile service.
        address: SocketAddr,
    },
    /// Threads that compute nothing, one for each processor.
    Busy,
}

pub(crate) async fn serve(role: Role) -> Result<()> {
    match role {
        Role::Node { components, state, ports } => node::serve(&components, state, ports).await,
        Role::Native { keys, certificate } => native::serve(keys.as_deref(), &certificate).await,
        Role::Attackers { address } => attackers::attack(address).await,
        Role::Busy => busy::compute().await,
    }
}

fn say(words: &Ready) -> Result<()> {
    println!("{}", serde_json::to_string(words)?);
    Ok(())
}

/// Tells the starter that it can begin, and waits until it has enough.
async fn until_stopped(ready: &Ready) -> Result<()> {
    say(ready)?;
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await.context("cannot wait for the end")?;
    Ok(())
}
