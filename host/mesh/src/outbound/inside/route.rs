//! A call that a `VirtualService` routes.

use std::sync::Arc;

use airhost_core::{Body, Call, Dispatch, Response, Result, ServiceName, Target, codes};
use airhost_policy::traffic::{
    Action, Destination as RouteDestination, HttpRoute, Matched, RouteQuery, Routed,
};
use airhost_telemetry::ResponseFlag;
use bytes::Bytes;
use http::{
    HeaderValue, Uri, header,
    uri::{Authority, PathAndQuery},
};

use super::{Copies, Way};
use crate::{
    destination::{Address, Tried, copy_of, fault},
    flags::NO_CLUSTER_ATTR,
    inbound,
    outbound::table::ServicePlan,
    outcome,
};

/// Envoy's word for an answer that the route gives itself.
const DIRECT_RESPONSE: &str = "direct_response";

/// A random number below a million.
pub(super) fn of_a_million() -> u32 {
    rand::random_range(0..1_000_000)
}

impl Way<'_> {
    /// Which way the call goes.
    pub(super) fn route(&self, call: &Call) -> Routed {
        self.table.policies.traffic().route(&self.query(call))
    }

    fn query<'q>(&'q self, call: &'q Call) -> RouteQuery<'q> {
        let request = &call.request;
        let uri = request.uri();
        let caller = call.context.caller.service().and_then(|caller| self.table.caller(caller));
        RouteQuery {
            caller: caller.map(|plan| &plan.workload),
            host: self.service.as_str(),
            port: self.plan.port,
            method: request.method(),
            scheme: uri.scheme_str().unwrap_or("http"),
            authority: inbound::authority(request, self.service.as_str()),
            path: uri.path(),
            query: uri.query(),
            headers: request.headers(),
            claims: None,
        }
    }

    /// Does what the route says.
    pub(super) async fn follow(
        &self,
        call: Call,
        route: &HttpRoute,
        matched: Matched,
    ) -> Result<Response> {
        let headers = call.request.headers();
        if let Some(cors) = &route.cors
            && let Some(headers) = cors.preflight(call.request.method(), headers)
        {
            let mut response = Response::new(Body::Empty);
            *response.headers_mut() = headers;
            outcome::details(&mut response, DIRECT_RESPONSE);
            return Ok(response);
        }
        let origin = headers.get(header::ORIGIN).filter(|_| route.cors.is_some()).cloned();
        let (mut response, chosen) = match &route.action {
            Action::Forward(forward) => {
                let chosen = forward.pick(rand::random());
                (self.forward(call, route, matched, chosen).await?, Some(chosen))
            }
            Action::Redirect(redirect) => {
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = redirect.status;
                let location = HeaderValue::from_str(&redirect.location(&self.query(&call)))
                    .map_err(|_| codes::REQUEST_INVALID.error("the redirect is not a URL"))?;
                response.headers_mut().insert(header::LOCATION, location);
                outcome::details(&mut response, DIRECT_RESPONSE);
                (response, None)
            }
            Action::DirectResponse(direct) => {
                let body = Bytes::copy_from_slice(&direct.body);
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = direct.status;
                let text = HeaderValue::from_static("text/plain");
                response.headers_mut().insert(header::CONTENT_TYPE, text);
                outcome::details(&mut response, DIRECT_RESPONSE);
                (response, None)
            }
        };
        if let Some(chosen) = chosen {
            chosen.headers.response.apply(response.headers_mut());
        }
        route.headers.response.apply(response.headers_mut());
        if let Some(cors) = &route.cors {
            cors.decorate(origin.as_ref(), response.headers_mut());
        }
        Ok(response)
    }

    async fn forward(
        &self,
        mut call: Call,
        route: &HttpRoute,
        matched: Matched,
        chosen: &RouteDestination,
    ) -> Result<Response> {
        let (service, plan) = self.owner(&chosen.host)?;
        let destination =
            plan.subset(&self.table.policies, chosen.subset.as_ref()).map_err(|missing| {
                let (name, value) = NO_CLUSTER_ATTR;
                codes::GUEST_NO_REVISION.error(missing.to_string()).with(name, value)
            })?;
        // One that is set by hand goes before the route's own.
        let manual = self.inside.faults.of(self.service.as_str());
        let fault = manual.as_deref().unwrap_or(&route.fault);
        let injected = fault::inject(fault, call.context.deadline, of_a_million).await?;
        if let Some(answer) = injected.abort {
            return Ok(answer);
        }
        route.headers.request.apply(call.request.headers_mut());
        chosen.headers.request.apply(call.request.headers_mut());
        rewrite(&mut call, route, chosen, matched)?;
        self.mirror(&mut call, route);
        // A delay that was injected is not counted.
        if let Some(timeout) = route.timeout {
            call.context.deadline = call.context.deadline.at_most(timeout);
        }
        call.target = Target::Service(service.clone());
        let grant = self.grant.filter(|_| service == *self.service);
        let way = Way { service: &service, plan: &plan, grant, ..*self };
        let mut response = way.tries(call, &destination, &route.retries).await?;
        if injected.delayed {
            outcome::flag(&mut response, ResponseFlag::DelayInjected);
        }
        Ok(response)
    }

    /// The service that a route leads to.
    fn owner(&self, host: &str) -> Result<(ServiceName, Arc<ServicePlan>)> {
        let name = host.split('.').next().unwrap_or(host);
        let service: ServiceName = name.parse().map_err(|_| {
            codes::CALL_UNKNOWN_HOST.error(format!("a route leads to {host}, which is no service"))
        })?;
        let plan = self.table.plan(&service, &self.inside.node);
        Ok((service, plan))
    }

    /// Has copies of the call sent, as the route says. What cannot be copied is not.
    fn mirror(&self, call: &mut Call, route: &HttpRoute) {
        let copies = route.mirrors.iter().filter(|mirror| mirror.share.includes(of_a_million()));
        let copies = copies.filter_map(|mirror| {
            let (service, plan) = self.owner(&mirror.destination.host).ok()?;
            let subset = mirror.destination.subset.as_ref();
            let destination = plan.subset(&self.table.policies, subset).ok()?;
            let picked = destination.endpoints.pick(None, &Tried::default(), &mut rand::rng())?;
            let Address::Local { pool } = picked.address() else { return None };
            let mut copy = copy_of(call);
            mirror.destination.headers.request.apply(copy.request.headers_mut());
            copy.target = Target::Service(service);
            copy.pool = Some(Arc::clone(pool));
            Some(copy)
        });
        let copies: Vec<Call> = copies.collect();
        if !copies.is_empty() {
            let to: Arc<dyn Dispatch> = Arc::new(Copies(Arc::clone(self.inside)));
            self.inside.mirrors.send(call, copies, &to);
        }
    }
}

/// Gives the call the address that the destination is to see.
fn rewrite(
    call: &mut Call,
    route: &HttpRoute,
    chosen: &RouteDestination,
    matched: Matched,
) -> Result<()> {
    let invalid = || codes::REQUEST_INVALID.error("what the route makes of the URL is not valid");
    let authority = route.authority(chosen);
    let uri = call.request.uri();
    let path = route.rewrite.as_ref().and_then(|rewrite| rewrite.path(uri.path(), matched.uri));
    if authority.is_none() && path.is_none() {
        return Ok(());
    }
    let path: Option<PathAndQuery> = match (path, uri.query()) {
        (None, _) => None,
        (Some(path), None) => Some(path.parse().map_err(|_| invalid())?),
        (Some(path), Some(query)) => {
            Some(format!("{path}?{query}").parse().map_err(|_| invalid())?)
        }
    };
    let mut parts = uri.clone().into_parts();
    if let Some(path) = path {
        parts.path_and_query = Some(path);
    }
    if let Some(authority) = authority {
        if parts.authority.is_some() {
            let authority = Authority::try_from(authority.as_bytes()).map_err(|_| invalid())?;
            parts.authority = Some(authority);
        }
        call.request.headers_mut().insert(header::HOST, authority.clone());
    }
    *call.request.uri_mut() = Uri::from_parts(parts).map_err(|_| invalid())?;
    Ok(())
}
