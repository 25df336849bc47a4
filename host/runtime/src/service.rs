//! A service as its instances see it: name, limits, and what stands behind its imports.

use std::{collections::BTreeMap, fmt, sync::Arc};

use airhost_core::{Clock, Dispatch, Principal, Result, Revision, ServiceName, SpiffeId};
use airhost_crypto::password::Passwords;
use airhost_events::Outbox;
use airhost_jobs::Jobs;
use airhost_mail::Mailer;
use airhost_secrets::Vault;
use airhost_storage::{kv::KeyValue, sql::Database};
use airhost_telemetry::{Telemetry, log::LineRate, metrics::ServiceMetrics};
use async_trait::async_trait;

use crate::{
    background::{Background, Movable},
    cache::{Cache, CacheBroadcast},
    cpu::Share,
    limits::Limits,
};

/// What stands behind the imports of one service. What is none answers `denied` or `unsupported`
/// at the call.
#[derive(Clone)]
pub struct ServiceEnvironment {
    /// Where calls to other services and to granted hosts go: the mesh.
    pub outbound: Arc<dyn Dispatch>,
    /// The configuration of this generation, JSON values by key.
    pub config: Arc<BTreeMap<String, serde_json::Value>>,
    /// The service's own database.
    pub database: Option<Arc<dyn Database>>,
    /// Keys and values.
    pub kv: Option<Arc<dyn KeyValue>>,
    /// Publishes events.
    pub outbox: Option<Outbox>,
    /// Durable jobs.
    pub jobs: Option<Jobs>,
    /// Mail.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// The vault, with the names that the manifest grants.
    pub vault: Option<VaultGrant>,
    /// Verifies tokens for `context.assume`; none where the manifest does not grant it.
    pub verifier: Option<Arc<dyn VerifyToken>>,
    /// Hashes passwords.
    pub passwords: Option<Arc<Passwords>>,
    /// Tells other nodes what the cache dropped.
    pub cache_broadcast: Option<Arc<dyn CacheBroadcast>>,
    /// The wall clock of leases.
    pub clock: Clock,
}

/// The vault and what a service may do with it.
#[derive(Clone)]
pub struct VaultGrant {
    /// The node's vault.
    pub vault: Vault,
    /// The manifest's `[secrets]`.
    pub names: airhost_manifest::Secrets,
}

/// Verifies a token and says whose it is.
#[async_trait]
pub trait VerifyToken: Send + Sync {
    /// The principal that a token proves.
    ///
    /// # Errors
    /// `principal.invalid-token`, `principal.expired`, `principal.revoked`,
    /// `principal.keys-unavailable`.
    async fn verify(&self, jwt: &str) -> Result<Principal>;
}

impl ServiceEnvironment {
    /// An environment with nothing but calls.
    #[must_use]
    pub fn new(outbound: Arc<dyn Dispatch>) -> Self {
        Self {
            outbound,
            config: Arc::default(),
            database: None,
            kv: None,
            outbox: None,
            jobs: None,
            mailer: None,
            vault: None,
            verifier: None,
            passwords: None,
            cache_broadcast: None,
            clock: Clock::system(),
        }
    }
}

/// What all instances of one pool share. What is the service's as a whole is the same in all of
/// its pools.
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) identity: SpiffeId,
    pub(crate) revision: Revision,
    /// Its first 12 digits.
    pub(crate) revision_short: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) environment: ServiceEnvironment,
    pub(crate) cache: Arc<Cache>,
    pub(crate) log_rate: Arc<LineRate>,
    pub(crate) telemetry: Telemetry,
    pub(crate) metrics: Arc<ServiceMetrics>,
    pub(crate) share: Share,
    pub(crate) background: Background,
}

impl Service {
    /// The same service as instances of another pool see it.
    pub(crate) fn pool(&self, limits: Limits, share: Share) -> Self {
        Self {
            name: self.name.clone(),
            identity: self.identity.clone(),
            revision: self.revision,
            revision_short: Arc::clone(&self.revision_short),
            limits,
            environment: self.environment.clone(),
            cache: Arc::clone(&self.cache),
            log_rate: Arc::clone(&self.log_rate),
            telemetry: self.telemetry.clone(),
            metrics: Arc::clone(&self.metrics),
            share,
            background: self.background.clone(),
        }
    }

    /// A call's work, which moves to the background when it computes for long, or begins there.
    pub(crate) fn movable<T, F>(&self, work: F) -> Movable<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.background.movable(work, self.share.begins_behind())
    }
}

impl fmt::Debug for ServiceEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the configuration may be the operator's own.
        f.debug_struct("ServiceEnvironment")
            .field("config", &self.config.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VaultGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultGrant").field("names", &self.names).finish_non_exhaustive()
    }
}
