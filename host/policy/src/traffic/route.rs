//! Routes of `VirtualService`s, and which of them a request takes.

mod condition;
mod cors;
mod headers;
mod read;
mod rewrite;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use self::condition::Conditions;
pub use self::{
    cors::CorsPolicy,
    headers::{HeaderChanges, HeaderOperations},
    rewrite::{DirectResponse, Redirect, Rewrite},
};
use super::{Fault, Proportion, RetryPolicy, hosts::Pattern, review::Visibility};
use crate::{finding::Place, workload::Workload};

/// The gateway that stands for all calls between services.
const MESH: &str = "mesh";

/// What of a call a route is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// Who calls; none for clients and for the host itself.
    pub caller: Option<&'a Workload>,
    /// The host that is called, in short or in full, without a port.
    pub host: &'a str,
    /// The port that is called.
    pub port: u16,
    /// The method.
    pub method: &'a Method,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `:authority`, or `host`, as sent.
    pub authority: &'a str,
    /// The path without its query.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The claims of the verified token.
    pub claims: Option<&'a Value>,
}

/// Which way a call goes.
#[derive(Clone, Debug)]
pub enum Routed {
    /// No `VirtualService` is for the host: the call goes to it as it is.
    Default,
    /// This `VirtualService` (`namespace/name`) is, and has no route for the call: 404, flag NR.
    NoMatch(Arc<str>),
    /// This route, and why.
    Route(Arc<HttpRoute>, Matched),
}

/// Why a route was taken: the first block of its `match` of which all holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The block, beginning with 0; none for a route without `match`.
    pub block: Option<usize>,
    /// How the path matched, which a rewrite goes by.
    pub uri: MatchedUri,
}

/// How a path matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedUri {
    /// It was not looked at.
    Any,
    /// As a whole.
    Exact,
    /// By a prefix of so many bytes.
    Prefix(usize),
    /// By a regular expression.
    Regex,
}

impl fmt::Display for Matched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => write!(f, "match[{block}]"),
            None => f.write_str("no match to pass"),
        }
    }
}

/// One entry of `http`, with defaults filled in.
#[derive(Clone, Debug)]
pub struct HttpRoute {
    /// Its `name`, or `http[2]`.
    pub name: Arc<str>,
    /// `namespace/name` of the `VirtualService`.
    pub resource: Arc<str>,
    /// Where it is written.
    pub place: Place,
    /// What is done with a request.
    pub action: Action,
    /// Limit of the whole call with all its tries and waits; then 504, flag UT. None by default.
    pub timeout: Option<Duration>,
    /// Which tries are made again.
    pub retries: RetryPolicy,
    /// Faults that are injected before the first try.
    pub fault: Fault,
    /// Where copies go.
    pub mirrors: Vec<Mirror>,
    /// Changes of header fields, before those of the destination.
    pub headers: HeaderChanges,
    /// Changes of the address.
    pub rewrite: Option<Rewrite>,
    /// Which origins may call from a browser.
    pub cors: Option<CorsPolicy>,
    authority: Option<HeaderValue>,
    /// The names of the blocks of `match`.
    blocks: Vec<Option<Box<str>>>,
}

impl HttpRoute {
    /// The name in logs: that of the route, and of the block that matched, as `search.by-base`.
    #[must_use]
    pub fn full_name(&self, matched: Matched) -> Cow<'_, str> {
        let block = matched.block.and_then(|block| self.blocks.get(block)?.as_deref());
        match block {
            Some(block) => Cow::Owned(format!("{}.{block}", self.name)),
            None => Cow::Borrowed(&self.name),
        }
    }

    /// The authority that the destination sees, if it is not the caller's: that of `rewrite`, or
    /// of the route's headers, or of the destination's headers.
    #[must_use]
    pub fn authority<'r>(&'r self, destination: &'r Destination) -> Option<&'r HeaderValue> {
        let rewritten = self.rewrite.as_ref().and_then(Rewrite::authority);
        rewritten.or(self.authority.as_ref()).or(destination.authority.as_ref())
    }
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Calls one of the destinations.
    Forward(Forward),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers.
    DirectResponse(DirectResponse),
}

/// Destinations with their shares.
#[derive(Clone, Debug)]
pub struct Forward {
    /// With the sum of the weights up to and with each.
    destinations: Vec<(u64, Destination)>,
}

impl Forward {
    /// The destination of a call; `roll` is any random number. It is picked once a call, so that
    /// retries stay with it.
    #[must_use]
    pub fn pick(&self, roll: u64) -> &Destination {
        let total = self.destinations.last().map_or(0, |(sum, _)| *sum);
        // The high half of the product is `roll` scaled down to the weights, without a division.
        let at = (u128::from(roll) * u128::from(total)) >> 64;
        let index = self.destinations.partition_point(|(sum, _)| u128::from(*sum) <= at);
        &self.destinations[index.min(self.destinations.len() - 1)].1
    }

    /// The destination, if there is one alone.
    pub(super) fn only(&self) -> Option<&Destination> {
        match self.destinations.as_slice() {
            [(_, only)] => Some(only),
            _ => None,
        }
    }

    /// The destinations with their weights, those of weight 0 left out.
    pub fn destinations(&self) -> impl Iterator<Item = (&Destination, u64)> {
        let before = std::iter::once(0).chain(self.destinations.iter().map(|(sum, _)| *sum));
        self.destinations.iter().zip(before).map(|((sum, to), before)| (to, sum - before))
    }
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The host in full: `name.namespace.svc.cluster.local` for a service.
    pub host: Arc<str>,
    /// Which endpoints of it.
    pub subset: Option<Arc<str>>,
    /// The port, if not the one that was called.
    pub port: Option<u16>,
    /// Changes of header fields, after those of the route.
    pub headers: HeaderChanges,
    authority: Option<HeaderValue>,
}

/// A destination that is sent copies, whose answers are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where they go.
    pub destination: Destination,
    /// How many requests are copied.
    pub share: Proportion,
}

/// A destination that names a subset, for the check that there is one.
#[derive(Clone, Debug)]
pub(super) struct SubsetReference {
    pub(super) host: Arc<str>,
    pub(super) subset: Arc<str>,
    pub(super) place: Place,
}

/// A `VirtualService`, as it is looked at.
#[derive(Clone, Debug)]
pub(super) struct VirtualService {
    pub(super) resource: Arc<str>,
    pub(super) place: Place,
    pub(super) namespace: Arc<str>,
    pub(super) visibility: Visibility,
    /// With their places.
    pub(super) hosts: Vec<(Pattern, Place)>,
    /// False if it is for gateways alone.
    pub(super) in_mesh: bool,
    pub(super) routes: Vec<Route>,
    pub(super) subsets: Vec<SubsetReference>,
}

/// One entry of `http` with its conditions.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// None: it takes every request.
    blocks: Option<Vec<(usize, Conditions)>>,
    pub(super) route: Arc<HttpRoute>,
    /// Whether `retryIgnorePreviousHosts` says what the policy holds.
    pub(super) names_previous: bool,
}

impl VirtualService {
    pub(super) fn route(&self, request: &RouteQuery<'_>) -> Routed {
        self.routes.iter().find_map(|route| Some((route, route.matches(request)?))).map_or_else(
            || Routed::NoMatch(Arc::clone(&self.resource)),
            |(route, matched)| Routed::Route(Arc::clone(&route.route), matched),
        )
    }

    /// The namespace of those who see it: its own, or that of the services.
    pub(super) fn client<'s>(&'s self, services: &'s str) -> &'s str {
        match self.visibility {
            Visibility::Everywhere => services,
            Visibility::OwnNamespace => &self.namespace,
        }
    }

    pub(super) fn is_seen_from(&self, namespace: &str) -> bool {
        self.visibility == Visibility::Everywhere || *self.namespace == *namespace
    }
}

impl Route {
    fn matches(&self, request: &RouteQuery<'_>) -> Option<Matched> {
        let Some(blocks) = &self.blocks else {
            return Some(Matched { block: None, uri: MatchedUri::Any });
        };
        blocks.iter().find_map(|(block, conditions)| {
            let uri = conditions.matches(request)?;
            Some(Matched { block: Some(*block), uri })
        })
    }

    fn is_catch_all(&self) -> bool {
        let all = |(_, block): &(usize, Conditions)| block.is_catch_all();
        self.blocks.as_ref().is_none_or(|blocks| blocks.iter().any(all))
    }
}

#[cfg(test)]
mod tests;
