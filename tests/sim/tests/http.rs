//! The simulator over HTTP.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "http/comments.rs"]
mod comments;
#[path = "http/faults.rs"]
mod faults;
#[path = "http/meta.rs"]
mod meta;
#[path = "http/persistence.rs"]
mod persistence;
#[path = "http/records.rs"]
mod records;
#[path = "http/server.rs"]
mod server;
#[path = "http/support.rs"]
mod support;
#[path = "http/types.rs"]
mod types;
#[path = "http/webhooks.rs"]
mod webhooks;
