//! Start and shutdown.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use airhost_control::{
    Access, Deployer, Revisions,
    api::{DeployEvent, DeployOptions},
};
use airhost_core::{Call, Deadline, Error, Result, ServiceName, codes};
use airhost_manifest::{Artifact, Injection};
use airhost_mesh::{Gateway, InjectSecrets, Mesh, OutboundConfig, ServiceRoutes};
use airhost_runtime::{CacheKey, Runtime};
use airhost_secrets::Injector;
use airhost_telemetry::spawn_named;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{net::TcpListener, sync::mpsc, sync::watch, task::JoinHandle, time::Instant};

use crate::{
    StateError,
    admin::NodeAdmin,
    config::Config,
    engines::Engines,
    facts::LateFacts,
    listeners::{self, Ports},
    platform::NodePlatform,
    revoked,
    services::Services,
    state::{self, State},
};

/// A node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// A step of the start.
    #[error(transparent)]
    Step(#[from] Error),
}

/// A node that runs.
pub struct Node {
    state: State,
    config: Config,
    services: Arc<Services>,
    gateway: Arc<Gateway>,
    ports: Arc<Ports>,
    addresses: Arc<RwLock<Vec<(String, String)>>>,
    accepting: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    admin: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("addresses", &self.addresses.read()).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node: opens its state, brings up the services that served before and those in
    /// `components` (a folder of artifacts), then opens its ports. `progress` is told what is
    /// done, for a person who waits.
    ///
    /// # Errors
    /// The first step that failed, in a sentence. Nothing listens then.
    pub async fn start(
        mut config: Config,
        components: Option<&Path>,
        progress: impl Fn(&str, &str),
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        config.check().map_err(|fault| codes::CONFIG_INVALID.error(fault))?;
        let state = State::open(&config.node.state)?;
        listeners::check_routes(&config)?;
        listeners::check_ports(&config)?;
        config.node.state = std::path::absolute(&config.node.state).unwrap_or(config.node.state);
        let engines = Arc::new(Engines::open(&config, &state).await?);
        let runtime = runtime(&config, &state, &engines)?;
        let facts = Arc::new(LateFacts::default());
        let mesh = mesh(&config, &engines, &runtime, &facts)?;
        let services = Arc::new(Services::new(config.clone(), engines, runtime, mesh));
        facts.know(&services);
        let revisions = Revisions::open(&state.path("revisions"))
            .map_err(|error| codes::INTERNAL.error(error.to_string()))?;
        let deployer =
            Arc::new(Deployer::new(Arc::new(NodePlatform(Arc::clone(&services))), revisions));
        bring_up(&deployer, components, &progress).await?;

        let gateway = listeners::gateway(&config, &services)?;
        let accepting = Arc::new(AtomicBool::new(true));
        let admin_socket = TcpListener::bind(config.listeners.admin).await.map_err(|error| {
            listeners::cannot_open(config.listeners.admin, &error, "listeners.admin")
        })?;
        let ports = Arc::new(Ports::open(&config, &services, &gateway, &accepting).await?);
        let admin_address =
            admin_socket.local_addr().map_err(|error| codes::INTERNAL.error(error.to_string()))?;
        let mut addresses = ports.addresses();
        addresses.push(("admin".to_owned(), admin_address.to_string()));
        let addresses = Arc::new(RwLock::new(addresses));

        let token = token()?;
        let access = Access { address: admin_address, token: token.clone() };
        let text = serde_json::to_vec(&access).unwrap_or_default();
        state::write_private(&Access::path(&config.node.state), &text)?;
        let (stop, stopped) = watch::channel(false);
        let admin = NodeAdmin {
            services: Arc::clone(&services),
            deployer,
            gateway: Arc::clone(&gateway),
            started,
            listeners: Arc::clone(&addresses),
        };
        let admin = spawn_named(
            "admin",
            airhost_control::serve(admin_socket, token, Arc::new(admin), stopped.clone()),
        );
        let background = vec![
            spawn_named(
                "revoked-sessions",
                revoked::follow(Arc::clone(&services), stopped.clone()),
            ),
            spawn_named(
                "gateway-routes",
                crate::reload::watch(
                    Arc::clone(&gateway),
                    Arc::clone(&services),
                    Arc::clone(&ports),
                    listeners::routes_folder(&config),
                    stopped,
                ),
            ),
        ];
        let listening: Vec<String> = addresses
            .read()
            .iter()
            .map(|(purpose, address)| format!("{purpose}={address}"))
            .collect();
        tracing::info!(addresses = listening.join(" "), "the node is ready");
        Ok(Self {
            state,
            config,
            services,
            gateway,
            ports,
            addresses,
            accepting,
            stop,
            admin,
            background,
        })
    }

    /// Stops: takes no new requests, finishes those in flight (as long as `node.drain_seconds`
    /// says), then background work, then closes the stores.
    pub async fn shutdown(self) {
        let grace = self.config.drain();
        let deadline = Deadline::after(grace);
        self.accepting.store(false, Ordering::Relaxed);
        let cut = self.ports.drain(grace).await;
        if cut > 0 {
            tracing::warn!(cut, "connections were cut at the end of the drain");
        }
        let grace = deadline.at_most(grace).remaining().max(Duration::from_secs(1));
        let mut loops = Vec::new();
        for service in self.services.all() {
            loops.extend(service.loops.lock().take());
        }
        let stops = loops.into_iter().map(|loops| loops.stop(Deadline::after(grace)));
        futures_util::future::join_all(stops).await;
        let left = self.services.runtime.drain(Deadline::after(grace)).await;
        if left > 0 {
            tracing::warn!(left, "calls were ended at the end of the drain");
        }
        self.stop.send_replace(true);
        for task in self.background.into_iter().chain([self.admin]) {
            if tokio::time::timeout(Duration::from_secs(6), task).await.is_err() {
                tracing::warn!("a background task did not end in time");
            }
        }
        // Nobody finds this node any more.
        drop(std::fs::remove_file(Access::path(&self.config.node.state)));
        self.services.engines.close().await;
    }

    /// Where it listens, by purpose.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, String)> {
        self.addresses.read().clone()
    }

    /// Whether a service has an active revision.
    pub(crate) fn serves(&self, name: &str) -> bool {
        self.services.get(name).is_some()
    }

    pub(crate) fn state_path(&self, name: &str) -> PathBuf {
        self.state.path(name)
    }

    pub(crate) fn state_folder(&self) -> &Path {
        &self.config.node.state
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(crate) fn mesh(&self) -> &Mesh {
        &self.services.mesh
    }
}

fn runtime(config: &Config, state: &State, engines: &Engines) -> Result<Arc<Runtime>, StartError> {
    let settings = airhost_runtime::Config {
        cache_folder: Some(state.path("compiled")),
        trust_domain: engines.trust_domain.clone(),
        reservation: airhost_runtime::Reservation {
            instances: config.limits.instances,
            memory: usize::try_from(config.limits.instance_memory_mib << 20).unwrap_or(usize::MAX),
            ..airhost_runtime::Reservation::default()
        },
        ..airhost_runtime::Config::new(
            CacheKey::new(state.key("compiled.key")?),
            engines.telemetry.clone(),
        )
    };
    Ok(Runtime::new(settings).map_err(Error::from)?)
}

fn mesh(
    config: &Config,
    engines: &Engines,
    runtime: &Arc<Runtime>,
    facts: &Arc<LateFacts>,
) -> Result<Arc<Mesh>> {
    let mut overrides = std::collections::HashMap::new();
    for (host, base) in &config.overrides {
        let uri = base.parse().map_err(|_| {
            codes::CONFIG_INVALID.error(format!("overrides: `{base}` is not a URL"))
        })?;
        overrides.insert(host.clone(), uri);
    }
    let injector = Arc::new(VaultInjector(Injector::new(engines.vault.clone())));
    let config = OutboundConfig { overrides, ..OutboundConfig::default() };
    let local = ServiceRoutes::inside(Arc::clone(facts) as _, Arc::clone(runtime) as _);
    let mesh = Mesh::new(Arc::new(local), Some(injector as _), config, &engines.telemetry);
    Ok(Arc::new(mesh.map_err(|error| codes::CONFIG_INVALID.error(error.to_string()))?))
}

/// Puts secrets of the vault into calls outside.
struct VaultInjector(Injector);

#[async_trait]
impl InjectSecrets for VaultInjector {
    async fn inject(&self, _: &ServiceName, rules: &[&Injection], call: &mut Call) -> Result<()> {
        self.0.inject(call, rules).await
    }
}

/// Deploys what is in the folder of components, and what served before and is not in it.
async fn bring_up(
    deployer: &Deployer<NodePlatform>,
    components: Option<&Path>,
    progress: &impl Fn(&str, &str),
) -> Result<()> {
    let mut files: Vec<(ServiceName, Bytes)> = Vec::new();
    if let Some(folder) = components {
        for (path, content) in read_folder(folder)? {
            let artifact = Artifact::from_shared(content.clone()).map_err(|error| {
                let error = Error::from(error);
                Error { message: format!("{}: {}", path.display(), error.message), ..error }
            })?;
            files.push((artifact.manifest().name.clone(), content));
        }
    }
    let stored =
        deployer.revisions().all().map_err(|error| codes::INTERNAL.error(error.to_string()))?;
    for stored in stored {
        if !files.iter().any(|(name, _)| *name == stored.service) {
            files.push((stored.service, stored.artifact.into()));
        }
    }
    if files.is_empty() {
        return Err(codes::DEPLOY_NOTHING.error(
            "there are no components to run: give a folder of artifacts with --components, as `airhost build` makes them",
        ));
    }
    // Whoever starts the node has put the files there: they are granted what they ask for.
    let options = DeployOptions { grant: true, dry_run: false };
    for (name, file) in files {
        progress("load", name.as_str());
        let (events, mut told) = mpsc::channel::<DeployEvent>(16);
        let (result, ()) = tokio::join!(
            async {
                let result = deployer.deploy(file, &options, &events).await;
                drop(events);
                result
            },
            async { while told.recv().await.is_some() {} }
        );
        result.map_err(|error| Error { message: format!("{name}: {}", error.message), ..error })?;
    }
    Ok(())
}

/// The artifacts of a folder, by name.
fn read_folder(folder: &Path) -> Result<Vec<(PathBuf, Bytes)>> {
    let unreadable = |path: &Path, error: std::io::Error| {
        codes::CONFIG_INVALID.error(format!("cannot read {}: {error}", path.display()))
    };
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    paths.sort();
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(content) => Ok((path, Bytes::from(content))),
        Err(error) => Err(unreadable(&path, error)),
    };
    paths.into_iter().map(read).collect()
}

/// A token for the admin API, new at every start.
fn token() -> Result<String> {
    let mut random = [0; 32];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| codes::INTERNAL.error("there is no randomness"))?;
    Ok(hex::encode(random))
}
