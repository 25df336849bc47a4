//! The shared words of the host.
//!
//! Every other crate leans on this one and it leans on none of them. It has the types that travel
//! with a call ([`Call`], [`CallContext`], [`Principal`], [`Deadline`]), the one trait between the
//! mesh and the runtime ([`Dispatch`]), and the catalogue of error codes ([`codes`]).

mod backoff;
mod body;
mod call;
mod clock;
pub mod codes;
mod deadline;
mod dispatch;
mod durable;
mod error;
mod identity;
mod name;
mod principal;
mod problem;
mod revision;
mod trace;

pub use backoff::Backoff;
pub use body::{Body, BodyError, Reader as BodyReader};
pub use call::{Call, CallContext, Caller, Priority, RouteMatch, Target};
pub use clock::Clock;
pub use deadline::Deadline;
pub use dispatch::Dispatch;
pub use durable::{make_private_folder, write_private_file};
pub use error::{Error, ErrorClass, Result};
pub use identity::{SpiffeError, SpiffeId, TrustDomain};
pub use name::{NameError, ServiceName};
pub use principal::{Principal, Tenant};
pub use problem::{GuestFailure, problem_response};
pub use revision::{Revision, RevisionError};
pub use trace::{CorrelationId, Propagated, TraceContext};

/// A request that is addressed to a service or a host.
pub type Request = http::Request<Body>;
/// A response of a service or a host.
pub type Response = http::Response<Body>;
