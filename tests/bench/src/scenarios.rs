//! What is measured.

mod calls;
mod deploy;
mod hostile;
mod requests;
mod start;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use airhost_control::{Access, Client};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    artifacts::{self, AUTH},
    client::Http,
    process::Server,
    report::Report,
    servers,
    wrk::Plan,
};

pub(crate) use requests::load;

/// The order that is posted: 310 bytes.
pub(crate) const ORDER: &str = concat!(
    r#"{"id":"ord_01J9Z8Q4W7","customer":{"name":"Ada Lovelace","email":"ada@example.com"},"lines":["#,
    r#"{"sku":"punch-card-80","quantity":1200,"cents":3},{"sku":"brass-gear-24","quantity":18,"cents":1450},"#,
    r#"{"sku":"ink-black-1l","quantity":2,"cents":2399}],"paid":false,"note":"To the engine room at the back, if you can."}"#,
);

/// A part of the benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// A small JSON request through the whole path, beside a native server.
    Echo,
    /// The check of an access token, beside a native server.
    Token,
    /// The JSON request to a component of 2 MB, beside a native server.
    Large,
    /// The JSON request beside `wasmtime serve`.
    Wasmtime,
    /// Calls from one component to another, beside loopback HTTP.
    Calls,
    /// Start from compiled code, and idle memory.
    Start,
    /// How soon a revision serves, and what clients feel of it.
    Deploy,
    /// What clients of one service feel of another one's faults.
    Hostile,
}

/// Times and counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) plan: Plan,
    /// Calls in one run of `calls`.
    pub(crate) calls: usize,
    /// Requests a second while deploying.
    pub(crate) rate: u32,
    /// Idle time before memory is looked at.
    pub(crate) idle: Duration,
}

impl Scenario {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Scale {
    /// For the document.
    pub(crate) const FULL: Self = Self {
        plan: Plan { runs: 5, warm_up: Duration::from_secs(1), length: Duration::from_secs(5) },
        calls: 20_000,
        rate: 2_000,
        idle: Duration::from_secs(5),
    };
    /// To see that everything works.
    pub(crate) const QUICK: Self = Self {
        plan: Plan { runs: 1, warm_up: Duration::from_secs(1), length: Duration::from_secs(1) },
        calls: 400,
        rate: 200,
        idle: Duration::from_secs(1),
    };
    /// Every server is asked once and nothing is measured.
    pub(crate) const CHECK: Self =
        Self { plan: Plan { runs: 0, ..Self::QUICK.plan }, ..Self::QUICK };
}

/// The servers that scenarios share: started once, idle while others are measured.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    pub(crate) install: bool,
    /// The platform's own artifacts.
    pub(crate) components: Option<PathBuf>,
    pub(crate) host: Server,
    pub(crate) native: Server,
    /// An access token that auth-service issued.
    token: Option<String>,
    folder: TempDir,
}

impl Bench {
    /// Builds the guests and starts the servers.
    pub(crate) async fn start(scale: Scale, install: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let made = |name: &str| -> Result<PathBuf> {
            let path = folder.path().join(name);
            std::fs::create_dir(&path)?;
            Ok(path)
        };
        let components = artifacts::components();
        let (guests, certificate) = (made("guests")?, made("certificate")?);
        println!("building the guests");
        let known = components.clone();
        let into = guests.clone();
        let ports = tokio::task::spawn_blocking(move || artifacts::write(&into, known.as_deref()))
            .await??;
        servers::certificate(&certificate)?;
        println!("starting the host with {} services", ports.len());
        let state = folder.path().join("state");
        let (guests, state) = (text(&guests)?, text(&state)?);
        let host =
            Server::start(&["node", "--components", guests, "--state", state, "--ports"]).await?;
        let keys = folder.path().join("keys.json");
        let token = match &components {
            None => None,
            Some(_) => Some(sign_in(&host, &keys).await.context("nobody can sign in")?),
        };
        let mut words = vec!["native", "--certificate", text(&certificate)?];
        if token.is_some() {
            words.extend(["--keys", text(&keys)?]);
        }
        let native = Server::start(&words).await?;
        Ok(Self { scale, install, components, host, native, token, folder })
    }

    /// Measures one scenario.
    pub(crate) async fn measure(&self, scenario: Scenario, report: &mut Report) -> Result<()> {
        match scenario {
            Scenario::Echo => requests::echo(self, report).await,
            Scenario::Token => requests::token(self, report).await,
            Scenario::Large => requests::large(self, report).await,
            Scenario::Wasmtime => requests::wasmtime(self, report).await,
            Scenario::Calls => calls::measure(self, report).await,
            Scenario::Start => start::measure(self, report).await,
            Scenario::Deploy => deploy::measure(self, report).await,
            Scenario::Hostile => hostile::measure(self, report).await,
        }
    }

    /// Ends the servers.
    pub(crate) async fn stop(self) -> Result<()> {
        self.native.stop().await?;
        self.host.stop().await
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port of a service of the host.
    fn service(&self, name: &str) -> Result<SocketAddr> {
        Ok(self.host.told(name)?.parse()?)
    }

    fn admin(&self) -> Result<Client> {
        Ok(Client::new(Access::read(Path::new(self.host.told("state")?))?))
    }
}

/// Keeps the published keys, and answers an access token of the first user.
async fn sign_in(host: &Server, keys: &Path) -> Result<String> {
    let http = Http::new();
    let auth = format!("http://{}", host.told(AUTH)?);
    let published =
        http.good(Method::GET, &format!("{auth}/.well-known/jwks.json"), b"", None).await?;
    std::fs::write(keys, published)?;
    let body =
        json!({ "email": host.told("email")?, "password": host.told("password")? }).to_string();
    let answer = http
        .good(Method::POST, &format!("{auth}/api/v1/auth/login"), body.as_bytes(), None)
        .await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let token = answer["access_token"].as_str().context("the answer to the login has no token")?;
    Ok(token.to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a temporary folder's name is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;

    #[test]
    fn the_order_is_what_the_document_says() {
        assert_eq!(ORDER.len(), 310);
        let answer = String::from_utf8(order::answer(ORDER.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            answer,
            r#"{"id":"ord_01J9Z8Q4W7","customer":"Ada Lovelace","articles":1220,"cents":34498,"largest":"brass-gear-24","due":true}"#
        );
        assert!(order::answer(b"{}").is_err());
    }
}
