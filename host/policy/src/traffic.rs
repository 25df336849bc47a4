//! Where calls go and how they are made: `VirtualService`, `DestinationRule`, `ServiceEntry`, and
//! this project's own `CircuitBreaker` and `EgressLimit`.

mod builder;
mod destination;
mod hosts;
mod outside;
mod retry;
mod review;
mod route;
mod service_entry;
mod settings;
mod spec;
mod text;

use std::sync::Arc;

use airhost_core::ServiceName;

pub(crate) use self::{builder::Builder, spec::Span};
use self::{
    destination::DestinationTable,
    hosts::{Host, HostMap},
    outside::CallerMap,
    review::Visibility,
    route::VirtualService,
    service_entry::Entry,
};
pub use self::{
    destination::{ClientTls, DestinationPolicy, Locality, MissingSubset, ServerTrust},
    outside::{Breaker, EgressLimit, Limit, RequestKey, RequestKeyError},
    retry::Outcome,
    route::{
        Action, CorsPolicy, Destination, DirectResponse, Forward, HeaderChanges, HeaderOperations,
        HttpRoute, Matched, MatchedUri, Mirror, Redirect, Rewrite, RouteQuery, Routed,
    },
    service_entry::{Address, Endpoint, Protocol, Resolution, ServiceEntry, ServicePort},
    settings::{
        Abort, CircuitBreakerSettings, ConsistentHash, Failures, Fault, HashKey, LoadBalancer,
        Outlier, PoolLimits, Proportion, RetryBudget, RetryOn, RetryPolicy,
    },
};

/// The traffic half of the policies, ready for calls. Hosts are given as callers write them, in
/// short or in full; a lookup costs the same however many resources there are, and allocates
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// The namespace of the services.
    services: Arc<str>,
    routes: HostMap<Vec<Arc<VirtualService>>>,
    rules: DestinationTable,
    entries: HostMap<Vec<Entry>>,
    breakers: CallerMap<Arc<Breaker>>,
    limits: CallerMap<Vec<Arc<EgressLimit>>>,
}

impl Traffic {
    /// Which way a call goes: by the `VirtualService` of its most specific host, the first of its
    /// routes that the call matches.
    #[must_use]
    pub fn route(&self, request: &RouteQuery<'_>) -> Routed {
        let client = request.caller.map_or(&*self.services, |caller| &*caller.namespace);
        let Some(host) = self.host(client, request.host) else { return Routed::Default };
        self.routes
            .find(host.as_str(), |services| {
                services.iter().find(|service| service.is_seen_from(client))
            })
            .map_or(Routed::Default, |service| service.route(request))
    }

    /// How a host, or a subset of it, is called from a namespace at a port. Without a rule that is
    /// the default; a subset must be in one.
    pub fn destination(
        &self,
        client: &str,
        host: &str,
        subset: Option<&str>,
        port: u16,
    ) -> Result<Arc<DestinationPolicy>, MissingSubset> {
        let Some(full) = self.host(client, host) else {
            return match subset {
                None => Ok(Arc::default()),
                Some(subset) => {
                    Err(MissingSubset { host: host.to_owned(), subset: subset.to_owned() })
                }
            };
        };
        let full = full.as_str();
        self.rules.get(client, full, self.owner(full), subset, port).map(Arc::clone)
    }

    /// The entry of a port of a host that is not a service of the platform, as its own namespace's
    /// services see it.
    #[must_use]
    pub fn service_entry(&self, host: &str, port: u16) -> Option<&Arc<ServiceEntry>> {
        let host = self.host(&self.services, host)?;
        self.entries.find(host.as_str(), |entries| {
            entries
                .iter()
                .filter(|entry| {
                    entry.visibility == Visibility::Everywhere || entry.namespace == self.services
                })
                .find(|entry| entry.entry.port(port).is_some())
                .map(|entry| &entry.entry)
        })
    }

    /// The breaker for the calls of a service to a host.
    #[must_use]
    pub fn breaker(&self, caller: Option<&ServiceName>, host: &str) -> Option<&Arc<Breaker>> {
        let host = self.host(&self.services, host)?;
        self.breakers.get(host.as_str(), caller)
    }

    /// The limits for the calls of a service to a host; all of them hold.
    #[must_use]
    pub fn egress_limits(&self, caller: Option<&ServiceName>, host: &str) -> &[Arc<EgressLimit>] {
        self.host(&self.services, host)
            .and_then(|host| self.limits.get(host.as_str(), caller))
            .map_or(&[], Vec::as_slice)
    }

    fn host(&self, client: &str, host: &str) -> Option<Host> {
        Host::resolve(host, client, &self.services)
    }

    /// The namespace that a host outside belongs to: that of its `ServiceEntry`.
    fn owner(&self, host: &str) -> Option<&str> {
        self.entries.find(host, |entries| entries.first()).map(|entry| &*entry.namespace)
    }
}
