//! A simulator of the Airtable Web API.
//!
//! It is a real HTTP server with data: records are stored, validated, filtered, sorted and linked,
//! formulas are evaluated, webhooks are delivered. Unmodified clients are pointed at it by their
//! endpoint option. Rate limits are those of the service; faults are made on demand.
//!
//! ```
//! # async fn demo() -> airhost_sim::Result<()> {
//! use airhost_sim::{LimitConfig, Sim, SimConfig};
//!
//! let config = SimConfig { limits: LimitConfig::off(), ..SimConfig::default() };
//! let sim = Sim::start(config).await?;
//! assert!(sim.url().starts_with("http://127.0.0.1:"));
//! sim.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! The README describes the format of base files, the control API and what is assumed about the
//! service.

mod api;
mod app;
mod cells;
mod cli;
mod clock;
mod config;
mod edit;
mod error;
mod faults;
mod formula;
mod hooks;
mod ids;
mod limits;
mod model;
mod notify;
mod persist;
mod render;
mod reply;
mod select;
mod server;
mod sim;
mod store;
mod world;

pub use cli::{SimArgs, run};
pub use clock::ClockSource;
pub use config::{GuardConfig, LimitConfig, NotifyConfig, SimConfig, TokenConfig, World};
pub use error::{Error, Result};
pub use faults::{Fault, FaultAction, LoggedRequest, Stats};
pub use sim::{Control, Sim};
