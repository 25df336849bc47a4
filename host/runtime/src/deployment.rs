//! What is to be loaded.

use std::sync::Arc;

use airhost_core::{Revision, ServiceName};
use airhost_manifest::{self as manifest, Artifact};
use bytes::Bytes;

use crate::{limits::Limits, service::ServiceEnvironment};

/// One revision of a service, with everything that its instances need.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The service.
    pub service: ServiceName,
    /// Its revision: component, manifest and configuration.
    pub revision: Revision,
    /// The component.
    pub component: Bytes,
    /// How instances of its default pool live.
    pub instances: Instances,
    /// What it is written in, which decides `auto`.
    pub language: Language,
    /// What an instance of its default pool may use.
    pub limits: Limits,
    /// Its further pools.
    pub pools: Vec<PoolSettings>,
    /// What stands behind its imports.
    pub environment: ServiceEnvironment,
}

/// Instances of the same service that live and are limited in another way than those of the
/// default pool. Limits of the service as a whole are the default pool's.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Unique in the service.
    pub name: Arc<str>,
    /// How its instances live.
    pub instances: Instances,
    /// What an instance of it may use.
    pub limits: Limits,
}

/// How instances live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// Fresh where that is cheap, warm elsewhere.
    #[default]
    Auto,
    /// A new instance for every call.
    Fresh,
    /// An instance for many calls, one at a time.
    Warm,
}

/// What a component is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Small, starts in microseconds.
    #[default]
    Compiled,
    /// An interpreter with a large heap (Python, JavaScript): a fresh instance is dear.
    Interpreted,
}

/// How instances of a loaded revision live, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Whether each call has an instance of its own.
    pub fresh: bool,
    /// Why, in words for `airhost status`.
    pub reason: &'static str,
}

impl Deployment {
    /// What an artifact says of itself, as its default pool runs it. The configuration is the
    /// manifest's with the operator's values over it; it is what the revision is named after and
    /// what instances read.
    #[must_use]
    pub fn of(
        artifact: &Artifact,
        config: &manifest::Config,
        mut environment: ServiceEnvironment,
    ) -> Self {
        let service = artifact.manifest();
        let pool = service.default_pool();
        environment.config =
            Arc::new(config.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect());
        Self {
            service: service.name.clone(),
            revision: artifact.revision(config),
            component: artifact.bytes().clone(),
            instances: pool.instances.into(),
            // What nobody knows is taken for the larger kind.
            language: match service.language {
                manifest::Language::Python
                | manifest::Language::JavaScript
                | manifest::Language::Other => Language::Interpreted,
                manifest::Language::Rust => Language::Compiled,
            },
            limits: Limits::from(&pool.limits),
            pools: service
                .pools()
                .skip(1)
                .map(|pool| PoolSettings {
                    name: pool.name.as_str().into(),
                    instances: pool.instances.into(),
                    limits: Limits::from(&pool.limits),
                })
                .collect(),
            environment,
        }
    }
}

impl From<manifest::Instances> for Instances {
    fn from(instances: manifest::Instances) -> Self {
        match instances {
            manifest::Instances::Auto => Self::Auto,
            manifest::Instances::Fresh => Self::Fresh,
            manifest::Instances::Warm => Self::Warm,
        }
    }
}

impl Mode {
    pub(crate) fn decide(instances: Instances, language: Language, pagemap_scan: bool) -> Self {
        let (fresh, reason) = match (instances, language) {
            (Instances::Fresh, _) => (true, "the manifest asks for fresh instances"),
            (Instances::Warm, _) => (false, "the manifest asks for warm instances"),
            (Instances::Auto, Language::Interpreted) => {
                (false, "an interpreter takes long to start")
            }
            (Instances::Auto, Language::Compiled) if pagemap_scan => {
                (true, "this node resets instances cheaply")
            }
            (Instances::Auto, Language::Compiled) => {
                (false, "this node cannot reset instances cheaply")
            }
        };
        Self { fresh, reason }
    }
}
