//! What the admin API says, for its server, its client and whoever scripts it.
//!
//! Every path is under `/v1`. Errors are problem documents (RFC 9457). Streams are JSON lines.

use airhost_core::{Revision, ServiceName};
use serde::{Deserialize, Serialize};

/// Options of `POST /v1/deploys`; the body is the artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeployOptions {
    /// Allows what the manifest asks for beyond the active revision's grants.
    pub grant: bool,
    /// Goes through every check and changes nothing.
    pub dry_run: bool,
}

/// A line of the answer to `POST /v1/deploys`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DeployEvent {
    /// A step begins.
    Step {
        /// Which.
        step: DeployStep,
        /// What it is about, for a person.
        detail: String,
    },
    /// The revision serves.
    Deployed {
        /// Its service.
        service: ServiceName,
        /// Its digest.
        revision: Revision,
        /// The revision it replaced, which has drained.
        replaced: Option<Revision>,
        /// From the call until the new revision served, in milliseconds.
        live_after_ms: u64,
        /// From the call until the old revision had drained, in milliseconds.
        drained_after_ms: u64,
    },
    /// Every check passed and nothing was changed.
    Checked {
        /// Its service.
        service: ServiceName,
        /// Its digest.
        revision: Revision,
    },
    /// It was refused; the old revision serves on.
    Refused {
        /// The stable code.
        code: String,
        /// One sentence.
        message: String,
        /// What to do.
        remedy: String,
    },
}

/// The steps of a deploy, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployStep {
    /// Is it a component with a valid manifest, whose imports are known and granted.
    Validate,
    /// Ahead of time, off the serving threads; snapshot of `init`.
    Compile,
    /// Migrations on a scratch copy, then `expand` migrations for real.
    Migrate,
    /// `ready` of a new instance.
    Probe,
    /// New requests go to the new revision.
    Swap,
    /// The old revision finishes what it has.
    Drain,
}

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's name.
    pub node: String,
    /// The host's version.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// How memory of instances is reset, and so whether fresh instances are cheap.
    pub instance_reset: String,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Where it listens, by purpose.
    pub listeners: Vec<(String, String)>,
    /// Its services by name.
    pub services: Vec<ServiceStatus>,
}

/// One service of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// Who owns it.
    pub team: String,
    /// Its port in the mesh.
    pub port: u16,
    /// Whether it answers.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The revision that serves.
    pub revision: Option<Revision>,
    /// Counts swaps since the start.
    pub generation: u64,
    /// `fresh` or `warm`, and why.
    pub instances: String,
    /// Requests being handled.
    pub in_flight: u64,
    /// Requests waiting.
    pub queued: u64,
    /// Requests handled.
    pub requests: u64,
    /// Requests that a fault of the guest ended.
    pub faults: u64,
    /// What it is granted: stores, hosts, topics.
    pub grants: Vec<String>,
}

/// A line of `GET /v1/logs`.
pub type LogLine = serde_json::Map<String, serde_json::Value>;

/// A table: answers of `GET /v1/services/{name}/sql`, `…/kv` and `…/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Column names.
    pub columns: Vec<String>,
    /// Rows of JSON values.
    pub rows: Vec<Vec<serde_json::Value>>,
}
