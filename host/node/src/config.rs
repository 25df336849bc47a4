//! The configuration of a node: a TOML file, every key of which has a default.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use airhost_core::ServiceName;
use serde::{Deserialize, Serialize};

/// All of it. `airhost config show` prints it with the defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// Where it listens.
    pub listeners: Listeners,
    /// Log lines.
    pub log: Log,
    /// Lines of the access log, which do not hang on the levels of the others.
    pub access_log: AccessLog,
    /// Limits of the whole node.
    pub limits: Limits,
    /// Base URLs that stand in for hosts outside, by host: `"api.airtable.com" = "http://127.0.0.1:9000"`.
    pub overrides: BTreeMap<String, String>,
    /// Operator's settings of services, by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Where Airtable is.
    pub airtable: Airtable,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Its name, in logs and metrics.
    pub name: String,
    /// Folder of everything it keeps: databases, events, vault, artifacts. Made with mode 0700.
    pub state: PathBuf,
    /// Folder of the gateway's routes and the other policies.
    pub policies: PathBuf,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// Longest wait for requests in flight at shutdown, in seconds.
    pub drain_seconds: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "local".into(),
            state: ".airhost".into(),
            policies: "policies".into(),
            trust_domain: "cluster.local".into(),
            drain_seconds: 30,
        }
    }
}

/// Where it listens. Port 0 takes a free one; what it became is printed and in the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listeners {
    /// The one door for clients.
    pub gateway: SocketAddr,
    /// The admin API, protected by a token; keep it on loopback.
    pub admin: SocketAddr,
    /// Probes and metrics, in plain HTTP.
    pub observability: SocketAddr,
    /// The address on which every service gets its own port; none opens none.
    pub services: Option<std::net::IpAddr>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<std::net::IpAddr>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            gateway: SocketAddr::from(([127, 0, 0, 1], 8000)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
            observability: SocketAddr::from(([127, 0, 0, 1], 9902)),
            services: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `trace`, `debug`, `info`, `warn`, `error`, or a filter as `info,auth-service=debug`.
    pub level: String,
    /// Where lines go.
    pub output: LogOutput,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), output: LogOutput::File }
    }
}

/// Lines of the access log. They go where the others go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Of requests that come to a listener.
    pub inbound: AccessLines,
    /// Of calls that services make, to one another and outside.
    pub outbound: AccessLines,
    /// The share of the traces whose lines are written, from 0 to 1. Failures are written always.
    pub sample: f64,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { inbound: AccessLines::All, outbound: AccessLines::Off, sample: 1.0 }
    }
}

/// Which lines of the access log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLines {
    /// None.
    Off,
    /// Those with a status of 500 or more, or with a response flag.
    Failures,
    /// All.
    All,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogOutput {
    /// JSON lines on standard output, for containers.
    Json,
    /// Text for a person on standard error.
    Text,
    /// JSON lines in `<state>/airhost.log`; the terminal stays free.
    File,
}

/// Limits of the whole node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Instances at once, over all services.
    pub instances: u32,
    /// Most linear memory of one instance, in MiB.
    pub instance_memory_mib: u64,
    /// The in-memory key-value store, in MiB.
    pub kv_mib: u64,
    /// Connections of clients at once.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { instances: 1000, instance_memory_mib: 512, kv_mib: 256, connections: 10_000 }
    }
}

/// An operator's settings of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// Values that replace the manifest's `[config]`.
    pub config: BTreeMap<String, serde_json::Value>,
}

/// Where Airtable is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Airtable {
    /// Uses the real service at `api.airtable.com`. Otherwise the simulator is started.
    pub live: bool,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key or value is wrong. The message has file, line and column.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads a file. Relative paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse(&path.display().to_string(), &text)?;
        if let Some(folder) = path.parent() {
            config.node.state = folder.join(&config.node.state);
            config.node.policies = folder.join(&config.node.policies);
        }
        Ok(config)
    }

    fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = error.span().map_or((1, 1), |span| position(text, span.start));
            ConfigError::Invalid(format!("{name}:{line}:{column}: {}", error.message()))
        })?;
        config.check().map_err(|message| ConfigError::Invalid(format!("{name}: {message}")))?;
        Ok(config)
    }

    /// What types cannot say.
    pub fn check(&self) -> Result<(), String> {
        if self.node.name.is_empty() || self.node.name.len() > 63 {
            return Err("node.name must have 1 to 63 characters".into());
        }
        crate::levels::Levels::parse(&self.log.level)
            .map_err(|fault| format!("log.level: {fault}"))?;
        if !(0.0..=1.0).contains(&self.access_log.sample) {
            let sample = self.access_log.sample;
            return Err(format!("access_log.sample must be 0 to 1, not {sample}"));
        }
        for (host, base) in &self.overrides {
            let url: url::Url = base
                .parse()
                .map_err(|error| format!("overrides.\"{host}\": `{base}` is not a URL: {error}"))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(format!(
                    "overrides.\"{host}\": `{base}` must begin with http:// or https://"
                ));
            }
        }
        let bounded = [
            ("limits.instances", u64::from(self.limits.instances), 1, 100_000),
            ("limits.instance-memory-mib", self.limits.instance_memory_mib, 1, 4096),
            ("limits.kv-mib", self.limits.kv_mib, 1, 1 << 20),
            ("limits.connections", u64::from(self.limits.connections), 1, 1_000_000),
            ("node.drain-seconds", self.node.drain_seconds, 0, 3600),
        ];
        for (key, value, least, most) in bounded {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "{} must be {least} to {most}, not {value}",
                    key.replace('-', "_")
                ));
            }
        }
        Ok(())
    }

    /// Longest wait for requests in flight at shutdown.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.node.drain_seconds)
    }
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse("airhost.toml", text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn everything_has_a_default_and_round_trips() {
        let config = Config::parse("airhost.toml", "").expect("empty is valid");
        assert_eq!(config, Config::default());
        let text = toml::to_string(&config).expect("it can be written");
        assert_eq!(Config::parse("airhost.toml", &text).expect("and read again"), config);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert!(
            refused("[node]\nnmae = \"x\"").starts_with("airhost.toml:2:1: unknown field `nmae`")
        );
        assert!(
            refused("[limits]\ninstances = 0").contains("limits.instances must be 1 to 100000")
        );
        assert!(refused("[overrides]\n\"a.b\" = \"ftp://x\"").contains("must begin with http"));
        assert!(refused("[access_log]\nsample = 1.5").contains("access_log.sample must be 0 to 1"));
        assert!(refused("[log]\nlevel = \"loud\"").contains("log.level: `loud` is not a level"));
        assert!(refused("[listeners]\ngateway = \"8000\"").starts_with("airhost.toml:2:11"));
    }
}
