//! The services of the node: which manifest, database and loops belong to the revision that
//! serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use airhost_core::{Dispatch, Error, Result, Revision, ServiceName, codes};
use airhost_events::{Outbox, OutboxParts, Schemas};
use airhost_identity::token::Verifier;
use airhost_jobs::{Jobs, KindRule};
use airhost_mail::{MailOutbox, Sender};
use airhost_manifest::{Artifact, Manifest};
use airhost_mesh::{Deployed, Mesh};
use airhost_runtime::{Deployment, Runtime, ServiceEnvironment, VaultGrant};
use airhost_storage::sql::Sqlite;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use crate::{config::Config, engines::Engines, listeners::GATEWAY, loops::Loops};

/// Everything that belongs to the active revision of a service.
pub(crate) struct Service {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) revision: Revision,
    pub(crate) openapi: Option<Bytes>,
    pub(crate) database: Option<Arc<Sqlite>>,
    pub(crate) loops: Mutex<Option<Loops>>,
}

impl Service {
    /// What the mesh is told of it.
    fn deployed(&self) -> Deployed {
        Deployed { manifest: Arc::clone(&self.manifest), revision: Some(self.revision) }
    }
}

/// What the host's own work needs of a revision's environment.
pub(crate) struct Work {
    pub(crate) database: Option<Arc<Sqlite>>,
    pub(crate) outbox: Option<Outbox>,
    pub(crate) jobs: Option<Jobs>,
    pub(crate) mail: Option<MailOutbox>,
}

/// The services of the node.
pub(crate) struct Services {
    pub(crate) config: Config,
    pub(crate) engines: Arc<Engines>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) verifier: Verifier,
    active: RwLock<BTreeMap<ServiceName, Arc<Service>>>,
    /// Where the gateway's routes lead. Held while grants are put in force, so that of two
    /// changes at once the later one counts.
    routed: Mutex<BTreeSet<ServiceName>>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("active", &self.active.read().keys())
            .finish_non_exhaustive()
    }
}

impl Services {
    pub(crate) fn new(
        config: Config,
        engines: Arc<Engines>,
        runtime: Arc<Runtime>,
        mesh: Arc<Mesh>,
    ) -> Self {
        let dispatch: Arc<dyn Dispatch> = Arc::clone(&mesh) as _;
        let verifier = crate::engines::verifier(&config, dispatch);
        Self {
            config,
            engines,
            runtime,
            mesh,
            verifier,
            active: RwLock::default(),
            routed: Mutex::default(),
        }
    }

    /// The active revision of a service.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Service>> {
        self.active.read().get(name).cloned()
    }

    /// All of them by name.
    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        self.active.read().values().cloned().collect()
    }

    /// Puts a revision in the place of the one before; answers that one.
    pub(crate) fn replace(&self, service: Arc<Service>) -> Option<Arc<Service>> {
        let name = service.manifest.name.clone();
        let replaced = self.active.write().insert(name, service);
        self.grant(&self.routed.lock());
        replaced
    }

    /// Lets the gateway call what its routes lead to: who writes a route wants it followed.
    pub(crate) fn route_to(&self, services: BTreeSet<ServiceName>) {
        let mut routed = self.routed.lock();
        *routed = services;
        self.grant(&routed);
    }

    /// Puts the grants of all active revisions in force.
    fn grant(&self, routed: &BTreeSet<ServiceName>) {
        let mut deployed: Vec<Deployed> =
            self.all().iter().map(|service| service.deployed()).collect();
        if let Some(gateway) =
            deployed.iter_mut().find(|deployed| deployed.manifest.name.as_str() == GATEWAY)
        {
            Arc::make_mut(&mut gateway.manifest).calls.extend(routed.iter().cloned());
        }
        self.mesh.update(deployed);
    }

    /// The manifest's configuration with the operator's values over it.
    pub(crate) fn configuration(&self, manifest: &Manifest) -> Result<airhost_manifest::Config> {
        let overrides: serde_json::Map<String, Value> =
            match self.config.services.get(&manifest.name) {
                None => serde_json::Map::new(),
                Some(service) => {
                    service.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
                }
            };
        manifest.config.with_overrides(&overrides).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            codes::DEPLOY_MANIFEST.error(format!(
                "the operator's configuration of {} does not fit it: {}",
                manifest.name,
                faults.join("; ")
            ))
        })
    }

    /// What is to be loaded for an artifact, and what the host does for it beside.
    pub(crate) async fn deployment(&self, artifact: &Artifact) -> Result<(Deployment, Work)> {
        let manifest = artifact.manifest();
        let configuration = self.configuration(manifest)?;
        let (environment, work) = self.environment(artifact).await?;
        let deployment = Deployment::of(artifact, &configuration, environment);
        Ok((deployment, work))
    }

    async fn environment(&self, artifact: &Artifact) -> Result<(ServiceEnvironment, Work)> {
        let manifest = artifact.manifest();
        let engines = &self.engines;
        let database = match &manifest.stores.sql {
            None => None,
            Some(name) => Some(engines.database(name.as_str()).await?),
        };
        let work = Work {
            outbox: database
                .as_ref()
                .map(|database| self.outbox(artifact, database))
                .transpose()?,
            jobs: database.as_ref().map(|database| jobs(manifest, database, engines)),
            mail: database
                .as_ref()
                .filter(|_| manifest.grants.mail)
                .map(|database| self.mail(manifest, database)),
            database,
        };
        let mut environment = ServiceEnvironment::new(Arc::clone(&self.mesh) as _);
        environment.database = work.database.clone().map(|database| database as _);
        environment.kv = manifest.stores.kv.then(|| Arc::clone(&engines.kv));
        environment.outbox = work.outbox.clone().filter(|_| !manifest.events.out.is_empty());
        environment.jobs = work.jobs.clone().filter(|_| !manifest.jobs.is_empty());
        environment.mailer = work.mail.clone().map(|mail| Arc::new(mail) as _);
        environment.vault = (!manifest.secrets.names.is_empty())
            .then(|| VaultGrant { vault: engines.vault.clone(), names: manifest.secrets.clone() });
        environment.verifier = manifest
            .grants
            .principal_assume
            .then(|| Arc::new(crate::platform::TokenCheck(self.verifier.clone())) as _);
        environment.passwords = Some(Arc::clone(&engines.passwords));
        environment.clock = engines.clock.clone();
        Ok((environment, work))
    }

    fn outbox(&self, artifact: &Artifact, database: &Arc<Sqlite>) -> Result<Outbox> {
        let manifest = artifact.manifest();
        let texts: Vec<(&str, String)> = artifact
            .event_schemas()
            .iter()
            .map(|(topic, schema)| (topic.as_str(), schema.to_string()))
            .collect();
        let texts = texts.iter().map(|(topic, text)| (*topic, text.as_str()));
        let schemas = Schemas::compile(texts).map_err(|error| {
            codes::DEPLOY_MANIFEST
                .error(format!("an event schema of {} is not valid: {error}", manifest.name))
        })?;
        let topics: BTreeSet<String> =
            manifest.events.out.iter().map(|topic| topic.as_str().to_owned()).collect();
        Ok(Outbox::new(OutboxParts {
            service: manifest.name.clone(),
            identity: self.engines.trust_domain.identity(&manifest.name),
            topics,
            schemas: Arc::new(schemas),
            database: Arc::clone(database) as _,
            clock: self.engines.clock.clone(),
        }))
    }

    fn mail(&self, manifest: &Manifest, database: &Arc<Sqlite>) -> MailOutbox {
        let sender = Sender {
            from: "PyAirtable <no-reply@pyairtable.local>".to_owned(),
            domain: "pyairtable.local".to_owned(),
        };
        let database = Arc::clone(database) as _;
        MailOutbox::new(manifest.name.clone(), sender, database, self.engines.clock.clone())
    }
}

fn jobs(manifest: &Manifest, database: &Arc<Sqlite>, engines: &Engines) -> Jobs {
    let kinds = manifest
        .jobs
        .iter()
        .map(|(kind, job)| {
            (kind.clone(), KindRule { max_attempts: job.max_attempts, deadline: job.deadline })
        })
        .collect();
    Jobs::new(manifest.name.clone(), kinds, Arc::clone(database) as _, engines.clock.clone())
}

/// An artifact's migrations as the store knows them.
pub(crate) fn migrations(artifact: &Artifact) -> Vec<airhost_storage::sql::Migration> {
    artifact.migrations().iter().map(migration).collect()
}

/// A migration as the store knows it.
pub(crate) fn migration(
    migration: &airhost_manifest::Migration,
) -> airhost_storage::sql::Migration {
    airhost_storage::sql::Migration {
        name: migration.file_name().trim_end_matches(".sql").to_owned(),
        phase: match migration.kind {
            airhost_manifest::MigrationKind::Expand => airhost_storage::sql::Phase::Expand,
            airhost_manifest::MigrationKind::Contract => airhost_storage::sql::Phase::Contract,
        },
        sql: migration.sql.clone(),
    }
}

/// The active revision of a service, or that there is none.
pub(crate) fn known(services: &Services, name: &ServiceName) -> Result<Arc<Service>, Error> {
    services.get(name.as_str()).ok_or_else(|| {
        codes::DEPLOY_UNKNOWN_SERVICE.error(format!("there is no service `{name}` here"))
    })
}
