//! Outlier detection: an endpoint that fails again and again is put out for a while.
//!
//! Semantics are Envoy's (source/common/upstream/outlier_detection_impl.cc) with what Istio sets
//! of it; the table of them is `tests/conformance/outlier.yaml`. What is here knows endpoints only
//! by their counters and a clock that is given; [`EndpointSet`](super::EndpointSet) puts out and
//! takes back.
//!
//! Sweeps happen at the ticks of a grid, every `interval` from when the detection began. One that
//! is late gives the same as all those it missed, so that nobody needs to be woken for an idle
//! destination.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use airhost_core::{GuestFailure, Response, Result, codes};
use airhost_policy::traffic::Outlier;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::flags::is_breaker_open;

/// How a try went, as far as the endpoint is to be blamed or praised for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryResult {
    /// It answered, with this status.
    Answered(StatusCode),
    /// No connection could be made.
    Unconnected,
    /// It ended the try before it answered.
    Reset,
    /// It did not answer in time.
    TimedOut,
}

impl TryResult {
    /// What an answer or error says of the endpoint; none when nothing, as when the call was
    /// refused here by a limit or breaker, or its caller left. Errors of gRPC in the head of an
    /// answer count as the status that they stand for (Envoy: `grpcToHttpStatus`).
    #[must_use]
    pub fn of(result: &Result<Response>) -> Option<Self> {
        let error = match result {
            // The host's answer for a guest that gave none.
            Ok(response) if response.extensions().get::<GuestFailure>().is_some() => {
                return Some(Self::Reset);
            }
            Ok(response) => {
                let status = grpc_status(response.headers()).unwrap_or(response.status());
                return Some(Self::Answered(status));
            }
            Err(error) if is_breaker_open(error) => return None,
            Err(error) => error,
        };
        let is = |rows: &[&codes::Code]| rows.iter().any(|row| row.is(error));
        if is(&[
            &codes::CALL_UNREACHABLE,
            &codes::CALL_UNKNOWN_HOST,
            &codes::GUEST_NO_REVISION,
            &codes::CANCELLED_SHUTDOWN,
        ]) {
            Some(Self::Unconnected)
        } else if is(&[&codes::DEADLINE_EXCEEDED]) {
            Some(Self::TimedOut)
        } else if is(&[
            &codes::CALL_RESET,
            &codes::GUEST_TRAP,
            &codes::GUEST_CPU,
            &codes::GUEST_MEMORY,
            &codes::GUEST_NO_RESPONSE,
            &codes::GUEST_OUTPUT,
            &codes::RESPONSE_INVALID,
        ]) {
            Some(Self::Reset)
        } else {
            None
        }
    }

    /// As a status, where there was none (Envoy: `resultToHttpCode`).
    fn status(self) -> StatusCode {
        match self {
            Self::Answered(status) => status,
            Self::Unconnected | Self::Reset => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// The HTTP status of a `grpc-status` in the head, which is there when there is no body.
fn grpc_status(headers: &HeaderMap) -> Option<StatusCode> {
    let code: u16 = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let status = match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    };
    StatusCode::from_u16(status).ok()
}

/// What an endpoint is put out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// `consecutiveGatewayErrors`.
    GatewayErrors,
    /// `consecutive5xxErrors`.
    ServerErrors,
    /// `consecutiveLocalOriginFailures`.
    LocalFailures,
}

impl Cause {
    /// Every cause, in the order in which they are looked at.
    pub const ALL: [Self; 3] = [Self::GatewayErrors, Self::ServerErrors, Self::LocalFailures];

    /// The name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatewayErrors => "gateway_errors",
            Self::ServerErrors => "5xx_errors",
            Self::LocalFailures => "local_origin_failures",
        }
    }
}

/// Causes that have fired at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fired([bool; 3]);

impl Fired {
    pub(super) fn any(self) -> bool {
        self.0.contains(&true)
    }

    pub(super) fn causes(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |cause| self.0[*cause as usize])
    }
}

/// Errors in a row of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU32; 3]);

impl Counters {
    fn of(&self, cause: Cause) -> &AtomicU32 {
        &self.0[cause as usize]
    }

    pub(super) fn get(&self, cause: Cause) -> u32 {
        self.of(cause).load(Relaxed)
    }

    pub(super) fn reset(&self, cause: Cause) {
        // An endpoint that is well is not written to by every answer.
        if self.get(cause) != 0 {
            self.of(cause).store(0, Relaxed);
        }
    }

    pub(super) fn reset_all(&self) {
        for cause in Cause::ALL {
            self.reset(cause);
        }
    }

    /// Counts one more and says whether the limit is reached by it.
    fn count(&self, cause: Cause, limit: Option<u32>) -> bool {
        let count = self.of(cause).fetch_add(1, Relaxed).saturating_add(1);
        limit == Some(count)
    }
}

/// What is known of one endpoint's ejections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ejection {
    /// When it was put out, while it is.
    pub(super) since: Option<Instant>,
    /// When it was taken back last.
    returned: Option<Instant>,
    /// How many times `baseEjectionTime` it stays out.
    pub(super) multiplier: u32,
    /// How often it was put out in all.
    pub(super) times: u32,
}

/// What has been done, since the destination is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EjectionCounts {
    /// Endpoints put out, by the order of [`Cause::ALL`] (Envoy: `ejections_enforced_*`).
    pub ejected: [u64; 3],
    /// Times that a limit was reached, whether or not something was done (`ejections_detected_*`).
    pub detected: [u64; 3],
    /// Times that `maxEjectionPercent` kept an endpoint in (`ejections_overflow`).
    pub refused: u64,
}

/// The detection of one destination: its settings and its clock.
#[derive(Debug)]
pub(super) struct Detector {
    pub(super) settings: Outlier,
    began: Instant,
    /// Whether a sweep may have something to do.
    armed: AtomicBool,
    /// The tick of the last sweep.
    swept: AtomicU32,
}

impl Detector {
    pub(super) fn new(settings: Outlier, now: Instant, armed: bool) -> Self {
        Self { settings, began: now, armed: AtomicBool::new(armed), swept: AtomicU32::new(0) }
    }

    /// Whether a sweep would do something; cheap while all is well.
    pub(super) fn is_due(&self) -> bool {
        self.armed.load(Acquire) && self.tick(Instant::now()) > self.swept.load(Relaxed)
    }

    /// The last tick before or at a moment.
    fn tick(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.began);
        u32::try_from(since.as_nanos() / self.interval().as_nanos()).unwrap_or(u32::MAX)
    }

    /// The first tick that is so long after a moment, or longer.
    fn tick_after(&self, moment: Instant, duration: Duration) -> u32 {
        let after = moment.saturating_duration_since(self.began);
        let before = self.began.saturating_duration_since(moment);
        let since = after.saturating_add(duration).saturating_sub(before);
        let ticks = since.as_nanos().div_ceil(self.interval().as_nanos());
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn interval(&self) -> Duration {
        self.settings.interval.max(Duration::from_millis(1))
    }

    /// How long an endpoint stays out, at least: until the next sweep after that.
    pub(super) fn duration(&self, multiplier: u32) -> Duration {
        let Outlier { base_ejection, longest_ejection, .. } = self.settings;
        base_ejection.saturating_mul(multiplier).min(longest_ejection)
    }

    /// Counts how a try went.
    pub(super) fn count(&self, counters: &Counters, result: TryResult) -> Fired {
        let mut fired = Fired::default();
        let mut count = |cause, limit| fired.0[cause as usize] = counters.count(cause, limit);
        let Outlier { server_errors, gateway_errors, local_failures, split, .. } = self.settings;
        if split {
            if !matches!(result, TryResult::Answered(_)) {
                count(Cause::LocalFailures, local_failures);
                return fired;
            }
            counters.reset(Cause::LocalFailures);
        }
        let status = self.seen_as(result);
        if !status.is_server_error() {
            counters.reset(Cause::GatewayErrors);
            counters.reset(Cause::ServerErrors);
            return fired;
        }
        if is_gateway_error(status) {
            count(Cause::GatewayErrors, gateway_errors);
        } else {
            counters.reset(Cause::GatewayErrors);
        }
        count(Cause::ServerErrors, server_errors);
        fired
    }

    /// The status that counts, with a set of error codes in force (Envoy:
    /// test/common/router/router_test.cc `OverwriteCodeBasedOnMatcher`).
    fn seen_as(&self, result: TryResult) -> StatusCode {
        let status = result.status();
        let codes = &self.settings.error_codes;
        match result {
            TryResult::Answered(_) if codes.is_empty() => status,
            TryResult::Answered(_) if !codes.contains(&status) => StatusCode::OK,
            TryResult::Answered(_) if !status.is_server_error() => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => status,
        }
    }

    /// Whether one more may be put out of so many.
    pub(super) fn may_eject(&self, ejected: usize, endpoints: usize) -> bool {
        let percent = self.settings.most_ejected_percent.min(100) as usize;
        100 * (ejected + 1) <= percent * endpoints
    }

    /// Notes that an endpoint is put out.
    pub(super) fn eject(&self, ejection: &mut Ejection, now: Instant) {
        let Outlier { base_ejection, longest_ejection, .. } = self.settings;
        ejection.since = Some(now);
        ejection.times = ejection.times.saturating_add(1);
        // Beyond that the time does not grow any more, and would only take longer to decay.
        let grows = base_ejection.saturating_mul(ejection.multiplier)
            < longest_ejection.saturating_add(base_ejection);
        if grows {
            ejection.multiplier += 1;
        }
        self.armed.store(true, Release);
    }

    /// Begins the sweep of all ticks up to a moment that were not swept yet.
    pub(super) fn sweep(&self, now: Instant) -> Option<Sweep<'_>> {
        let (from, to) = (self.swept.load(Relaxed), self.tick(now));
        if to <= from {
            return None;
        }
        self.swept.store(to, Relaxed);
        // What follows finds out whether there is still something to do.
        self.armed.store(false, Relaxed);
        Some(Sweep { detector: self, from, to })
    }
}

/// The ticks of a sweep: those after `from`, up to `to`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep<'d> {
    detector: &'d Detector,
    from: u32,
    to: u32,
}

impl Sweep<'_> {
    /// Sweeps one endpoint; the answer is whether it is taken back.
    pub(super) fn visit(self, ejection: &mut Ejection, counters: &Counters) -> bool {
        let Detector { began, .. } = self.detector;
        let mut back = false;
        if let Some(since) = ejection.since {
            let duration = self.detector.duration(ejection.multiplier);
            let tick = self.detector.tick_after(since, duration).max(self.from.saturating_add(1));
            if tick > self.to {
                self.detector.armed.store(true, Release);
                return false;
            }
            *ejection = Ejection {
                since: None,
                returned: Some(*began + self.detector.interval() * tick),
                ..*ejection
            };
            counters.reset_all();
            back = true;
        }
        if let Some(returned) = ejection.returned {
            let healthy = self.detector.tick_after(returned, self.detector.interval());
            let first = healthy.max(self.from.saturating_add(1));
            let decays = self.to.saturating_add(1).saturating_sub(first);
            ejection.multiplier = ejection.multiplier.saturating_sub(decays);
        }
        if ejection.multiplier > 0 {
            self.detector.armed.store(true, Release);
        }
        back
    }
}

/// Forgets an ejection, as when the policy has no outlier detection any more.
pub(super) fn pardon(ejection: &mut Ejection) {
    *ejection = Ejection { times: ejection.times, ..Ejection::default() };
}

fn is_gateway_error(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests;
