//! What policies set, with defaults filled in: the data plane acts on these and on nothing else.

use std::{collections::BTreeSet, time::Duration};

use http::{HeaderName, StatusCode};

/// A share of requests, exact to a ten-thousandth of a percent (Envoy: `FractionalPercent` per
/// million).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proportion {
    /// Of a million.
    pub per_million: u32,
}

impl Proportion {
    /// All.
    pub const ALL: Self = Self { per_million: 1_000_000 };

    /// Whether a request is among them; `roll` is a random number below a million.
    #[must_use]
    pub fn includes(self, roll: u32) -> bool {
        roll < self.per_million
    }
}

/// `VirtualService.http[].retries`, or Istio's default of two attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first one; 0 switches retries off.
    pub attempts: u32,
    /// What is tried again.
    pub on: RetryOn,
    /// Limit of each try until the head of its answer; none but the call's own when absent.
    pub per_try_timeout: Option<Duration>,
    /// The base B of the wait before try N: uniform in `[0, (2^N - 1) * B)`, at most 10 B. 25 ms.
    pub back_off: Duration,
    /// Whether endpoints that were tried are avoided.
    pub ignore_previous: bool,
    /// Whether endpoints of other localities are tried.
    pub remote_localities: bool,
}

impl Default for RetryPolicy {
    /// Istio's, for routes that say nothing and for hosts without a `VirtualService`.
    fn default() -> Self {
        Self {
            attempts: 2,
            on: RetryOn {
                connect_failure: true,
                refused_stream: true,
                grpc: BTreeSet::from([GRPC_CANCELLED, GRPC_UNAVAILABLE]),
                ..RetryOn::default()
            },
            per_try_timeout: None,
            back_off: Duration::from_millis(25),
            ignore_previous: true,
            remote_localities: false,
        }
    }
}

/// gRPC's `CANCELLED`.
pub(crate) const GRPC_CANCELLED: u8 = 1;
/// gRPC's `UNAVAILABLE`.
pub(crate) const GRPC_UNAVAILABLE: u8 = 14;

/// `retryOn`, taken apart (Envoy: `x-envoy-retry-on`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// Any 5xx, or no answer.
    pub server_error: bool,
    /// 502, 503 and 504, or no answer.
    pub gateway_error: bool,
    /// No answer at all.
    pub reset: bool,
    /// No answer, and nothing of the request was sent.
    pub reset_before_request: bool,
    /// The connection could not be made.
    pub connect_failure: bool,
    /// HTTP/2 `REFUSED_STREAM`.
    pub refused_stream: bool,
    /// 409.
    pub retriable_4xx: bool,
    /// An answer that carries `x-envoy-ratelimited`, which is never tried again otherwise.
    pub rate_limited: bool,
    /// Statuses that the policy lists.
    pub statuses: BTreeSet<StatusCode>,
    /// Codes of `grpc-status` in the head of an answer.
    pub grpc: BTreeSet<u8>,
}

/// `fault`: made before the call is, and never retried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How many wait, and how long.
    pub delay: Option<(Proportion, Duration)>,
    /// How many are answered at once, and with what; rolled after the delay.
    pub abort: Option<(Proportion, Abort)>,
}

/// What an injected abort answers, with the body `fault filter abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// That status.
    Http(StatusCode),
    /// 200 with this `grpc-status`.
    Grpc(u8),
}

/// `trafficPolicy.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoadBalancer {
    /// The less busy of two that are drawn.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The address that the caller named.
    Passthrough,
    /// The same endpoint for the same key.
    ConsistentHash(ConsistentHash),
}

/// `loadBalancer.consistentHash`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistentHash {
    /// What is hashed.
    pub key: HashKey,
    /// `ringHash.minimumRingSize`: points on the ring, at least. 1024.
    pub minimum_ring_size: u32,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// A header field's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
    /// The client's address.
    SourceIp,
    /// A query parameter's value.
    QueryParameter(String),
}

/// `trafficPolicy.connectionPool`: limits of one node towards one destination, subset and port. A
/// limit that is absent, or 0 in the policy, does not exist (Istio: 2^32 - 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// `tcp.maxConnections`.
    pub connections: Option<u32>,
    /// `tcp.connectTimeout`. 10 s.
    pub connect_timeout: Duration,
    /// `http.idleTimeout`, or `tcp.idleTimeout`; none when switched off. 1 h.
    pub idle_timeout: Option<Duration>,
    /// `tcp.maxConnectionDuration`.
    pub connection_age: Option<Duration>,
    /// `http.http1MaxPendingRequests`: requests that wait, whatever their protocol.
    pub pending: Option<u32>,
    /// `http.http2MaxRequests`: requests under way, whatever their protocol.
    pub requests: Option<u32>,
    /// `http.maxRequestsPerConnection`; 1 switches keep-alive off.
    pub requests_per_connection: Option<u32>,
    /// `http.maxRetries`: retries under way.
    pub retries: Option<u32>,
    /// `http.maxConcurrentStreams` of one HTTP/2 connection.
    pub streams: Option<u32>,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            connections: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(3600)),
            connection_age: None,
            pending: None,
            requests: None,
            requests_per_connection: None,
            retries: None,
            streams: None,
        }
    }
}

/// `trafficPolicy.outlierDetection`: an endpoint that fails again and again is left out for a
/// while. Counted by each node for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// `consecutive5xxErrors`; none when 0. 5.
    pub server_errors: Option<u32>,
    /// `consecutiveGatewayErrors`: 502, 503, 504 and what never was answered.
    pub gateway_errors: Option<u32>,
    /// `consecutiveLocalOriginFailures`, when `splitExternalLocalOriginErrors` is on: connections
    /// that could not be made and time-outs, which then do not count among the others. 5.
    pub local_failures: Option<u32>,
    /// `splitExternalLocalOriginErrors`.
    pub split: bool,
    /// `interval` of the sweeps that let endpoints return. 10 s.
    pub interval: Duration,
    /// `baseEjectionTime`, times the number of ejections. 30 s.
    pub base_ejection: Duration,
    /// Envoy's `max_ejection_time`: the larger of 300 s and `base_ejection`.
    pub longest_ejection: Duration,
    /// `maxEjectionPercent`. 10.
    pub most_ejected_percent: u32,
    /// `minHealthPercent`: with fewer healthy ones, ejections are not heeded. 0, which is off.
    pub least_healthy_percent: u32,
    /// `outlierDetectionHttpErrorCodes`: what counts in the place of 5xx, when not empty.
    pub error_codes: BTreeSet<StatusCode>,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            server_errors: Some(5),
            gateway_errors: None,
            local_failures: None,
            split: false,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            longest_ejection: Duration::from_secs(300),
            most_ejected_percent: 10,
            least_healthy_percent: 0,
            error_codes: BTreeSet::new(),
        }
    }
}

/// `trafficPolicy.retryBudget`, which takes the place of `maxRetries`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Retries at once, in percent of the requests under way and pending. 20.
    pub percent: f64,
    /// So many are always allowed. 3.
    pub least: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, least: 3 }
    }
}

/// `CircuitBreaker` (`airhost.dev/v1`): after failures in a row calls are refused at once for a
/// while, then some are let through to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreakerSettings {
    /// `failureThreshold`. 5.
    pub threshold: u32,
    /// `recoveryTimeout`. 30 s.
    pub recovery: Duration,
    /// `halfOpenRequests`. 1.
    pub trials: u32,
    /// `failures`.
    pub failures: Failures,
}

/// What a breaker counts as a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// No connection, or it was lost before the answer.
    pub connect: bool,
    /// No answer in time.
    pub timeout: bool,
    /// Any 5xx.
    pub server_error: bool,
    /// These statuses.
    pub statuses: BTreeSet<StatusCode>,
}

impl Default for CircuitBreakerSettings {
    fn default() -> Self {
        Self {
            threshold: 5,
            recovery: Duration::from_secs(30),
            trials: 1,
            failures: Failures {
                connect: true,
                timeout: true,
                server_error: true,
                statuses: BTreeSet::new(),
            },
        }
    }
}
