//! Revisions and how one replaces another: the deploy pipeline, the folder that remembers which
//! revision serves, and the admin API with its client.

pub mod api;
mod client;
mod deploy;
mod revisions;
mod server;

pub use client::{Access, Client, ClientError};
pub use deploy::{Deployer, Draining, Platform};
pub use revisions::{Revisions, RevisionsError, Stored};
pub use server::{Admin, serve};
