//! Calls to services.
//!
//! ```text
//! route ─ fault ─ header changes ─ destination, once ─ time-out {
//!     try { endpoint ─ limits ─ per-try time-out ─ the service's door ─ instance } again?
//! } ─ copies for mirrors beside
//! ```
//!
//! The order is that of Istio's sidecars, and the caller's deadline bounds all of it. A call that
//! no policy routes goes the same way without the detours.

mod held;
mod route;
mod tries;

use std::{sync::Arc, time::Duration};

use airhost_core::{Call, Caller, Dispatch, Response, Result, ServiceName, Target, codes};
use airhost_policy::traffic::{Fault, RetryPolicy, Routed};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::header;

use super::{
    decisions::Decisions,
    destinations::{Destination, DestinationStatus},
    edges::Edges,
    grants::InsideGrant,
    table::{NodeFacts, ServicePlan, Table},
};
use crate::{
    deadline::within_deadline,
    destination::{Faults, Mirrors, fault},
    inbound::{self, Arrival, Passed},
    recording::Recording,
    trail::Trail,
};

/// Longest time for the copy of a call that is mirrored.
const MIRRORED: Duration = Duration::from_secs(30);

/// What calls to services share.
pub(crate) struct Inside {
    /// The services of this node.
    local: Arc<dyn Dispatch>,
    pub(crate) node: NodeFacts,
    pub(crate) table: ArcSwap<Table>,
    pub(crate) faults: Faults,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) decisions: Decisions,
    /// Of the services in the table.
    pub(crate) edges: ArcSwap<Edges>,
}

/// One call on its way to a service, and what is known of that service.
struct Way<'a> {
    inside: &'a Arc<Inside>,
    table: &'a Arc<Table>,
    service: &'a ServiceName,
    plan: &'a ServicePlan,
    grant: Option<&'a InsideGrant>,
    /// Where it is told what becomes of the call, if anybody wants to know.
    trail: Option<&'a Trail>,
}

impl Inside {
    pub(crate) fn new(
        local: Arc<dyn Dispatch>,
        node: NodeFacts,
        table: Table,
        edges: Edges,
    ) -> Self {
        Self {
            local,
            node,
            table: ArcSwap::from_pointee(table),
            faults: Faults::new(),
            mirrors: Mirrors::new(MIRRORED),
            decisions: Decisions::default(),
            edges: ArcSwap::from_pointee(edges),
        }
    }

    /// The destinations that are services, each with its subsets that were called.
    pub(crate) fn destinations(&self) -> Vec<DestinationStatus> {
        let table = self.table.load();
        let plans = table.services();
        plans.iter().flat_map(|(_, plan)| plan.destinations.status()).collect()
    }

    /// Calls a service, as the caller's side of the mesh.
    pub(crate) async fn call(
        self: &Arc<Self>,
        call: Call,
        service: &ServiceName,
        grant: Option<&InsideGrant>,
        trail: Option<&Trail>,
    ) -> Result<Response> {
        let table = self.table.load_full();
        let plan = table.plan(service, &self.node);
        let way = Way { inside: self, table: &table, service, plan: &plan, grant, trail };
        // What came in at a port of this node is where it wanted to go: its caller has routed it.
        if call.context.caller == Caller::Public {
            if let Some(trail) = trail {
                trail.to(&plan.inbound_cluster, &plan.inbound_host);
            }
            return way.enter(None, call).await;
        }
        match way.route(&call) {
            Routed::Default => {
                let destination = plan.destinations.whole();
                let policy = destination.policy();
                let retries = &policy.default_retries;
                let fault = self.faults.of(service.as_str());
                if fault.is_none() && !is_retried_inside(retries, &call) {
                    return way.only_try(destination, call).await;
                }
                Box::pin(way.detour(call, destination, retries, fault.as_deref())).await
            }
            Routed::NoMatch(resource) => Err(codes::REQUEST_NO_ROUTE
                .error(format!("the VirtualService {resource} has no route for this call"))),
            Routed::Route(route, matched) => {
                if let Some(trail) = trail {
                    trail.route(&route.full_name(matched));
                }
                Box::pin(way.follow(call, &route, matched)).await
            }
        }
    }
}

/// Whether a call in process could be tried again at all: whether those failures that the policy
/// names happen there too. A connection to this very process is never refused.
fn is_retried_inside(retries: &RetryPolicy, call: &Call) -> bool {
    let on = &retries.on;
    let is_grpc = || {
        let kind = call.request.headers().get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    };
    retries.attempts > 0
        && (on.server_error
            || on.gateway_error
            || on.reset
            || on.reset_before_request
            || on.retriable_4xx
            || on.rate_limited
            || !on.statuses.is_empty()
            || (!on.grpc.is_empty() && is_grpc()))
}

impl Way<'_> {
    /// A call without a route that is delayed, aborted or may be tried again.
    async fn detour(
        &self,
        call: Call,
        destination: &Destination,
        retries: &RetryPolicy,
        fault: Option<&Fault>,
    ) -> Result<Response> {
        if let Some(fault) = fault {
            let deadline = call.context.deadline;
            let injected = fault::inject(fault, deadline, route::of_a_million).await?;
            if let Some(answer) = injected.abort {
                return Ok(answer);
            }
        }
        self.tries(call, destination, retries).await
    }

    /// Enters a pool of this node, through the service's door.
    async fn enter(&self, pool: Option<&Arc<str>>, mut call: Call) -> Result<Response> {
        let recording = match self.grant {
            Some(grant) => Some(Recording::begin(&grant.destination, &mut call.request)),
            None => {
                let edge = self.inside.edges.load().arrival(&call.context.caller, self.service);
                edge.map(|edge| Recording::begin(&edge, &mut call.request))
            }
        };
        let door = self.plan.door(pool.map(|pool| &**pool));
        let arrival = Arrival {
            service: self.service.as_str(),
            port: self.plan.port,
            mode: self.table.policies.mesh().path_normalization,
        };
        let passed = inbound::pass(door, arrival, &mut call, |decision, caller| {
            self.inside.decisions.note(self.service, caller, door, decision);
        });
        let result = match passed {
            Err(error) => Err(error),
            Ok(Passed::Answered(response)) => Ok(*response),
            Ok(Passed::In) => {
                call.pool = pool.cloned();
                // The runtime keeps deadlines; at the edge the host makes sure of it.
                if call.context.depth == 0 {
                    within_deadline(&*self.inside.local, call).await
                } else {
                    self.inside.local.dispatch(call).await
                }
            }
        };
        match recording {
            Some(recording) => recording.end(result, None),
            None => result,
        }
    }
}

/// Where copies of calls go: straight to the pool that was chosen for them.
struct Copies(Arc<Inside>);

#[async_trait]
impl Dispatch for Copies {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        let Target::Service(service) = &call.target else {
            return Err(codes::CALL_UNKNOWN_HOST.error("copies go to services"));
        };
        let (service, pool) = (service.clone(), call.pool.clone());
        let table = self.0.table.load_full();
        let plan = table.plan(&service, &self.0.node);
        let way = Way {
            inside: &self.0,
            table: &table,
            service: &service,
            plan: &plan,
            grant: None,
            trail: None,
        };
        way.enter(pool.as_ref(), call).await
    }
}
