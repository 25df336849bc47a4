//! The steps of a deploy, as this node does them.

use std::{sync::Arc, time::Duration};

use airhost_control::{Draining, Platform};
use airhost_core::{Deadline, Error, Principal, Result, Revision, ServiceName, codes};
use airhost_identity::token::Verifier;
use airhost_manifest::{Artifact, Manifest};
use airhost_runtime::{Activation, Loaded, VerifyToken};
use airhost_storage::sql::{Database as _, Migration, Sqlite};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    loops::Loops,
    offers::interfaces,
    services::{Service, Services, Work, migrations},
};

/// Time for background work of the old revision to end.
const LOOPS: Duration = Duration::from_secs(30);

/// Deploys to this node.
#[derive(Debug)]
pub(crate) struct NodePlatform(pub(crate) Arc<Services>);

/// A revision that is loaded and serves nobody yet.
pub(crate) struct Candidate {
    loaded: Loaded,
    work: Work,
    revision: Revision,
}

#[async_trait]
impl Platform for NodePlatform {
    type Candidate = Candidate;

    fn revision(&self, artifact: &Artifact) -> Revision {
        // A configuration that does not fit is refused when the revision is compiled.
        let configuration = self.0.configuration(artifact.manifest());
        artifact.revision(&configuration.unwrap_or_else(|_| artifact.manifest().config.clone()))
    }

    fn active(&self, service: &ServiceName) -> Option<(Revision, Arc<Manifest>)> {
        let service = self.0.get(service.as_str())?;
        Some((service.revision, Arc::clone(&service.manifest)))
    }

    fn check(&self, artifact: &Artifact) -> Result<()> {
        artifact.check_grants(artifact.manifest(), interfaces()).map_err(|findings| {
            let code =
                findings.first().map_or(&codes::DEPLOY_UNKNOWN_IMPORT, |finding| finding.code);
            let sentences: Vec<String> = findings.iter().map(ToString::to_string).collect();
            code.error(sentences.join("; "))
        })
    }

    async fn compile(&self, artifact: &Artifact) -> Result<Candidate> {
        let (deployment, work) = self.0.deployment(artifact).await?;
        let revision = deployment.revision;
        let loaded = self.0.runtime.load(deployment).await.map_err(Error::from)?;
        Ok(Candidate { loaded, work, revision })
    }

    async fn probe_migrations(&self, artifact: &Artifact) -> Result<()> {
        match self.database(artifact).await? {
            Some(database) => database.probe_migrations(&migrations(artifact)).await,
            None => Ok(()),
        }
    }

    async fn migrate(&self, artifact: &Artifact) -> Result<Vec<String>> {
        match self.database(artifact).await? {
            Some(database) => Ok(database.migrate(&migrations(artifact), false).await?.ran),
            None => Ok(Vec::new()),
        }
    }

    async fn probe(&self, candidate: &Candidate) -> Result<()> {
        self.0.runtime.probe(&candidate.loaded).await.map_err(|error| {
            codes::DEPLOY_PROBE.error(format!("the new revision is not ready: {error}"))
        })
    }

    async fn swap(&self, artifact: &Artifact, candidate: Candidate) -> Result<Box<dyn Draining>> {
        let Candidate { loaded, work, revision } = candidate;
        let manifest = Arc::new(artifact.manifest().clone());
        let database = work.database.clone();
        let before = self.0.runtime.active(&manifest.name);
        let service = Arc::new(Service {
            manifest: Arc::clone(&manifest),
            revision,
            openapi: artifact.openapi().map(|document| Bytes::from(document.to_string())),
            database: database.clone(),
            loops: Mutex::new(None),
        });
        // The grants of the new revision are in force before its first request.
        let replaced = self.0.replace(Arc::clone(&service));
        self.0.runtime.activate(loaded);
        // One consumer of a service at a time: the new loops begin when the old ones have ended.
        if let Some(loops) = replaced.and_then(|replaced| replaced.loops.lock().take()) {
            loops.stop(Deadline::after(LOOPS)).await;
        }
        let loops = Loops::start(&manifest, work, &self.0.engines, &self.0.runtime);
        *service.loops.lock() = Some(loops);
        Ok(Box::new(OldRevision {
            before,
            database,
            migrations: migrations(artifact),
            service: manifest.name.clone(),
        }))
    }
}

impl NodePlatform {
    async fn database(&self, artifact: &Artifact) -> Result<Option<Arc<Sqlite>>> {
        match &artifact.manifest().stores.sql {
            Some(name) => self.0.engines.database(name.as_str()).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The revision that was replaced, and what waits for it to have retired.
struct OldRevision {
    before: Option<Activation>,
    database: Option<Arc<Sqlite>>,
    migrations: Vec<Migration>,
    service: ServiceName,
}

#[async_trait]
impl Draining for OldRevision {
    async fn drained(self: Box<Self>) {
        if let Some(before) = &self.before {
            before.drained().await;
        }
        let Some(database) = self.database else { return };
        match database.migrate(&self.migrations, true).await {
            Ok(applied) if applied.ran.is_empty() => {}
            Ok(applied) => {
                tracing::info!(service = %self.service, ran = ?applied.ran, "contract migrations ran; there is no way back")
            }
            Err(error) => {
                tracing::error!(service = %self.service, %error, "contract migrations failed; they will be tried at the next deploy")
            }
        }
    }
}

/// Verifies tokens for `context.assume`.
pub(crate) struct TokenCheck(pub(crate) Verifier);

#[async_trait]
impl VerifyToken for TokenCheck {
    async fn verify(&self, jwt: &str) -> Result<Principal> {
        self.0.verify(jwt).await.map(|principal| Principal::clone(&principal))
    }
}
