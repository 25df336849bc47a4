//! Faults that are made on purpose: by a route's `fault`, or by hand for a while.
//!
//! A fault is made before the call is, so that no retry of the same route repeats it and its delay
//! is not counted in the route's time-out (Istio: virtual_service.proto, `fault`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use airhost_core::{Body, Deadline, Response, Result, codes};
use airhost_policy::traffic::{Abort, Fault};
use airhost_telemetry::ResponseFlag;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::outcome::Outcome;

/// Envoy's body of an injected abort.
const ABORTED: &str = "fault filter abort";
/// Faults that are set by hand at once, at most.
const MOST_FAULTS: usize = 256;
/// The longest that a fault set by hand lasts: one that is forgotten must end.
pub const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// What was done to a call.
#[derive(Debug, Default)]
pub struct Injected {
    /// It has waited (`DI`).
    pub delayed: bool,
    /// It is to be answered with this and not made (`FI`). The flag is in its [`Outcome`].
    pub abort: Option<Response>,
}

/// Makes a fault, if the dice fall so: first the delay, then, when that is over, the abort.
/// `roll` gives random numbers below a million.
///
/// # Errors
/// When the call's deadline is over before the delay is.
pub async fn inject(
    fault: &Fault,
    deadline: Deadline,
    mut roll: impl FnMut() -> u32,
) -> Result<Injected> {
    let mut injected = Injected::default();
    if let Some((share, delay)) = fault.delay
        && share.includes(roll())
    {
        injected.delayed = true;
        let until = Instant::now().checked_add(delay).filter(|until| *until <= deadline.instant());
        tokio::time::sleep_until(until.unwrap_or_else(|| deadline.instant())).await;
        if until.is_none() {
            return Err(
                codes::DEADLINE_EXCEEDED.error("the deadline ran out during an injected delay")
            );
        }
    }
    if let Some((share, abort)) = fault.abort
        && share.includes(roll())
    {
        injected.abort = Some(answer(abort));
    }
    Ok(injected)
}

fn answer(abort: Abort) -> Response {
    let mut response = match abort {
        Abort::Http(status) => {
            let mut response = Response::new(Body::from(ABORTED));
            *response.status_mut() = status;
            let text = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            response
        }
        // As an answer with trailers only: all is in the head.
        Abort::Grpc(code) => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::OK;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
            headers.insert("grpc-message", HeaderValue::from_static(ABORTED));
            response
        }
    };
    let outcome = Outcome { flag: ResponseFlag::FaultInjected, ..Outcome::default() };
    response.extensions_mut().insert(outcome);
    response
}

/// Faults set by hand (`airhost mesh fault`), each of one destination and for a while. They go
/// before those of routes.
#[derive(Debug, Default)]
pub struct Faults {
    set: Mutex<BTreeMap<Box<str>, Timed>>,
    /// So that calls do not take a lock while there is none, which is nearly always.
    count: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Timed {
    fault: Arc<Fault>,
    until: Instant,
}

/// A fault set by hand, at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualFault {
    /// The service or host whose calls it is made to.
    pub destination: Box<str>,
    /// What is done.
    pub fault: Arc<Fault>,
    /// How long still.
    pub left: Duration,
}

/// There are as many faults as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("256 faults are set already: clear one first")]
pub struct TooManyFaults;

impl Faults {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a fault of calls to a destination from now on, in the place of one that was set
    /// before, for so long, [`LONGEST`] at most.
    ///
    /// # Errors
    /// When 256 destinations have one already.
    pub fn set(
        &self,
        destination: &str,
        fault: Fault,
        duration: Duration,
    ) -> std::result::Result<(), TooManyFaults> {
        let now = Instant::now();
        let mut set = self.set.lock();
        set.retain(|_, timed| timed.until > now);
        let full = set.len() >= MOST_FAULTS && !set.contains_key(destination);
        if !full {
            let timed = Timed { fault: Arc::new(fault), until: now + duration.min(LONGEST) };
            set.insert(destination.into(), timed);
        }
        self.count.store(set.len(), Relaxed);
        if full { Err(TooManyFaults) } else { Ok(()) }
    }

    /// Ends a destination's fault. False when it has none.
    pub fn clear(&self, destination: &str) -> bool {
        let mut set = self.set.lock();
        let removed = set.remove(destination);
        self.count.store(set.len(), Relaxed);
        removed.is_some_and(|timed| timed.until > Instant::now())
    }

    /// The fault of a destination now.
    #[must_use]
    pub fn of(&self, destination: &str) -> Option<Arc<Fault>> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let now = Instant::now();
        let mut set = self.set.lock();
        let timed = set.get(destination)?;
        if timed.until > now {
            return Some(Arc::clone(&timed.fault));
        }
        set.remove(destination);
        self.count.store(set.len(), Relaxed);
        None
    }

    /// All that are set now, by destination.
    #[must_use]
    pub fn list(&self) -> Vec<ManualFault> {
        let now = Instant::now();
        let mut set = self.set.lock();
        set.retain(|_, timed| timed.until > now);
        self.count.store(set.len(), Relaxed);
        set.iter()
            .map(|(destination, timed)| ManualFault {
                destination: destination.clone(),
                fault: Arc::clone(&timed.fault),
                left: timed.until - now,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use airhost_policy::traffic::Proportion;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn half() -> Proportion {
        Proportion { per_million: 500_000 }
    }

    fn status(injected: &Injected) -> Option<u16> {
        injected.abort.as_ref().map(|response| response.status().as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn the_dice_say_whether_there_is_a_delay_and_then_an_abort() {
        let fault = Fault {
            delay: Some((half(), 2 * SECOND)),
            abort: Some((half(), Abort::Http(StatusCode::IM_A_TEAPOT))),
        };
        for (rolls, waited, aborted) in [
            ([499_999, 499_999], 2, Some(418)),
            ([499_999, 500_000], 2, None),
            ([500_000, 0], 0, Some(418)),
            ([999_999, 999_999], 0, None),
        ] {
            let began = Instant::now();
            let mut rolls_left = rolls.into_iter();
            // The abort is rolled when the delay is over.
            let mut times = Vec::new();
            let injected = inject(&fault, Deadline::after(10 * SECOND), || {
                times.push(began.elapsed());
                rolls_left.next().unwrap()
            });
            let injected = injected.await.unwrap();
            assert_eq!(times, [Duration::ZERO, waited * SECOND], "{rolls:?}");
            assert_eq!(injected.delayed, waited > 0);
            assert_eq!(status(&injected), aborted, "{rolls:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_nobody_and_all_of_everybody() {
        for (share, happens) in [(Proportion::default(), false), (Proportion::ALL, true)] {
            let fault = Fault { delay: None, abort: Some((share, Abort::Grpc(14))) };
            for roll in [0, 999_999] {
                let injected = inject(&fault, Deadline::after(SECOND), || roll).await.unwrap();
                assert_eq!(injected.abort.is_some(), happens);
            }
        }
        let none = Fault::default();
        let injected = inject(&none, Deadline::after(SECOND), || panic!("rolled")).await.unwrap();
        assert!(!injected.delayed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_ends_with_the_deadline() {
        for delay in [3 * SECOND, Duration::MAX] {
            let fault = Fault { delay: Some((Proportion::ALL, delay)), abort: None };
            let began = Instant::now();
            let error = inject(&fault, Deadline::after(SECOND), || 0).await.unwrap_err();
            assert!(codes::DEADLINE_EXCEEDED.is(&error), "{error}");
            assert_eq!(began.elapsed(), SECOND);
        }
    }

    #[tokio::test]
    async fn aborts_look_like_those_of_envoy() {
        let response = answer(Abort::Http(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(response.status(), 503);
        let flag = response.extensions().get::<Outcome>().unwrap().flag;
        assert_eq!(flag, ResponseFlag::FaultInjected);
        assert_eq!(response.into_body().collect(100).await.unwrap(), "fault filter abort");
        let response = answer(Abort::Grpc(14));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(matches!(response.into_body(), Body::Empty));
    }

    #[tokio::test(start_paused = true)]
    async fn faults_set_by_hand_end_by_themselves() {
        let faults = Faults::new();
        let fault = |status| Fault {
            delay: None,
            abort: Some((Proportion::ALL, Abort::Http(StatusCode::from_u16(status).unwrap()))),
        };
        assert!(faults.of("a").is_none());
        faults.set("a", fault(500), SECOND).unwrap();
        faults.set("a", fault(503), 5 * SECOND).unwrap();
        faults.set("b", fault(500), 9 * SECOND).unwrap();
        faults.set("c", fault(500), Duration::MAX).unwrap();
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(*faults.of("a").unwrap(), fault(503));
        let left: Vec<_> =
            faults.list().into_iter().map(|fault| (fault.destination, fault.left)).collect();
        let expected = [("a", SECOND), ("b", 5 * SECOND), ("c", LONGEST - 4 * SECOND)];
        assert_eq!(left, expected.map(|(name, left)| (Box::from(name), left)));
        tokio::time::advance(SECOND).await;
        assert!(faults.of("a").is_none());
        assert!(!faults.clear("a"));
        assert!(faults.clear("b"));
        assert!(faults.of("b").is_none());
        assert_eq!(faults.list().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_are_bounded() {
        let faults = Faults::new();
        for nth in 0..MOST_FAULTS {
            faults.set(&nth.to_string(), Fault::default(), SECOND).unwrap();
        }
        assert_eq!(faults.set("more", Fault::default(), SECOND), Err(TooManyFaults));
        assert_eq!(faults.set("0", Fault::default(), 2 * SECOND), Ok(()));
        tokio::time::advance(SECOND).await;
        assert_eq!(faults.set("more", Fault::default(), SECOND), Ok(()));
        assert_eq!(faults.list().len(), 2);
    }
}
