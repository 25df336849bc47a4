//! A destination of calls: a service or a host, a subset of it, a port. This is the machinery of
//! how calls to it are made, without any I/O:
//!
//! ```text
//! call ─ fault ─ limits ─ pick of an endpoint ─ breaker ─ try ─┬─ answer
//!          ▲       ▲           ▲        ▲                      │
//!        Faults  Limits   EndpointSet   └── report ◀───────────┤
//!                                                   again? ◀───┘ Replay
//! ```
//!
//! - [`EndpointSet`]: who can be called, who of them is healthy, and whose turn it is.
//! - [`Limits`]: how many may be called at once, who waits, and how many retries there may be.
//! - [`Replay`]: a request's body that can be sent again.
//! - [`fault`]: delays and errors that are injected; [`Faults`]: those set by hand, for a while.
//! - [`Mirrors`]: copies of requests that go elsewhere, whose answers nobody reads.
//!
//! State is that of one node and is kept per destination, subset and port, as Envoy keeps it per
//! cluster. Time is tokio's, randomness is an argument.

mod balance;
mod endpoint;
pub mod fault;
mod limits;
mod mirror;
mod outlier;
mod replay;
mod set;

pub use self::{
    balance::{Balancing, Preference, Tried, hash_key},
    endpoint::{Address, Endpoint, EndpointSpec, Locality, Picked},
    fault::{Faults, ManualFault, TooManyFaults},
    limits::{Limits, LimitsStatus, Permit, Refused, RetryPermit, Transport},
    mirror::{MirrorCounts, Mirrors, copy_of},
    outlier::{Cause, EjectionCounts, TryResult},
    replay::Replay,
    set::{EndpointEvent, EndpointSet, EndpointStatus, Observe, SetStatus},
};
