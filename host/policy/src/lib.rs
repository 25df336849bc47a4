//! The mesh's policies: Istio's own YAML, read, validated as a whole, and compiled into one
//! immutable [`Snapshot`] whose decisions say which rule made them.
//!
//! ```text
//! files ─ documents ─ resources ─ findings? ─▶ Snapshot ─▶ Inbound of a workload: who may enter
//!                                                      └─▶ Traffic: where calls go, and how
//! ```
//!
//! Semantics are those of Istio's sidecars; where a rule has a source it is named beside the code.
//! A field that is unknown or not supported refuses the whole set with file, line and reason:
//! nothing is ever ignored. There is no I/O, no clock and no randomness in this crate.
//!
//! ```
//! use airhost_policy::{MeshConfig, Snapshot, Workload, security::Request};
//!
//! let file = "
//! apiVersion: security.istio.io/v1
//! kind: AuthorizationPolicy
//! metadata: {name: readers}
//! spec:
//!   rules:
//!   - to:
//!     - operation: {methods: [GET]}
//! ";
//! let (snapshot, warnings) =
//!     Snapshot::compile([("policies/readers.yaml", file)], &MeshConfig::default())?;
//! assert!(warnings.is_empty());
//!
//! let workload = Workload {
//!     service: "records-service".parse()?,
//!     namespace: "pyairtable".to_owned(),
//!     labels: [("app".to_owned(), "records-service".to_owned())].into(),
//! };
//! let inbound = snapshot.inbound(&workload);
//! let headers = http::HeaderMap::new();
//! let request = Request { method: "DELETE", ..Request::new("records-service", "/v1/records", &headers) };
//! let decision = inbound.authorization.decide(&request);
//! assert!(!decision.allowed);
//! assert_eq!(
//!     decision.sentence(&inbound.authorization),
//!     "denied: no rule of the ALLOW policies matches: pyairtable/readers (policies/readers.yaml:4)",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod document;
mod finding;
mod mesh;
mod notes;
pub mod path;
mod refused;
mod rule;
pub mod security;
mod selector;
mod snapshot;
mod text;
pub mod traffic;
mod workload;

pub use claims::Claims;
pub use finding::{Finding, Place, PolicyError, Severity};
pub use mesh::{ExtensionProvider, HeaderNames, MeshConfig, PathNormalization};
pub use rule::RuleName;
pub use security::Inbound;
pub use snapshot::{LARGEST_FILE, Snapshot};
pub use workload::Workload;
