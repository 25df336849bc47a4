//! The deploy pipeline: from a file to the revision that serves, or a refusal that changed nothing.

use std::{collections::HashSet, sync::Arc};

use airhost_core::{Error, Result, Revision, ServiceName, codes};
use airhost_manifest::{Artifact, Manifest};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Revisions,
    api::{DeployEvent, DeployOptions, DeployStep},
};

/// What the pipeline needs of a node. Each method is one step and leaves the active revision as it
/// was if it fails.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// A revision that is compiled and linked, and serves nobody yet.
    type Candidate: Send + Sync;

    /// The revision that an artifact is here: its content with the operator's configuration.
    fn revision(&self, artifact: &Artifact) -> Revision;

    /// The revision that serves, and its manifest.
    fn active(&self, service: &ServiceName) -> Option<(Revision, Arc<Manifest>)>;

    /// Refuses imports that are not known or not listed.
    fn check(&self, artifact: &Artifact) -> Result<()>;

    /// Compiles off the serving threads, snapshots and links.
    async fn compile(&self, artifact: &Artifact) -> Result<Self::Candidate>;

    /// Tries the migrations on a scratch copy of the schema.
    async fn probe_migrations(&self, artifact: &Artifact) -> Result<()>;

    /// Runs the migrations that may run while the old revision serves; answers their names.
    async fn migrate(&self, artifact: &Artifact) -> Result<Vec<String>>;

    /// Calls `ready` on a new instance.
    async fn probe(&self, candidate: &Self::Candidate) -> Result<()>;

    /// Sends new requests to the candidate; answers what waits for the old revision to drain.
    async fn swap(
        &self,
        artifact: &Artifact,
        candidate: Self::Candidate,
    ) -> Result<Box<dyn Draining>>;
}

/// A revision that was replaced.
#[async_trait]
pub trait Draining: Send {
    /// Waits until it has answered its last request, and then does what had to wait for that.
    async fn drained(self: Box<Self>);
}

/// Deploys revisions, one at a time for each service.
#[derive(Debug)]
pub struct Deployer<P> {
    platform: Arc<P>,
    revisions: Revisions,
    running: Mutex<HashSet<ServiceName>>,
}

impl<P: Platform> Deployer<P> {
    /// A deployer that keeps what it activated in `revisions`.
    pub fn new(platform: Arc<P>, revisions: Revisions) -> Self {
        Self { platform, revisions, running: Mutex::default() }
    }

    /// The artifacts that were active when the node stopped.
    pub fn revisions(&self) -> &Revisions {
        &self.revisions
    }

    /// Takes an artifact through all steps, telling each to `events`; the last event says what
    /// came of it. Goes on to the end when nobody listens any more.
    pub async fn deploy(
        &self,
        file: Bytes,
        options: &DeployOptions,
        events: &mpsc::Sender<DeployEvent>,
    ) -> Result<()> {
        let result = self.run(file, options, events).await;
        let last = match &result {
            Ok(event) => event.clone(),
            Err(error) => DeployEvent::Refused {
                code: error.code.clone().into_owned(),
                message: error.message.clone(),
                remedy: codes::find(&error.code)
                    .map_or_else(String::new, |code| code.remedy.to_owned()),
            },
        };
        tell(events, last).await;
        result.map(drop)
    }

    async fn run(
        &self,
        file: Bytes,
        options: &DeployOptions,
        events: &mpsc::Sender<DeployEvent>,
    ) -> Result<DeployEvent> {
        let start = Instant::now();
        let step =
            async |step, detail: String| tell(events, DeployEvent::Step { step, detail }).await;

        step(DeployStep::Validate, format!("{} bytes", file.len())).await;
        let artifact = Artifact::from_shared(file.clone()).map_err(Error::from)?;
        let service = artifact.manifest().name.clone();
        let _turn = self.turn(&service)?;
        self.platform.check(&artifact)?;
        let replaced = self.platform.active(&service);
        if let Some((_, active)) = &replaced {
            review(artifact.manifest(), active, options)?;
        }

        let revision = self.platform.revision(&artifact);
        step(DeployStep::Compile, format!("{service} {}", revision.short())).await;
        let candidate = self.platform.compile(&artifact).await?;

        step(DeployStep::Migrate, String::new()).await;
        self.platform.probe_migrations(&artifact).await?;
        if options.dry_run {
            return Ok(DeployEvent::Checked { service, revision });
        }
        let ran = self.platform.migrate(&artifact).await?;

        step(DeployStep::Probe, ran.join(", ")).await;
        self.platform.probe(&candidate).await?;

        step(DeployStep::Swap, String::new()).await;
        let draining = self.platform.swap(&artifact, candidate).await?;
        let live_after_ms = milliseconds(start);
        self.revisions.activate(&service, &file).map_err(|error| {
            tracing::error!(%service, error = &error as &dyn std::error::Error, "the active revision cannot be kept");
            codes::INTERNAL.error("the revision serves, but it cannot be kept for the next start: check the state folder")
        })?;

        step(DeployStep::Drain, replaced.as_ref().map_or_else(String::new, |(old, _)| old.short()))
            .await;
        draining.drained().await;
        Ok(DeployEvent::Deployed {
            service,
            revision,
            replaced: replaced.map(|(old, _)| old),
            live_after_ms,
            drained_after_ms: milliseconds(start),
        })
    }

    /// One deploy of a service at a time.
    fn turn(&self, service: &ServiceName) -> Result<Turn<'_>> {
        if !self.running.lock().insert(service.clone()) {
            return Err(codes::DEPLOY_BUSY.error(format!("another deploy of {service} is running")));
        }
        Ok(Turn { running: &self.running, service: service.clone() })
    }
}

struct Turn<'a> {
    running: &'a Mutex<HashSet<ServiceName>>,
    service: ServiceName,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.service);
    }
}

/// What is asked for beyond the active grants has to be allowed by who deploys.
fn review(new: &Manifest, active: &Manifest, options: &DeployOptions) -> Result<()> {
    let more = new.more_than(active);
    if more.is_empty() || options.grant {
        return Ok(());
    }
    let list: Vec<String> = more.iter().map(ToString::to_string).collect();
    Err(codes::DEPLOY_MORE_GRANTS.error(format!(
        "{} asks for more than the active revision was granted: {}; deploy with --grant to allow it",
        new.name,
        list.join(", ")
    )))
}

/// A listener that has gone does not stop a deploy.
async fn tell(events: &mpsc::Sender<DeployEvent>, event: DeployEvent) {
    if events.send(event).await.is_err() {
        tracing::debug!("nobody follows the deploy any more");
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
