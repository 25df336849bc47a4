//! The conformance suites: what every engine of a contract must do, run against each.
//!
//! A suite panics with what is wrong. It asks the factory for a fresh, empty store for each of
//! its cases.

#![allow(clippy::expect_used, reason = "a suite fails by panicking")]

mod kv;
mod kv_model;
mod sql;
mod sql_dialect;
mod sql_migrations;
mod sql_transactions;

pub use kv::kv_conformance;
pub use sql::sql_conformance;
