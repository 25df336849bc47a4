//! What `service.toml` says, resolved: defaults filled in, pools complete, every rule checked.

mod limits;
mod outside;
mod parse;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, iter,
    path::Path,
    str::FromStr,
};

use airhost_core::ServiceName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Config, DatabaseName, ManifestError, Problem};

pub use limits::Limits;
pub use outside::{Egress, Injection, Pace, PaceKey, Scheme, Secrets};
pub use work::{Delivery, Events, Job, Retention, Schedule, Subscription};

/// The version of the WIT packages that this crate knows the interfaces of.
pub const CONTRACT: ContractVersion = ContractVersion { major: 0, minor: 1 };
/// A manifest is at most so many bytes.
pub(crate) const MAX_TEXT: usize = 256 << 10;
/// The name of the pool that the manifest's own labels and limits make.
const DEFAULT_POOL: &str = "default";

/// The manifest of a service. It exists only if it is valid.
///
/// Its serialised form (TOML through [`Manifest::to_toml`], JSON through serde) is canonical:
/// everything that has a default is written out, so that a revision behaves the same on a host
/// with other defaults. It reads back equal.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The service.
    pub name: ServiceName,
    /// The team that answers for it.
    pub team: String,
    /// One sentence.
    pub description: String,
    /// Its port inside the mesh, 1024 to 65535.
    pub port: u16,
    /// The version of the WIT packages it is built against.
    pub contract: ContractVersion,
    /// What it is written in.
    pub language: Language,
    /// Its stores.
    pub stores: Stores,
    /// Events in and out.
    pub events: Events,
    /// The services it may call.
    pub calls: BTreeSet<ServiceName>,
    /// The hosts outside it may call.
    pub egress: Vec<Egress>,
    /// What it may use of the vault.
    pub secrets: Secrets,
    /// Grants that stand alone.
    pub grants: Privileges,
    /// Its kinds of job.
    pub jobs: BTreeMap<String, Job>,
    /// When it is woken.
    pub ticks: BTreeMap<String, Schedule>,
    /// What it promises.
    pub slo: Slo,
    /// What is deleted when.
    pub retention: Vec<Retention>,
    /// Defaults of its configuration.
    pub config: Config,
    default_pool: Pool,
    more_pools: Vec<Pool>,
}

/// Instances of a service on a node with the same labels and limits, as they apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// Unique in the service; `default` for the one that is always there.
    pub name: String,
    /// How instances live.
    pub instances: Instances,
    /// What routes select it by (subsets of a `DestinationRule`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its limits. Those of the service as a whole are the same in every pool.
    #[serde(serialize_with = "limits::serialize_of_pool")]
    pub limits: Limits,
}

/// What a component is written in: decides default limits, and what `instances = "auto"` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Rust, and what compiles to components as small.
    #[default]
    Rust,
    /// Python: an interpreter in the component.
    Python,
    /// JavaScript: an engine in the component.
    JavaScript,
    /// Anything else.
    Other,
}

/// How instances live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// Fresh where that is cheap on this node, else warm.
    #[default]
    Auto,
    /// A new one for each request.
    Fresh,
    /// Kept and used again, one call at a time.
    Warm,
}

/// The version of the WIT packages, as `0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractVersion {
    /// Changes when something is taken away.
    pub major: u16,
    /// Changes when something is added, or before 1.0 also when something is taken away.
    pub minor: u16,
}

/// The text is not a contract version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a contract version: write two numbers as in `{CONTRACT}`")]
pub struct ContractVersionError(String);

/// The stores of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stores {
    /// Its own database; grants `storage/sql`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<DatabaseName>,
    /// Grants `storage/kv`.
    #[serde(skip_serializing_if = "is_off")]
    pub kv: bool,
    /// Grants `storage/blob`.
    #[serde(skip_serializing_if = "is_off")]
    pub blob: bool,
    /// Grants `storage/search`.
    #[serde(skip_serializing_if = "is_off")]
    pub search: bool,
    /// Grants `storage/timeseries`.
    #[serde(skip_serializing_if = "is_off")]
    pub timeseries: bool,
    /// Grants `storage/columnar`.
    #[serde(skip_serializing_if = "is_off")]
    pub columnar: bool,
}

/// Grants that stand alone, `[grants]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Privileges {
    /// `context/call.assume`: say on whose behalf a call is, with a token as proof.
    #[serde(skip_serializing_if = "is_off")]
    pub principal_assume: bool,
    /// `mail/mailer`.
    #[serde(skip_serializing_if = "is_off")]
    pub mail: bool,
    /// Outgoing `wasi:http`, for components that know nothing of this platform.
    #[serde(skip_serializing_if = "is_off")]
    pub foreign_wasi_http: bool,
}

/// What a service promises; rollouts are judged by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slo {
    /// Share of requests that succeed, in percent, 50 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<f64>,
    /// 95 of 100 requests are answered in this time.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "crate::duration::serialize_option"
    )]
    pub p95: Option<std::time::Duration>,
}

impl Manifest {
    /// Reads a manifest; `file` is its name in messages.
    ///
    /// # Errors
    /// Every fault that can be told at once.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        let problems = if text.len() > MAX_TEXT {
            let message = format!("a manifest is at most {} KiB", MAX_TEXT >> 10);
            vec![Problem { line: 1, column: 1, message }]
        } else {
            match parse::manifest(text) {
                Ok(manifest) => return Ok(manifest),
                Err(problems) => problems,
            }
        };
        Err(ManifestError { file: file.to_owned(), problems })
    }

    /// Reads the manifest at a path.
    ///
    /// # Errors
    /// As [`Manifest::parse`]; a file that cannot be read is a fault at its first line.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| ManifestError {
            file: file.clone(),
            problems: vec![Problem {
                line: 1,
                column: 1,
                message: format!("the file cannot be read: {error}"),
            }],
        })?;
        Self::parse(&file, &text)
    }

    /// The pools, complete: the default one first, then the further ones in the order of the file.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        iter::once(&self.default_pool).chain(&self.more_pools)
    }

    /// The pool that the manifest's own labels, limits and `instances` make.
    #[must_use]
    pub fn default_pool(&self) -> &Pool {
        &self.default_pool
    }

    /// The limits of the default pool, and of the service where a limit is the service's.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.default_pool.limits
    }

    /// The canonical text. It is the same for manifests that mean the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // A manifest has nothing that TOML cannot say: no null, no other keys than texts, and
        // integers of at most 64 bits. Should that break, the empty text does not parse.
        toml::to_string(self).unwrap_or_default()
    }

    /// Whether it may publish on a topic.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.events.out.contains(topic)
    }

    /// The entry that lets it call a host outside.
    #[must_use]
    pub fn egress_to(&self, scheme: Scheme, host: &str, port: u16) -> Option<&Egress> {
        self.egress.iter().find(|egress| egress.allows(scheme, host, port))
    }
}

/// The shape of the file.
#[derive(Serialize)]
struct Document<'m> {
    name: &'m ServiceName,
    team: &'m str,
    description: &'m str,
    port: u16,
    contract: ContractVersion,
    language: Language,
    instances: Instances,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'m BTreeMap<String, String>,
    limits: &'m Limits,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pools: &'m [Pool],
    stores: &'m Stores,
    events: &'m Events,
    #[serde(skip_serializing_if = "Calls::is_empty")]
    calls: Calls<'m>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    egress: &'m [Egress],
    secrets: &'m Secrets,
    grants: &'m Privileges,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    jobs: &'m BTreeMap<String, Job>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ticks: &'m BTreeMap<String, Schedule>,
    slo: &'m Slo,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    retention: &'m [Retention],
    #[serde(skip_serializing_if = "Config::is_empty")]
    config: &'m Config,
}

#[derive(Serialize)]
struct Calls<'m> {
    services: &'m BTreeSet<ServiceName>,
}

impl Calls<'_> {
    fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = Document {
            name: &self.name,
            team: &self.team,
            description: &self.description,
            port: self.port,
            contract: self.contract,
            language: self.language,
            instances: self.default_pool.instances,
            labels: &self.default_pool.labels,
            limits: &self.default_pool.limits,
            pools: &self.more_pools,
            stores: &self.stores,
            events: &self.events,
            calls: Calls { services: &self.calls },
            egress: &self.egress,
            secrets: &self.secrets,
            grants: &self.grants,
            jobs: &self.jobs,
            ticks: &self.ticks,
            slo: &self.slo,
            retention: &self.retention,
            config: &self.config,
        };
        document.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manifest {
    /// From any format, by the same rules as from `service.toml`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let table = toml::Table::deserialize(deserializer)?;
        let text = toml::to_string(&table).map_err(D::Error::custom)?;
        Self::parse("manifest", &text).map_err(D::Error::custom)
    }
}

impl Stores {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ContractVersion {
    /// Whether packages of a version are of this contract.
    #[must_use]
    pub fn includes(self, version: &semver::Version) -> bool {
        version.major == u64::from(self.major) && version.minor == u64::from(self.minor)
    }
}

impl FromStr for ContractVersion {
    type Err = ContractVersionError;

    fn from_str(text: &str) -> Result<Self, ContractVersionError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| digits)
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .ok_or_else(|| ContractVersionError(text.to_owned()))
    }
}

impl fmt::Display for ContractVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for ContractVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// For `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_off(flag: &bool) -> bool {
    !*flag
}
