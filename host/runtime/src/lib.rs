//! Runs components: loading, linking, instances, limits, and the glue from the contracts in `wit/`
//! to the crates behind them.
//!
//! A [`Deployment`] is loaded ([`Runtime::load`]: compile, snapshot, link, off the serving
//! threads), probed ([`Runtime::probe`]) and activated ([`Runtime::activate`]). From then on the
//! [`Runtime`] answers calls to the service: requests through `core::Dispatch`, events through
//! `events::Deliver`, jobs and ticks through `jobs::RunJob` and `jobs::Tick`. The next activation
//! is a new generation; the old one ends what it is in, and nothing is ever changed in place.
//!
//! What holds, and where it is kept up:
//! - Each call has one instance to itself; a fresh one, or a kept one of the same tenant
//!   (`instance`). A kept one that trapped, grew, aged or kept a handle is not used again.
//! - What a guest does wrong costs its one call: memory (`limits`), CPU time (`cpu`), wall time
//!   (`invoke`), output, headers and log lines are bounded, and every end has a code.
//! - Calls from outside wait in a bounded queue, calls between services never do (`admission`).
//! - A caller that goes away drops the call's future, and with it the store, its transactions and
//!   every call it made.
//! - Compiled code is loaded only if this node wrote it (`compile_cache`, the one place with
//!   `unsafe`).
//! - A guest reaches what its [`ServiceEnvironment`] holds, scoped to service and tenant (`glue`),
//!   and nothing else: WASI is there as empty stand-ins (`wasi`).

mod admission;
mod background;
mod bindings;
mod cache;
mod compile_cache;
mod compiler;
mod config;
mod cpu;
mod deployment;
mod describe;
mod engine;
mod epoch;
mod error;
mod exports;
mod generation;
mod glue;
mod idempotent;
mod instance;
mod interfaces;
mod invoke;
mod limits;
mod linker;
mod log;
mod runtime;
mod serve;
mod service;
mod snapshot;
mod state;
mod status;
mod subject;
mod trace;
mod wasi;
mod wasi_http;
mod work;

pub use cache::CacheBroadcast;
pub use config::{CacheKey, Config, Reservation, Reset};
pub use deployment::{Deployment, Instances, Language, Mode, PoolSettings};
pub use describe::describe;
pub use engine::ResetStrategy;
pub use error::Error;
pub use generation::Loaded;
pub use interfaces::INTERFACES;
pub use limits::Limits;
pub use runtime::{Activation, Runtime};
pub use service::{ServiceEnvironment, VaultGrant, VerifyToken};
pub use snapshot::Snapshot;
pub use status::{PoolStatus, ServiceStatus, Status};
pub use subject::{Erasure, SubjectPart};
