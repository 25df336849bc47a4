//! The resources as they are written, every field with what it may hold. A field that Istio has
//! and the host does not refuses the resource with the reason.

mod destination_rule;
mod duration;
mod outside;
mod refused;
mod service_entry;
mod text;
mod virtual_service;

pub(crate) use destination_rule::{
    ConnectionPool, ConsistentHash, DestinationRule, LoadBalancer, LocalitySettings,
    OutlierDetection, RetryBudget, Simple, TlsMode, TlsSettings, TrafficPolicy,
};
pub(crate) use duration::Span;
pub(crate) use outside::{CircuitBreaker, EgressLimit};
pub(crate) use service_entry::{Endpoint, Location, Resolution, ServiceEntry};
pub(crate) use text::StringMatch;
pub(crate) use virtual_service::{
    Abort, CorsPolicy, Delay, DerivePort, Destination, DirectResponse, Fault, HeaderChanges,
    HeaderOperations, HttpRoute, MatchRequest, Percent, Redirect, Retry, Rewrite,
    UnmatchedPreflights, VirtualService,
};
