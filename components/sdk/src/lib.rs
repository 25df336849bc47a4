#![doc = include_str!("../README.md")]
#![cfg_attr(
    target_arch = "wasm32",
    allow(unused_qualifications, reason = "in a component `imports` are the bindings themselves")
)]

extern crate self as sdk;

pub mod blob;
pub mod cache;
pub mod columnar;
pub mod config;
pub mod context;
pub mod crypto;
pub mod events;
pub mod http;
pub mod jobs;
pub mod kv;
pub mod live;
pub mod log;
pub mod mail;
pub mod openapi;
pub mod random;
pub mod saga;
pub mod schema;
pub mod search;
pub mod secrets;
pub mod sql;
pub mod subject;
pub mod timeseries;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;

mod error;
mod id;
mod imports;
mod service;
mod text;
mod time;

pub use context::{Principal, Tenant};
pub use error::{Error, ErrorClass, Result, Violation};
pub use id::{InvalidUuid, Uuid};
pub use schema::Schema;
pub use service::{Lifecycle, Service};
pub use sql::{Row, Text};
pub use time::{InvalidTimestamp, Timestamp};
