//! The engines that stand behind the services' imports, one of each for the whole node.

use std::{collections::HashMap, fmt, io::Write, path::PathBuf, sync::Arc};

use airhost_core::{Clock, Dispatch, Result, TrustDomain, codes};
use airhost_crypto::password::Passwords;
use airhost_events::bus::{Bus, Log, LogConfig};
use airhost_identity::token::Verifier;
use airhost_mail::Folder;
use airhost_secrets::Vault;
use airhost_storage::{
    idempotency,
    kv::{KeyValue, Memory, MemoryConfig},
    sql::{Database as _, Sqlite, SqliteConfig},
};
use airhost_telemetry::{
    Telemetry, access,
    log::{self, Logs},
    metrics::Metrics,
    trace::{self, Traces},
};
use tokio::sync::Mutex;

use crate::{
    config::{AccessLines, AccessLog, Config, LogOutput},
    levels::Levels,
    state::State,
};

/// Passwords that wait to be hashed; more are told to come back.
const PASSWORD_QUEUE: usize = 64;
/// What the first tokens say, unless auth-service is configured otherwise.
pub(crate) const AUDIENCE: &str = "pyairtable";
/// The issuer of auth-service's manifest.
const ISSUER: &str = "https://pyairtable.local";

/// Opened once, closed last.
pub(crate) struct Engines {
    pub(crate) clock: Clock,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) telemetry: Telemetry,
    pub(crate) vault: Vault,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) kv: Arc<dyn KeyValue>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) mail: Arc<Folder>,
    databases: Mutex<HashMap<String, Arc<Sqlite>>>,
    database_folder: PathBuf,
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines").finish_non_exhaustive()
    }
}

impl Engines {
    /// Opens them in the state folder.
    pub(crate) async fn open(config: &Config, state: &State) -> Result<Self> {
        let unusable = |error: crate::StateError| codes::INTERNAL.error(error.to_string());
        let telemetry = telemetry(config, state)?;
        let vault = Vault::open(&state.folder("vault").map_err(unusable)?).map_err(|error| {
            codes::SECRETS_UNAVAILABLE.error(format!("the vault cannot be opened: {error}"))
        })?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let passwords = Passwords::start(threads, PASSWORD_QUEUE)
            .map_err(|error| codes::INTERNAL.error(format!("no threads for passwords: {error}")))?;
        let kv = Memory::open(MemoryConfig {
            bytes: usize::try_from(config.limits.kv_mib << 20).unwrap_or(usize::MAX),
            snapshot: Some(state.path("kv.snapshot")),
            ..MemoryConfig::default()
        });
        let events = state.folder("events").map_err(unusable)?;
        let bus = Log::open(LogConfig::new(events.join("log.db")));
        let mail = Folder::open(state.folder("mail").map_err(unusable)?)?;
        Ok(Self {
            clock: Clock::system(),
            trust_domain: trust_domain(config)?,
            telemetry,
            vault,
            passwords: Arc::new(passwords),
            kv: Arc::new(kv.await?),
            bus: Arc::new(bus.await?),
            mail: Arc::new(mail),
            databases: Mutex::default(),
            database_folder: state.folder("databases").map_err(unusable)?,
        })
    }

    /// A service's database, opened at the first call.
    pub(crate) async fn database(&self, name: &str) -> Result<Arc<Sqlite>> {
        let mut open = self.databases.lock().await;
        if let Some(database) = open.get(name) {
            return Ok(Arc::clone(database));
        }
        let config = SqliteConfig::new(self.database_path(name)).with_host_schemas([
            idempotency::SCHEMA,
            airhost_events::SCHEMA,
            airhost_jobs::SCHEMA,
            airhost_mail::SCHEMA,
        ]);
        let database = Arc::new(Sqlite::open(config).await?);
        open.insert(name.to_owned(), Arc::clone(&database));
        Ok(database)
    }

    /// Where a service's database is.
    pub(crate) fn database_path(&self, name: &str) -> PathBuf {
        self.database_folder.join(format!("{name}.db"))
    }

    /// Writes what is in memory and closes everything.
    pub(crate) async fn close(&self) {
        for database in self.databases.lock().await.values() {
            database.close().await;
        }
        if let Err(error) = self.kv.close().await {
            tracing::error!(%error, "keys and values of the last seconds are lost");
        }
        self.telemetry.logs.flush(std::time::Duration::from_secs(2));
    }
}

fn trust_domain(config: &Config) -> Result<TrustDomain> {
    config
        .node
        .trust_domain
        .parse()
        .map_err(|error| codes::CONFIG_INVALID.error(format!("node.trust_domain: {error}")))
}

/// Verifies users' tokens with the keys of auth-service.
pub(crate) fn verifier(config: &Config, dispatch: Arc<dyn Dispatch>) -> Verifier {
    let own = config.services.get("auth-service").and_then(|service| service.config.get("issuer"));
    let issuer = own.and_then(|issuer| issuer.as_str()).unwrap_or(ISSUER).to_owned();
    let config = airhost_identity::token::Config {
        issuers: vec![issuer],
        audiences: vec![AUDIENCE.to_owned()],
    };
    Verifier::new(&config, dispatch)
}

fn access(config: &AccessLog) -> access::Config {
    let lines = |lines| match lines {
        AccessLines::Off => access::Lines::Off,
        AccessLines::Failures => access::Lines::Failures,
        AccessLines::All => access::Lines::All,
    };
    let AccessLog { inbound, outbound, sample } = *config;
    access::Config { inbound: lines(inbound), outbound: lines(outbound), sample }
}

fn telemetry(config: &Config, state: &State) -> Result<Telemetry> {
    let levels = Levels::parse(&config.log.level)
        .map_err(|fault| codes::CONFIG_INVALID.error(format!("log.level: {fault}")))?;
    let metrics = Arc::new(Metrics::new());
    let (format, sink): (_, Box<dyn Write + Send>) = match config.log.output {
        LogOutput::Json => (log::Format::Json, Box::new(std::io::stdout())),
        LogOutput::Text => (log::Format::Human { color: false }, Box::new(std::io::stderr())),
        LogOutput::File => {
            let path = state.path("airhost.log");
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            let file = file.map_err(|error| {
                codes::INTERNAL.error(format!("cannot write {}: {error}", path.display()))
            })?;
            (log::Format::Json, Box::new(file))
        }
    };
    let settings = log::Config {
        format,
        node: config.node.name.clone(),
        filter: levels.host,
        level: levels.default,
        access: access(&config.access_log),
        services: levels.services,
        ..log::Config::default()
    };
    let logs: Logs = log::install(settings, sink, Arc::clone(&metrics));
    Ok(Telemetry { metrics, logs, traces: Traces::new(trace::Config::default()) })
}
