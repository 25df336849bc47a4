//! `VirtualService`s from their specs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::HeaderValue;
use serde_saphyr::Spanned;

use super::{
    Action, CorsPolicy, Destination, DirectResponse, Forward, HeaderChanges, HttpRoute, MESH,
    Mirror, Redirect, Rewrite, Route, SubsetReference, VirtualService, condition::Conditions,
};
use crate::traffic::{
    Abort, Fault, Proportion, RetryOn, RetryPolicy, retry::grpc_code, review::Review, spec,
};

impl VirtualService {
    /// Reads a `VirtualService`. None if it is wrong, which the review then says.
    pub(crate) fn read(review: &mut Review<'_>, spec: &spec::VirtualService) -> Option<Self> {
        let in_mesh = match &spec.gateways {
            None => true,
            Some(list) if list.value.is_empty() || list.value.iter().any(|name| name == MESH) => {
                true
            }
            Some(list) => {
                review.warning(
                    list,
                    "this VirtualService has no effect: `gateways` lacks `mesh`, and the host has no other gateway",
                );
                false
            }
        };
        let mut hosts = Vec::new();
        if spec.hosts.value.is_empty() {
            review.error(&spec.hosts, "`hosts` is empty; name the hosts that are called");
        }
        for text in &spec.hosts.value {
            let Some(pattern) = review.host(text) else { continue };
            if pattern.is_any() && in_mesh {
                review.error(
                    text,
                    "`*` is not possible for calls inside the mesh, as in Istio; name the hosts",
                );
            } else if hosts.iter().any(|(other, _)| *other == pattern) {
                review.error(text, format!("`{pattern}` is there twice; remove one"));
            } else {
                hosts.push((pattern, review.at(text)));
            }
        }
        if spec.http.is_empty() {
            review.error(&spec.hosts, "this VirtualService has no routes; add `http`");
        }
        let visibility = review.export_to(spec.export_to.as_ref());
        let mut routes: Vec<Route> = Vec::new();
        let mut subsets = Vec::new();
        let mut names = BTreeSet::new();
        let mut catch_all: Option<Arc<HttpRoute>> = None;
        for (index, of) in spec.http.iter().enumerate() {
            if let Some(earlier) = &catch_all {
                let line = earlier.place.line;
                review.warning(
                    of,
                    format!(
                        "this route is never taken: `{}` in line {line} takes every request",
                        earlier.name
                    ),
                );
            }
            if let Some(name) = &of.value.name
                && !names.insert(name)
            {
                review.error(of, format!("two routes are named `{name}`; rename one"));
            }
            let Some(route) = Route::read(review, index, of, &mut subsets) else { continue };
            if catch_all.is_none() && route.is_catch_all() {
                catch_all = Some(Arc::clone(&route.route));
            }
            routes.push(route);
        }
        review.is_clean().then(|| Self {
            resource: Arc::clone(&review.resource),
            place: review.place.clone(),
            namespace: Arc::clone(&review.namespace),
            visibility,
            hosts,
            in_mesh,
            routes,
            subsets,
        })
    }
}

impl Route {
    fn read(
        review: &mut Review<'_>,
        index: usize,
        of: &Spanned<spec::HttpRoute>,
        subsets: &mut Vec<SubsetReference>,
    ) -> Option<Self> {
        let spec = &of.value;
        let mut blocks = Vec::new();
        for (block, conditions) in spec.matches.iter().enumerate() {
            blocks.extend(Conditions::read(review, conditions).map(|read| (block, read)));
        }
        let (headers, mut authorities) = HeaderChanges::read(review, spec.headers.as_ref());
        let rewrite = spec.rewrite.as_ref().and_then(|rewrite| Rewrite::read(review, rewrite));
        let rewritten = rewrite.as_ref().is_some_and(|rewrite| rewrite.authority().is_some());
        if authorities.len() + usize::from(rewritten) > 1 {
            review.error(
                of,
                "the host is set more than once, in `rewrite.authority` or `headers`; do it once",
            );
        }
        let timeout = match &spec.timeout {
            Some(timeout) => review.duration_or_off("timeout", timeout).flatten(),
            None => None,
        };
        let (retries, names_previous) = match &spec.retries {
            Some(retries) => read_retries(review, retries),
            None => Some((RetryPolicy::default(), false)),
        }?;
        let fault = match &spec.fault {
            Some(fault) => read_fault(review, fault)?,
            None => Fault::default(),
        };
        let mirrors = read_mirrors(review, spec, subsets);
        let cors = spec.cors_policy.as_ref().and_then(|cors| CorsPolicy::read(review, cors));
        let action = read_action(review, of, subsets)?;
        let name = match &spec.name {
            Some(name) => name.as_str().into(),
            None => format!("http[{index}]").into(),
        };
        let route = HttpRoute {
            name,
            resource: Arc::clone(&review.resource),
            place: review.at(of),
            action,
            timeout,
            retries,
            fault,
            mirrors,
            headers,
            rewrite,
            cors,
            authority: authorities.pop(),
            blocks: spec
                .matches
                .iter()
                .map(|block| block.value.name.as_deref().map(Into::into))
                .collect(),
        };
        // A route whose blocks are all for gateways takes nothing, which is not everything.
        let blocks = (!spec.matches.is_empty()).then_some(blocks);
        Some(Self { blocks, route: Arc::new(route), names_previous })
    }
}

fn read_action(
    review: &mut Review<'_>,
    of: &Spanned<spec::HttpRoute>,
    subsets: &mut Vec<SubsetReference>,
) -> Option<Action> {
    let spec = &of.value;
    let actions = usize::from(!spec.route.is_empty())
        + usize::from(spec.redirect.is_some())
        + usize::from(spec.direct_response.is_some());
    if actions != 1 {
        review.error(of, "a route has one of `route`, `redirect` and `directResponse`");
        return None;
    }
    if spec.route.is_empty() {
        let action = if spec.redirect.is_some() { "redirect" } else { "directResponse" };
        for (name, there) in [
            ("fault", spec.fault.is_some()),
            ("rewrite", spec.rewrite.is_some()),
            ("mirror", spec.mirror.is_some()),
            ("mirrors", spec.mirrors.is_some()),
            ("retries", spec.retries.is_some()),
            ("timeout", spec.timeout.is_some()),
        ] {
            if there {
                review.error(of, format!("`{action}` calls nobody, so that `{name}` has no meaning beside it; remove one"));
            }
        }
    }
    if let Some(redirect) = &spec.redirect {
        return Redirect::read(review, redirect).map(Action::Redirect);
    }
    if let Some(response) = &spec.direct_response {
        return DirectResponse::read(review, response).map(Action::DirectResponse);
    }
    read_forward(review, of, subsets).map(Action::Forward)
}

fn read_forward(
    review: &mut Review<'_>,
    of: &Spanned<spec::HttpRoute>,
    subsets: &mut Vec<SubsetReference>,
) -> Option<Forward> {
    let list = &of.value.route;
    let mut destinations = Vec::new();
    let mut sum: u64 = 0;
    for weighted in list {
        let spec = &weighted.value;
        let weight = match &spec.weight {
            None => 0,
            Some(weight) => match u64::try_from(weight.value) {
                Ok(value) if value <= i32::MAX.unsigned_abs().into() => value,
                Ok(_) => {
                    review.error(weight, format!("`weight` is at most {}", i32::MAX));
                    continue;
                }
                Err(_) => {
                    review.error(weight, "`weight` cannot be negative");
                    continue;
                }
            },
        };
        // A single destination takes everything, whatever its weight.
        let weight = if list.len() == 1 { 1 } else { weight };
        let (headers, mut authorities) = HeaderChanges::read(review, spec.headers.as_ref());
        if authorities.len() > 1 {
            review.error(weighted, "the host is set more than once in `headers`; do it once");
        }
        let Some(destination) =
            read_destination(review, &spec.destination, headers, authorities.pop(), subsets)
        else {
            continue;
        };
        sum += weight;
        if weight > 0 {
            destinations.push((sum, destination));
        }
    }
    if list.len() > 1 && sum == 0 && review.is_clean() {
        review.error(
            of,
            "the weights of several destinations add up to 0; give one of them a `weight`",
        );
    }
    (!destinations.is_empty()).then_some(Forward { destinations })
}

fn read_destination(
    review: &mut Review<'_>,
    of: &spec::Destination,
    headers: HeaderChanges,
    authority: Option<HeaderValue>,
    subsets: &mut Vec<SubsetReference>,
) -> Option<Destination> {
    let host = review.exact_host(&of.host)?;
    let port = match &of.port {
        Some(port) => Some(review.port(&port.number)?),
        None => None,
    };
    let subset: Option<Arc<str>> = match &of.subset {
        Some(subset) if !subset.value.is_empty() => {
            let name: Arc<str> = subset.value.as_str().into();
            subsets.push(SubsetReference {
                host: Arc::clone(&host),
                subset: Arc::clone(&name),
                place: review.at(subset),
            });
            Some(name)
        }
        _ => None,
    };
    Some(Destination { host, subset, port, headers, authority })
}

fn read_mirrors(
    review: &mut Review<'_>,
    spec: &spec::HttpRoute,
    subsets: &mut Vec<SubsetReference>,
) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    let mut push = |review: &mut Review<'_>, of: &spec::Destination, share: Option<Proportion>| {
        let none = HeaderChanges::default();
        let destination = read_destination(review, of, none, None, subsets);
        // A share of 0 says that nothing is copied.
        if let (Some(destination), Some(share)) = (destination, share)
            && share.per_million > 0
        {
            mirrors.push(Mirror { destination, share });
        }
    };
    match (&spec.mirror, &spec.mirrors) {
        (Some(_), Some(list)) => review.error(list, "use one of `mirror` and `mirrors`, not both"),
        (Some(mirror), None) => {
            let share = match (&spec.mirror_percentage, &spec.mirror_percent) {
                (Some(share), _) => review.percent(share),
                (None, Some(old)) => {
                    review.warning(old, "`mirrorPercent` is deprecated; use `mirrorPercentage`");
                    review.old_percent(old)
                }
                (None, None) => Some(Proportion::ALL),
            };
            push(review, &mirror.value, share);
        }
        (None, list) => {
            for mirror in list.iter().flat_map(|list| &list.value) {
                let share = match &mirror.percentage {
                    Some(share) => review.percent(share),
                    None => Some(Proportion::ALL),
                };
                push(review, &mirror.destination, share);
            }
            let lonely = "without `mirror` this has no meaning; remove it";
            if let Some(share) = &spec.mirror_percentage {
                review.error(share, lonely);
            }
            if let Some(share) = &spec.mirror_percent {
                review.error(share, lonely);
            }
        }
    }
    mirrors
}

/// The policy, and whether `retryIgnorePreviousHosts` was written.
fn read_retries(review: &mut Review<'_>, of: &Spanned<spec::Retry>) -> Option<(RetryPolicy, bool)> {
    let spec = &of.value;
    let attempts = match &spec.attempts {
        None => 0,
        Some(attempts) => match u32::try_from(attempts.value) {
            Ok(value) if value <= i32::MAX.unsigned_abs() => value,
            _ => {
                review.error(attempts, "`attempts` is 0 or more");
                return None;
            }
        },
    };
    // Protobuf does not tell an absent number from 0, which switches retries off.
    let others = spec.per_try_timeout.is_some()
        || spec.retry_on.is_some()
        || spec.retry_remote_localities.is_some()
        || spec.retry_ignore_previous_hosts.is_some()
        || spec.backoff.is_some();
    if attempts == 0 && others {
        review.error(
            of,
            "retries are off, since `attempts` is 0 or not there, so that the other fields have no meaning; set `attempts` or remove them",
        );
        return None;
    }
    let mut policy = RetryPolicy { attempts, ..RetryPolicy::default() };
    if let Some(text) = spec.retry_on.as_ref().filter(|text| !text.value.trim().is_empty()) {
        policy.on =
            RetryOn::parse(&text.value).map_err(|message| review.error(text, message)).ok()?;
        if policy.on == RetryOn::default() {
            review.warning(
                text,
                "nothing is tried again: `retryOn` lists no status and no other condition",
            );
        }
    }
    if let Some(limit) = &spec.per_try_timeout {
        policy.per_try_timeout = Some(review.duration("perTryTimeout", limit)?);
    }
    if let Some(base) = &spec.backoff {
        policy.back_off = review.duration("backoff", base)?;
    }
    policy.remote_localities = spec.retry_remote_localities.unwrap_or_default();
    policy.ignore_previous = spec.retry_ignore_previous_hosts.unwrap_or(true);
    Some((policy, spec.retry_ignore_previous_hosts.is_some()))
}

fn read_fault(review: &mut Review<'_>, of: &Spanned<spec::Fault>) -> Option<Fault> {
    if of.value.delay.is_none() && of.value.abort.is_none() {
        review.error(of, "`fault` needs `delay` or `abort`");
        return None;
    }
    let delay = match &of.value.delay {
        Some(delay) => Some(read_delay(review, delay)?),
        None => None,
    };
    let abort = match &of.value.abort {
        Some(abort) => Some(read_abort(review, abort)?),
        None => None,
    };
    Some(Fault { delay, abort })
}

fn read_delay(
    review: &mut Review<'_>,
    of: &Spanned<spec::Delay>,
) -> Option<(Proportion, Duration)> {
    let Some(fixed) = &of.value.fixed_delay else {
        review.error(of, "`delay` needs `fixedDelay`");
        return None;
    };
    let fixed = review.duration("fixedDelay", fixed)?;
    let share = match (&of.value.percentage, &of.value.percent) {
        (Some(share), _) => review.percent(share)?,
        (None, Some(old)) => {
            review.warning(old, "`percent` is deprecated; use `percentage`");
            review.old_percent(old)?
        }
        (None, None) => {
            review.warning(of, "no request is delayed: `percentage` is not there and means 0 %");
            Proportion::default()
        }
    };
    Some((share, fixed))
}

fn read_abort(review: &mut Review<'_>, of: &Spanned<spec::Abort>) -> Option<(Proportion, Abort)> {
    let abort = match (&of.value.http_status, &of.value.grpc_status) {
        (Some(status), None) => Abort::Http(review.status(status, 200..=599)?),
        (None, Some(name)) => match grpc_code(&name.value) {
            Some(code) => Abort::Grpc(code),
            None => {
                review.error(
                    name,
                    format!(
                        "`{}` is not the name of a gRPC status, as `UNAVAILABLE` is",
                        name.value
                    ),
                );
                return None;
            }
        },
        _ => {
            review.error(of, "`abort` needs one of `httpStatus` and `grpcStatus`");
            return None;
        }
    };
    let share = match &of.value.percentage {
        Some(share) => review.percent(share)?,
        None => {
            review.warning(of, "no request is aborted: `percentage` is not there and means 0 %");
            Proportion::default()
        }
    };
    Some((share, abort))
}
