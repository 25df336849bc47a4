//! A platform in this process, for the tests: the node on free ports with a state folder of its
//! own, and the simulator of Airtable beside it.
//!
//! The components come from the folder that `AIRHOST_COMPONENTS` names; `cargo xtask test host`
//! builds them.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why and ends")]

mod artifacts;
mod client;
mod load;

use std::path::{Path, PathBuf};

use airhost_control::{Access, Client, api::DeployEvent};
use airhost_node::{
    Connection, Node, Ready,
    config::{Config, LogOutput, Service},
};
use airhost_sim::{LimitConfig, Sim, SimConfig, TokenConfig};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use tempfile::TempDir;

pub use artifacts::{changed, component, guest, pack, with_manifest};
pub use client::{Answer, Http};
pub use load::{Load, Report};

/// The base of the simulator's data, and a table of it.
pub const BASE: &str = "appDemoSales00001";
/// A table with 1 000 records.
pub const TABLE: &str = "Contacts";
const RATE_LIMITER: &str = "rate-limiter-service";
/// The token that the simulator takes from the platform.
const TOKEN: &str = "patPlatform000001.simulator";

/// A running platform. Stop it with [`Platform::stop`].
#[derive(Debug)]
pub struct Platform {
    /// What `up` would print.
    pub ready: Ready,
    /// The simulator, to make faults with.
    pub simulator: Sim,
    node: Node,
    state: PathBuf,
    folder: TempDir,
}

impl Platform {
    /// Starts one with all components.
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder")).await
    }

    /// Starts one whose gateway has further routes, as a file of `policies/gateway`.
    pub async fn start_with_routes(routes: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let policies = folder.path().join("policies/gateway");
        std::fs::create_dir_all(&policies).expect("it can be made");
        let own = repository().join("policies/gateway/routes.yaml");
        std::fs::copy(own, policies.join("routes.yaml")).expect("it can be copied");
        std::fs::write(policies.join("tests.yaml"), routes).expect("it can be written");
        Self::start_in(folder).await
    }

    /// Starts one on what an earlier one has left.
    pub async fn start_in(folder: TempDir) -> Self {
        let simulator = Sim::start(SimConfig {
            tokens: vec![TokenConfig {
                token: TOKEN.into(),
                user: None,
                scopes: None,
                bases: None,
            }],
            limits: LimitConfig::off(),
            ..SimConfig::default()
        });
        let simulator = simulator.await.expect("the simulator starts");
        let state = folder.path().join("state");
        let mut config = Config::default();
        config.node.state.clone_from(&state);
        let policies = folder.path().join("policies");
        config.node.policies =
            if policies.is_dir() { policies } else { repository().join("policies") };
        config.log.output = LogOutput::File;
        for address in [
            &mut config.listeners.gateway,
            &mut config.listeners.admin,
            &mut config.listeners.observability,
        ] {
            address.set_port(0);
        }
        for host in ["api.airtable.com", "content.airtable.com"] {
            config.overrides.insert(host.into(), format!("http://{}", simulator.addr()));
        }
        config.services.insert(RATE_LIMITER.parse().expect("a name"), unlimited());
        let node =
            Node::start(config, Some(&components()), |_, _| {}).await.expect("the node starts");
        let connection = Connection { base: BASE.into(), table: TABLE.into(), token: TOKEN.into() };
        let ready = node.bootstrap(Some(connection)).await.expect("the first user is made");
        Self { ready, simulator, node, state, folder }
    }

    /// A client of the gateway with the first user's token.
    #[must_use]
    pub fn client(&self) -> Http {
        Http::new(&self.ready.gateway, self.ready.token.as_deref())
    }

    /// A client of the gateway that nobody is known to.
    #[must_use]
    pub fn stranger(&self) -> Http {
        Http::new(&self.ready.gateway, None)
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A client of the admin API.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(Access::read(&self.state).expect("the node has written its access"))
    }

    /// Deploys an artifact; answers the last event.
    pub async fn deploy(&self, artifact: Vec<u8>, grant: bool) -> DeployEvent {
        let mut last = None;
        let path = format!("/v1/deploys?grant={grant}");
        let events = self.admin();
        let told = events.lines(Method::POST, &path, Bytes::from(artifact), |line| {
            last = Some(serde_json::from_slice(line).expect("an event"));
            true
        });
        told.await.expect("the deploy is told to its end");
        last.expect("there is an event")
    }

    /// Stops it; answers its folder, for another one.
    pub async fn stop(self) -> TempDir {
        self.node.shutdown().await;
        self.simulator.shutdown().await;
        self.folder
    }
}

/// Settings with which the rate limiter lets everything pass: what is tested under load is the host.
/// It is asked all the same.
fn unlimited() -> Service {
    let wide = json!({"capacity": 1_000_000, "refill": 1_000_000});
    let policies = json!({"gateway.user": wide, "gateway.ip": wide});
    Service { config: [("policies".to_owned(), policies)].into() }
}

/// The folder of the built components.
#[must_use]
pub fn components() -> PathBuf {
    let folder = std::env::var_os("AIRHOST_COMPONENTS").expect(
        "AIRHOST_COMPONENTS names the folder of built components: run `cargo xtask test host`",
    );
    PathBuf::from(folder)
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
