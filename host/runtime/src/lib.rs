//! Runs components.

mod admission;
mod bindings;
mod compile_cache;
mod compiler;
mod config;
mod cpu;
mod engine;
mod error;
mod exports;
mod glue;
mod limits;
mod linker;
mod log;
mod service;
mod state;
mod wasi;

pub use config::{CacheKey, Config, Pool, Reset};
pub use engine::ResetStrategy;
pub use error::Error;
pub use limits::Limits;
pub use service::ServiceEnvironment;
