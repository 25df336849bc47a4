//! The data plane: what takes requests in, routes them, and takes calls out.
//!
//! - [`Listener`]: a port. It turns what comes over the wire into a [`Call`](airhost_core::Call)
//!   with everything the host knows about it, hands it to a [`Dispatch`](airhost_core::Dispatch)
//!   and moves the answer back, with back-pressure both ways and no patience with slow clients.
//! - [`Surface`]: the shape in which the host's own errors are answered (`/v0` Airtable, `/v1`
//!   OpenAI, `/mcp` JSON-RPC, problem+json elsewhere).
//!
//! Invariants: no header of a client sets identity, tenant, principal or deadline; a body is never
//! read ahead of its receiver, but for small ones within a bounded budget; every wait has a limit.

mod deadline;
pub mod destination;
mod flags;
mod gateway;
mod headers;
mod inbound;
mod listener;
mod outbound;
mod outcome;
mod recording;
mod service_routes;
mod surface;
mod trail;
mod upgrade;

pub use flags::response_flag;
pub use gateway::{Auth, Gateway, GatewayError, Route, RouteTable};
pub use listener::{Drained, Listener, ListenerConfig, MinRate, PortSettings};
pub use outbound::{
    BreakerKey, DecisionCount, DecisionKind, Deployed, DestinationStatus, InjectSecrets, Mesh,
    NodeFacts, OutboundConfig, Roots, RootsError, breaker,
};
pub use outcome::Outcome;
pub use service_routes::{HostPaths, Report, ServiceFacts, ServiceRoutes};
pub use surface::Surface;
pub use upgrade::UpgradeRequest;
