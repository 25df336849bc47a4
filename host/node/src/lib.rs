//! Assembles one node.

pub mod config;
mod state;
