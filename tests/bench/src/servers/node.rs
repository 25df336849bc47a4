//! The host, as `airhost up` assembles it.

use std::path::{Path, PathBuf};

use airhost_core::ServiceName;
use airhost_node::{Node, config::Config};
use anyhow::Result;
use serde_json::Value;

use crate::{artifacts::AUTH, process::Ready, servers::until_stopped};

/// Long enough for every run with the same token.
const TOKEN_SECONDS: u64 = 3600;

pub(super) async fn serve(components: &Path, state: PathBuf, ports: bool) -> Result<()> {
    let mut config = Config::default();
    config.node.state = state;
    config.node.policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    for address in [
        &mut config.listeners.gateway,
        &mut config.listeners.admin,
        &mut config.listeners.observability,
    ] {
        address.set_port(0);
    }
    if ports {
        config.listeners.services = Some(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let auth = config.services.entry(AUTH.parse::<ServiceName>()?).or_default();
    auth.config.insert("access-token-seconds".to_owned(), Value::from(TOKEN_SECONDS));
    let node = Node::start(config, Some(components), |_, _| {}).await?;
    let first = node.bootstrap(None).await?;
    let mut ready = Ready::from_iter(node.addresses());
    ready.insert("state".to_owned(), first.state.display().to_string());
    ready.insert("email".to_owned(), first.user.email);
    ready.extend(first.user.password.map(|password| ("password".to_owned(), password)));
    until_stopped(&ready).await?;
    node.shutdown().await;
    Ok(())
}
