//! Configuration.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::ClockSource;

/// Where the users, tokens and bases come from.
#[derive(Debug, Clone, Default)]
pub enum World {
    /// The demo base that the crate carries.
    #[default]
    Demo,
    /// A file in the format that the crate's README describes.
    File(PathBuf),
    /// The text of such a file.
    Text(String),
}

/// A bearer token that is accepted.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The secret.
    pub token: String,
    /// Id of the user it acts for; none means the world's first user.
    pub user: Option<String>,
    /// Scopes, such as `data.records:read`; none means all.
    pub scopes: Option<Vec<String>>,
    /// Ids of the bases granted; none means all.
    pub bases: Option<HashSet<String>>,
}

/// How many requests are answered before refusals begin.
#[derive(Debug, Clone)]
pub struct LimitConfig {
    /// Requests a second for one base; none is no limit.
    pub per_base: Option<u32>,
    /// Requests a second for one token over all bases; none is no limit.
    pub per_token: Option<u32>,
    /// How long everything is refused once a limit was passed.
    pub pause: Duration,
    /// Whether refusals carry `Retry-After`.
    pub retry_after: bool,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            per_base: Some(5),
            per_token: Some(50),
            pause: Duration::from_secs(30),
            retry_after: false,
        }
    }
}

impl LimitConfig {
    /// No limits.
    pub fn off() -> Self {
        Self { per_base: None, per_token: None, ..Self::default() }
    }
}

/// How webhook notifications are delivered.
#[derive(Debug, Clone)]
pub struct NotifyConfig {
    /// Deliveries tried before notifications are switched off.
    pub attempts: u32,
    /// Wait before the second try; it doubles with every further one.
    pub first_delay: Duration,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// PEM file of authorities that `https` subscribers are trusted by, beside the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_secs(1),
            timeout: Duration::from_secs(25),
            ca_file: None,
        }
    }
}

/// Bounds on what one client may take.
#[derive(Debug, Clone)]
pub struct GuardConfig {
    /// Largest request body in bytes. An attachment of 5 MB in base64 must fit.
    pub body_bytes: usize,
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// Connections open at a time.
    pub connections: usize,
    /// Longest life of one connection.
    pub connection_life: Duration,
    /// How long shutdown waits for requests under way.
    pub drain: Duration,
    /// Requests kept for readback.
    pub log_entries: usize,
    /// How long an `offset` stays valid.
    pub iterator_life: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            connections: 1024,
            connection_life: Duration::from_secs(600),
            drain: Duration::from_secs(5),
            log_entries: 10_000,
            iterator_life: Duration::from_secs(300),
        }
    }
}

/// Everything that [`Sim::start`](crate::Sim::start) needs.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Address to serve; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The data to start with.
    pub world: World,
    /// File that keeps the data over restarts. When it exists, the data is read from it instead of
    /// `world`; none keeps the data in memory only.
    pub data: Option<PathBuf>,
    /// Tokens accepted beside those of the world.
    pub tokens: Vec<TokenConfig>,
    /// Rate limits.
    pub limits: LimitConfig,
    /// Base of attachment URLs; none means the address served.
    pub public_url: Option<String>,
    /// Whether the control API under `/_sim/` answers.
    pub control: bool,
    /// Seed of ids and secrets; none draws one.
    pub seed: Option<u64>,
    /// Time of records and formulas.
    pub clock: ClockSource,
    /// Delivery of webhook notifications.
    pub notify: NotifyConfig,
    /// Bounds.
    pub guard: GuardConfig,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            world: World::Demo,
            data: None,
            tokens: Vec::new(),
            limits: LimitConfig::default(),
            public_url: None,
            control: false,
            seed: None,
            clock: ClockSource::System,
            notify: NotifyConfig::default(),
            guard: GuardConfig::default(),
        }
    }
}
