//! Assembles one node from its configuration: the only crate that names concrete engines.
//!
//! [`Node::start`] opens the state folder, the engines, the services that served before and the
//! listeners, in that order; [`Node::shutdown`] takes them down the other way round, so that
//! requests in flight find everything they need until they are answered.

mod admin;
mod bootstrap;
pub mod config;
mod engines;
mod facts;
mod levels;
mod listeners;
mod loops;
mod node;
mod observability;
mod offers;
mod platform;
mod reload;
mod revoked;
mod services;
mod state;

pub use bootstrap::{Connection, FirstUser, Ready};
pub use listeners::check_routes;
pub use node::{Node, StartError};
pub use offers::{check_migrations, describe, interfaces};
pub use state::{StateError, check_state};
