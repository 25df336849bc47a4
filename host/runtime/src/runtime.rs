//! The runtime of a node: which generation serves which service.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use airhost_core::{
    Call, Deadline, Dispatch, Response, Result, Revision, ServiceName, Target, codes,
};
use airhost_telemetry::{log::LineRate, spawn_named};
use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};

use crate::{
    background::Background,
    cache::Cache,
    compile_cache::CompileCache,
    compiler::Compiler,
    config::Config,
    cpu::Share,
    deployment::{Deployment, Mode},
    engine::Engine,
    error::Error,
    exports::Exports,
    generation::{DEFAULT_POOL, Generation, InFlight, Loaded, LoadedPool, Pool},
    invoke, serve,
    service::Service,
    snapshot::{self, Snapshot},
    state::{CallState, State},
    status::{PoolStatus, ServiceStatus, Status},
};

/// Components whose code stays in memory after they served, for a rollback or a change of
/// configuration.
const COMPILED: usize = 64;
/// Longest time that `ready` may take.
const PROBE: Duration = Duration::from_secs(10);

/// Runs the services of a node.
pub struct Runtime {
    config: Config,
    engine: Arc<Engine>,
    compiler: Compiler,
    background: Background,
    linker: Linker<State>,
    /// What was compiled last, newest first.
    compiled: Mutex<VecDeque<(Revision, Component, Snapshot)>>,
    services: ArcSwap<HashMap<ServiceName, Arc<Slot>>>,
    /// Generations that were replaced and have calls left.
    draining: Mutex<Vec<Arc<Generation>>>,
    generations: AtomicU64,
    closed: AtomicBool,
}

/// Where the generation of one service is swapped.
#[derive(Default)]
struct Slot {
    active: ArcSwapOption<Generation>,
}

/// A generation that serves, or served.
#[derive(Clone)]
pub struct Activation(Arc<Generation>);

impl Activation {
    /// Its number; each activation on a node has a higher one.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.service().revision
    }

    /// Waits until it was replaced and its last call has ended.
    pub async fn drained(&self) {
        self.0.drained().await;
    }
}

impl Runtime {
    /// Starts the engine and the threads that belong to it.
    ///
    /// # Errors
    /// [`Error::Engine`] where wasmtime cannot reserve what the settings ask for,
    /// [`Error::CacheFolder`] where the folder of compiled code is not the node's own.
    pub fn new(config: Config) -> std::result::Result<Arc<Self>, Error> {
        let engine = Arc::new(Engine::new(&config)?);
        let cache = config
            .cache_folder
            .as_deref()
            .map(|folder| CompileCache::open(folder, &config.cache_key))
            .transpose()?;
        let compiler = Compiler::new(Arc::clone(&engine), cache)?;
        let background = Background::start()?;
        let linker = crate::linker::linker(engine.wasmtime()).map_err(Error::engine)?;
        Ok(Arc::new(Self {
            config,
            engine,
            compiler,
            background,
            linker,
            compiled: Mutex::default(),
            services: ArcSwap::default(),
            draining: Mutex::default(),
            generations: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }))
    }

    /// Compiles (or finds compiled), snapshots and links a revision, off the serving threads.
    ///
    /// # Errors
    /// [`Error::Component`] with a sentence that names the service, the revision and what to
    /// change.
    pub async fn load(&self, deployment: Deployment) -> std::result::Result<Loaded, Error> {
        let Deployment {
            service: name,
            revision,
            component: wasm,
            instances,
            language,
            limits,
            pools,
            environment,
        } = deployment;
        let fault = |code: &'static str, reason: String| Error::Component {
            service: name.clone(),
            revision,
            code,
            reason,
        };
        let metrics = self.config.telemetry.metrics.service(&name);
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        let service = Arc::new(Service {
            identity: self.config.trust_domain.identity(&name),
            revision,
            revision_short: revision.short().into(),
            limits,
            cache: Arc::new(Cache::new(limits.cache)),
            log_rate: Arc::new(LineRate::new(limits.log_lines)),
            background: self.background.clone(),
            share: Share::new(threads, Arc::clone(self.engine.clock()), Arc::clone(&metrics)),
            metrics: Arc::clone(&metrics),
            telemetry: self.config.telemetry.clone(),
            environment,
            name: name.clone(),
        });
        let (component, snapshot) =
            self.component(&service, &wasm).await.map_err(|(code, reason)| fault(code, reason))?;
        let linker = crate::linker::for_component(&self.linker, &component)
            .map_err(|error| fault(codes::DEPLOY_UNKNOWN_IMPORT.code, format!("{error:#}")))?;
        let pre = linker.instantiate_pre(&component).map_err(|error| {
            fault(codes::DEPLOY_UNKNOWN_IMPORT.code, crate::linker::explain(&error))
        })?;
        let exports = Exports::of(&pre).map_err(|error| {
            fault(
                codes::DEPLOY_INCOMPATIBLE.code,
                format!("an export is not as in the contract: {error:#}"),
            )
        })?;
        let loaded = |name: Arc<str>, service, instances| LoadedPool {
            name,
            service,
            pre: pre.clone(),
            exports: exports.clone(),
            mode: Mode::decide(instances, language, self.engine.reset().pagemap_scan),
        };
        let more = pools.into_iter().map(|pool| {
            let share = Share::new(threads, Arc::clone(self.engine.clock()), Arc::clone(&metrics));
            loaded(pool.name, Arc::new(service.pool(pool.limits, share)), pool.instances)
        });
        let more = more.collect();
        Ok(Loaded { default: loaded(DEFAULT_POOL.into(), service, instances), more, snapshot })
    }

    /// The component that instances are made of: the snapshot, where there is an `init`. The same
    /// file is compiled once, whatever configuration it is loaded with.
    async fn component(
        &self,
        service: &Arc<Service>,
        wasm: &Bytes,
    ) -> std::result::Result<(Component, Snapshot), (&'static str, String)> {
        let digest = Revision::of(wasm);
        if let Some((_, component, snapshot)) =
            self.compiled.lock().iter().find(|(known, ..)| *known == digest)
        {
            return Ok((component.clone(), snapshot.clone()));
        }
        let (component, snapshot) = self.compile(service, digest, wasm).await?;
        let mut compiled = self.compiled.lock();
        compiled.truncate(COMPILED - 1);
        compiled.push_front((digest, component.clone(), snapshot.clone()));
        Ok((component, snapshot))
    }

    async fn compile(
        &self,
        service: &Arc<Service>,
        digest: Revision,
        wasm: &Bytes,
    ) -> std::result::Result<(Component, Snapshot), (&'static str, String)> {
        let fault = |error: wasmtime::Error| {
            (codes::DEPLOY_NOT_A_COMPONENT.code, crate::linker::refused(&error))
        };
        if let Some(component) = self.compiler.find(digest, true).await.map_err(fault)? {
            return Ok((component, Snapshot::Taken));
        }
        let component = match self.compiler.find(digest, false).await.map_err(fault)? {
            Some(component) => component,
            None => self.compiler.compile(digest, wasm.clone(), false).await.map_err(fault)?,
        };
        if component.get_export_index(None, "pyairtable:service/lifecycle@0.1.0").is_none() {
            return Ok((component, Snapshot::NotWanted));
        }
        let (engine, linker) = (self.engine.wasmtime().clone(), self.linker.clone());
        let (service, wasm) = (Arc::clone(service), wasm.clone());
        let handle = tokio::runtime::Handle::current();
        let outcome = self
            .compiler
            .off_thread(move || handle.block_on(snapshot::take(&engine, &linker, &service, &wasm)))
            .await
            .map_err(fault)?;
        match outcome {
            snapshot::Outcome::Taken(wasm) => {
                let component =
                    self.compiler.compile(digest, wasm.into(), true).await.map_err(fault)?;
                Ok((component, Snapshot::Taken))
            }
            snapshot::Outcome::Impossible(reason) => {
                Ok((component, Snapshot::Impossible { reason }))
            }
            snapshot::Outcome::Failed(reason) => Err((codes::GUEST_INIT.code, reason)),
        }
    }

    /// Asks a revision that does not serve yet whether it is ready.
    ///
    /// # Errors
    /// What `ready` answered, or how its instance ended.
    pub async fn probe(&self, loaded: &Loaded) -> Result<()> {
        let pool = Pool::new(0, loaded.default.clone());
        let mut state = CallState::idle();
        state.context.deadline = Deadline::after(PROBE);
        let answer = invoke::run(&pool, state, async |instance| {
            // Without a life cycle an instance that can be made is ready.
            let Some(indices) = &loaded.default.exports.lifecycle else { return Ok(Ok(())) };
            let exports = indices.load(&mut instance.store, &instance.linked)?;
            exports.pyairtable_service_lifecycle().call_ready(&mut instance.store).await
        })
        .await?;
        answer.map_err(crate::glue::from_guest)
    }

    /// Lets a revision serve from now on. Calls that the replaced generation is in end there.
    pub fn activate(&self, loaded: Loaded) -> Activation {
        let number = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let name = loaded.service().clone();
        let generation = Arc::new(Generation::new(number, loaded));
        let replaced = self.slot(&name).active.swap(Some(Arc::clone(&generation)));
        if let Some(replaced) = replaced {
            self.retire(replaced);
        }
        Activation(generation)
    }

    /// Ends serving a service. Calls that it is in end there.
    pub fn deactivate(&self, service: &ServiceName) -> Option<Activation> {
        let replaced = self.services.load().get(service)?.active.swap(None)?;
        self.retire(Arc::clone(&replaced));
        Some(Activation(replaced))
    }

    /// The generation that serves a service.
    #[must_use]
    pub fn active(&self, service: &ServiceName) -> Option<Activation> {
        Some(Activation(self.services.load().get(service)?.active.load_full()?))
    }

    /// What serves, and how.
    #[must_use]
    pub fn status(&self) -> Status {
        let services = self.services.load();
        let mut services: Vec<_> = services
            .values()
            .filter_map(|slot| slot.active.load_full())
            .map(|generation| service_status(&generation))
            .collect();
        services.sort_by(|a, b| a.service.cmp(&b.service));
        Status { reset: self.engine.reset().clone(), services }
    }

    /// Takes no more calls, and waits for those under way until the deadline. Answers how many
    /// were left then.
    pub async fn drain(&self, deadline: Deadline) -> usize {
        self.closed.store(true, Ordering::SeqCst);
        for slot in self.services.load().values() {
            if let Some(generation) = slot.active.swap(None) {
                self.retire(generation);
            }
        }
        let draining = self.draining.lock().clone();
        for generation in &draining {
            // Past the deadline the rest is counted, not waited for.
            drop(tokio::time::timeout_at(deadline.instant(), generation.drained()).await);
        }
        draining.iter().map(|generation| generation.in_flight()).sum()
    }

    fn slot(&self, name: &ServiceName) -> Arc<Slot> {
        if let Some(slot) = self.services.load().get(name) {
            return Arc::clone(slot);
        }
        let fresh = Arc::new(Slot::default());
        self.services.rcu(|services| {
            let mut services = HashMap::clone(services);
            services.entry(name.clone()).or_insert_with(|| Arc::clone(&fresh));
            services
        });
        self.services.load().get(name).map_or(fresh, Arc::clone)
    }

    fn retire(&self, generation: Arc<Generation>) {
        generation.retire();
        let mut draining = self.draining.lock();
        draining.retain(|generation| generation.in_flight() > 0);
        draining.push(Arc::clone(&generation));
        drop(draining);
        spawn_named("retire-generation", async move {
            // Those that are idle now, and those that calls gave back meanwhile.
            retire_instances(&generation).await;
            generation.drained().await;
            retire_instances(&generation).await;
        });
    }

    /// The default pool of the generation that a call goes to, wholly.
    pub(crate) fn enter(&self, service: &ServiceName) -> Result<InFlight> {
        self.enter_pool(service, None)
    }

    fn enter_pool(&self, service: &ServiceName, pool: Option<&str>) -> Result<InFlight> {
        loop {
            let services = self.services.load();
            let active = services.get(service).map(|slot| slot.active.load());
            let Some(generation) = active.as_ref().and_then(|active| active.as_ref()) else {
                return Err(if self.closed.load(Ordering::SeqCst) {
                    codes::CANCELLED_SHUTDOWN.error("the node is shutting down")
                } else {
                    codes::GUEST_NO_REVISION
                        .error(format!("{service} has no active revision on this node"))
                });
            };
            // A generation that retired between the two steps has a successor by now.
            if let Some(call) = generation.pool(pool).enter() {
                return Ok(call);
            }
        }
    }
}

#[async_trait]
impl Dispatch for Runtime {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        let Target::Service(service) = &call.target else {
            return Err(codes::CALL_UNKNOWN_HOST.error("the runtime serves services, not hosts"));
        };
        let pool = self.enter_pool(service, call.pool.as_deref())?;
        serve::serve(pool, call).await
    }
}

async fn retire_instances(generation: &Generation) {
    for pool in generation.pools() {
        for instance in pool.warm.drain() {
            invoke::retire(pool, instance).await;
        }
    }
}

fn service_status(generation: &Generation) -> ServiceStatus {
    let service = generation.service();
    ServiceStatus {
        service: service.name.clone(),
        revision: service.revision,
        generation: generation.number,
        snapshot: generation.snapshot.clone(),
        pools: generation.pools().map(|pool| pool_status(pool)).collect(),
        log_lines_dropped: service.metrics.guest.log_lines_dropped.get(),
    }
}

fn pool_status(pool: &Pool) -> PoolStatus {
    let counters = &pool.counters;
    PoolStatus {
        name: Arc::clone(&pool.loaded.name),
        mode: pool.loaded.mode,
        in_flight: pool.in_flight(),
        waiting: pool.admission.waiting(),
        idle_instances: pool.warm.idle(),
        calls: counters.calls.load(Ordering::Relaxed),
        failed: counters.failed.load(Ordering::Relaxed),
        rejected: counters.rejected.load(Ordering::Relaxed),
        instances: counters.instances.load(Ordering::Relaxed),
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("number", &self.number())
            .field("revision", &self.revision())
            .finish()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("engine", &self.engine).finish_non_exhaustive()
    }
}
