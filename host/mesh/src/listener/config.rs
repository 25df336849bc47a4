use std::{net::SocketAddr, time::Duration};

use airhost_core::ServiceName;
use ipnet::IpNet;

/// What a listener is told once.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The service that its requests are for.
    pub service: ServiceName,
    /// Connections open at once; more wait in the kernel's queue. 10 000.
    pub connections: usize,
    /// Time for the head of an HTTP/1 request, from its first byte (from the connection's start
    /// for the first one). 10 s, kept to within a quarter.
    pub header_timeout: Duration,
    /// A connection without a request is closed after this. 75 s, kept to within a quarter of
    /// `header_timeout`.
    pub idle_timeout: Duration,
    /// What a client must send and take while the host waits for it.
    pub min_rate: MinRate,
    /// Request line and headers together, in bytes. 64 KiB.
    pub head_bytes: usize,
    /// Header fields of a request. 100.
    pub head_fields: usize,
    /// Request target, in bytes. 24 KiB: Airtable's clients send up to 16 000 characters.
    pub uri_bytes: usize,
    /// Streams open at once on one HTTP/2 connection. 256.
    pub streams: u32,
    /// Bytes of small request bodies that may be gathered at once, over all connections. Beyond
    /// it they are streamed instead. 64 MiB.
    pub inline_budget: usize,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Hosts that may stand in an absolute-form target, as a client with `HTTP_PROXY` set sends
    /// it: `content.airtable.com` for pyairtable's attachment upload.
    pub absolute_hosts: Vec<String>,
}

impl ListenerConfig {
    /// The defaults, for a service at an address.
    #[must_use]
    pub fn new(service: ServiceName, address: SocketAddr) -> Self {
        Self {
            address,
            service,
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            min_rate: MinRate::default(),
            head_bytes: 64 << 10,
            head_fields: 100,
            uri_bytes: 24 << 10,
            streams: 256,
            inline_budget: 64 << 20,
            trusted_proxies: Vec::new(),
            absolute_hosts: Vec::new(),
        }
    }
}

/// The least a client must send of a body that is waited for, and take of a response that is
/// there. It does not count while nobody waits: a service that is slow to read or to answer costs
/// the client nothing. Default: 240 bytes a second, with 5 s of patience (Kestrel's figures).
#[derive(Clone, Copy, Debug)]
pub struct MinRate {
    /// Bytes a second; 0 turns the rule off.
    pub bytes_per_second: u64,
    /// How long it may be slower, without a break.
    pub patience: Duration,
}

impl Default for MinRate {
    fn default() -> Self {
        Self { bytes_per_second: 240, patience: Duration::from_secs(5) }
    }
}

/// What the active revision's manifest says about requests; replaced when another revision
/// serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// Time for a request, `limits.wall`. 10 s.
    pub wall: Duration,
    /// Largest request body in bytes, `limits.body`. 10 MiB.
    pub body: u64,
    /// Bodies of known length up to this many bytes are gathered before the service is called,
    /// `limits.inline-body`. 256 KiB.
    pub inline_body: u64,
}

impl Default for PortSettings {
    fn default() -> Self {
        Self { wall: Duration::from_secs(10), body: 10 << 20, inline_body: 256 << 10 }
    }
}
