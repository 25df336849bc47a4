//! What a service says of itself, and the one file that carries it.
//!
//! - [`Manifest`] is `service.toml`: typed, checked as a whole, every fault with its line, column
//!   and remedy ([`ManifestError`]). A [`Manifest`] that exists is valid.
//! - [`Grants`] are the interfaces a component may import because of its manifest;
//!   [`Manifest::more_than`] is what a reviewer must allow before a deploy.
//! - [`Artifact`] is a component file with manifest, [`Migration`]s, OpenAPI, event schemas and
//!   configuration schema in custom sections, so that one digest covers all of it.
//! - [`package()`] makes an artifact of a component folder.
//!
//! Nothing here runs a component, opens a connection or reads the clock.
//!
//! ```
//! use airhost_manifest::Manifest;
//!
//! let text = r#"
//! name = "quote-service"
//! team = "examples"
//! description = "Answers with a quote."
//! port = 8090
//! contract = "0.1"
//! [limits]
//! memry = "64MiB"
//! "#;
//! let error = Manifest::parse("service.toml", text).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "service.toml:8:1: unknown key `memry` in [limits]; did you mean `memory`?"
//! );
//! ```

mod artifact;
mod config;
mod cron;
mod decode;
mod duration;
mod error;
mod grants;
mod host_pattern;
mod manifest;
mod migration;
mod names;
mod package;
mod review;
mod size;
mod suggest;

pub use artifact::{
    Artifact, ArtifactError, Build, Contents, Finding, Import, InterfaceName, MAX_FILE,
};
pub use config::{Config, ConfigError};
pub use cron::{Cron, CronError};
pub use error::{ManifestError, Problem};
pub use grants::Grants;
pub use host_pattern::{HostPattern, HostPatternError};
pub use manifest::{
    CONTRACT, ContractVersion, Delivery, Egress, Events, Injection, Instances, Job, Language,
    Limits, Manifest, Pace, PaceKey, Pool, Privileges, Retention, Schedule, Scheme, Secrets, Slo,
    Stores, Subscription,
};
pub use migration::{Migration, MigrationError, MigrationKind};
pub use names::{DatabaseName, InvalidName, SecretPattern, Topic};
pub use package::{PackageError, package};
pub use review::NewGrant;
pub use size::{ByteSize, ByteSizeError};
