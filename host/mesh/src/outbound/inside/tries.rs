//! Tries of one call at the endpoints of one destination.

use std::time::Duration;

use airhost_core::{Call, GuestFailure, Response, Result, codes};
use airhost_policy::traffic::{LoadBalancer, Outcome, RetryPolicy};
use airhost_telemetry::ResponseFlag;
use tokio::time::Instant;

use super::{Way, held::hold};
use crate::{
    destination::{Address, Picked, Replay, Transport, Tried, TryResult, hash_key},
    outbound::destinations::Destination,
    outcome,
};

/// How one try ended.
struct Attempt {
    result: Result<Response>,
    /// Whether it was given up because its own time was over, and not the call's.
    timed_out: bool,
    /// Which endpoint is to be avoided next.
    tried: Option<Tried>,
}

impl Way<'_> {
    /// The one try of a call that is not tried again.
    pub(super) async fn only_try(&self, destination: &Destination, call: Call) -> Result<Response> {
        let key = key(destination, &call);
        let Some(picked) = self.pick(destination, key, &Tried::default()) else {
            return Err(self.nobody());
        };
        self.at(destination, picked, call).await
    }

    /// Tries until there is an answer for the caller.
    pub(super) async fn tries(
        &self,
        call: Call,
        destination: &Destination,
        retries: &RetryPolicy,
    ) -> Result<Response> {
        let key = key(destination, &call);
        let Call { target, request, context, attrs, .. } = call;
        let (parts, body) = request.into_parts();
        let mut replay = Replay::new(body, Replay::LIMIT);
        let mut tried = Tried::new(retries);
        let mut retry = 0;
        // What allows the try that is under way, if it is one more.
        let mut allowed = None;
        loop {
            let Some(body) = replay.body() else {
                return Err(codes::INTERNAL.error("the request's body was sent already"));
            };
            let one = Call {
                target: target.clone(),
                request: http::Request::from_parts(parts.clone(), body),
                context: context.clone(),
                attrs: attrs.clone(),
                pool: None,
            };
            let Attempt { result, timed_out, tried: next } =
                self.attempt(destination, key, &tried, one, retries.per_try_timeout).await;
            let Some(outcome) = outcome_of(&result, timed_out) else { return result };
            if !retries.may_retry(&parts.method, &parts.headers, &outcome) {
                return result;
            }
            if retry >= retries.attempts {
                return result.map(|mut response| {
                    outcome::flag(&mut response, ResponseFlag::RetriesExhausted);
                    response
                });
            }
            // When it cannot be sent again, or enough is tried again already, the failure stands.
            if !replay.is_repeatable() {
                return result;
            }
            drop(allowed.take());
            let Ok(permit) = destination.limits.retry() else { return result };
            allowed = Some(permit);
            retry += 1;
            if let Some(trail) = self.trail {
                trail.retried();
            }
            tried = next.unwrap_or(tried);
            drop(result);
            let wait = retries.back_off(retry, rand::random());
            let until = (Instant::now() + wait).min(context.deadline.instant());
            tokio::time::sleep_until(until).await;
            if context.deadline.is_over() {
                return Err(codes::DEADLINE_EXCEEDED
                    .error(format!("{} did not answer in time", self.service)));
            }
        }
    }

    async fn attempt(
        &self,
        destination: &Destination,
        key: Option<u64>,
        tried: &Tried,
        mut call: Call,
        limit: Option<Duration>,
    ) -> Attempt {
        let Some(picked) = self.pick(destination, key, tried) else {
            return Attempt { result: Err(self.nobody()), timed_out: false, tried: None };
        };
        let mut next = tried.clone();
        next.add(&picked);
        let Some(limit) = limit else {
            let result = self.at(destination, picked, call).await;
            return Attempt { result, timed_out: false, tried: Some(next) };
        };
        let deadline = call.context.deadline.at_most(limit);
        let whole = call.context.deadline;
        call.context.deadline = deadline;
        let endpoint = std::sync::Arc::clone(picked.endpoint());
        let within =
            tokio::time::timeout_at(deadline.instant(), self.at(destination, picked, call));
        let (result, timed_out) = match within.await {
            Ok(Err(error)) if codes::DEADLINE_EXCEEDED.is(&error) => (Err(error), true),
            Ok(result) => (result, false),
            Err(_) => {
                destination.endpoints.report(&endpoint, TryResult::TimedOut);
                let message = format!("{} did not answer a try in time", self.service);
                (Err(codes::DEADLINE_EXCEEDED.error(message)), true)
            }
        };
        Attempt { result, timed_out: timed_out && !whole.is_over(), tried: Some(next) }
    }

    fn pick(&self, destination: &Destination, key: Option<u64>, tried: &Tried) -> Option<Picked> {
        let picked = destination.endpoints.pick(key, tried, &mut rand::rng());
        if let (Some(trail), Some(picked)) = (self.trail, &picked) {
            trail.to(&destination.cluster, &picked.spec().id);
        }
        picked
    }

    /// One try: a place within the limits, and what comes of it.
    async fn at(&self, destination: &Destination, picked: Picked, call: Call) -> Result<Response> {
        let deadline = call.context.deadline;
        let permit = destination.limits.acquire(Transport::InProcess, deadline).await?;
        let result = match picked.address() {
            Address::Local { pool } => self.enter(Some(pool), call).await,
            _ => Err(codes::CALL_UNREACHABLE
                .error(format!("{} is on a node that cannot be reached", self.service))),
        };
        if let Some(seen) = TryResult::of(&result) {
            destination.endpoints.report(picked.endpoint(), seen);
        }
        result.map(|response| hold(response, picked, permit))
    }

    fn nobody(&self) -> airhost_core::Error {
        codes::GUEST_NO_REVISION
            .error(format!("no endpoint of {} can take the call now", self.service))
    }
}

/// What consistent hashing goes by.
fn key(destination: &Destination, call: &Call) -> Option<u64> {
    match &destination.policy().load_balancer {
        LoadBalancer::ConsistentHash(settings) => {
            let request = &call.request;
            hash_key(settings, request.headers(), request.uri(), call.context.client_ip)
        }
        _ => None,
    }
}

/// What a try's end is to a retry policy; none where nobody could do better.
fn outcome_of(result: &Result<Response>, timed_out: bool) -> Option<Outcome<'_>> {
    let error = match result {
        Ok(response) if response.extensions().get::<GuestFailure>().is_some() => {
            return Some(Outcome::Reset { request_sent: true });
        }
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers());
            return Some(Outcome::Answer { status, headers });
        }
        Err(error) => error,
    };
    let is = |rows: &[&codes::Code]| rows.iter().any(|row| row.is(error));
    if is(&[&codes::CALL_UNREACHABLE, &codes::CALL_UNKNOWN_HOST, &codes::CANCELLED_SHUTDOWN]) {
        Some(Outcome::ConnectFailure)
    } else if is(&[&codes::CALL_RESET]) {
        Some(Outcome::Reset { request_sent: true })
    } else if is(&[&codes::DEADLINE_EXCEEDED]) && timed_out {
        Some(Outcome::PerTryTimeout)
    } else {
        None
    }
}
