//! The host, in memory, for native tests: handlers run with plain `cargo test` in milliseconds,
//! against a real SQLite with the service's own migrations.
//!
//! ```no_run
//! # use sdk::testing::Host;
//! # static SERVICE: sdk::Service = sdk::Service::new("s", "1", "d");
//! let host = Host::new(&SERVICE).with_migrations("migrations");
//! let made = host
//!     .as_user("u1", "t1")
//!     .post("/api/v1/items")
//!     .json(&serde_json::json!({"name": "a"}))
//!     .send();
//! assert_eq!(made.status(), 201);
//! assert_eq!(host.published("item.created").len(), 1);
//! ```
//!
//! One host lives on a thread at a time, which is what `cargo test` gives to each test.

mod client;
mod grants;
mod host;
pub(crate) mod imports;
mod limits;
mod migrate;
mod state;

pub use client::{TestClient, TestRequest, TestResponse};
pub use host::Host;
pub use state::{FakeRequest, LogLine, Published, QueuedJob, SentMail};
