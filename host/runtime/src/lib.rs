//! Runs components.

mod admission;
mod bindings;
mod compile_cache;
mod compiler;
mod config;
mod cpu;
mod deployment;
mod engine;
mod error;
mod exports;
mod generation;
mod glue;
mod instance;
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
mod wasi;

pub use config::{CacheKey, Config, Pool, Reset};
pub use deployment::{Deployment, Instances, Language, Mode};
pub use engine::ResetStrategy;
pub use error::Error;
pub use generation::Loaded;
pub use limits::Limits;
pub use runtime::{Activation, Runtime};
pub use service::ServiceEnvironment;
pub use snapshot::Snapshot;
pub use status::{ServiceStatus, Status};
