//! Circuit breakers: after some failures in a row, calls are refused at once for a while, then
//! some are let through to try (`CircuitBreaker`, `airhost.dev/v1`).

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use airhost_core::{Error, GuestFailure, Response, Result, codes};
use airhost_policy::traffic::{CircuitBreakerSettings, Failures};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::flags::is_breaker_open;

/// Keys that are remembered at once; only failing ones are.
const MAX_KEYS: usize = 10_000;

/// How a call went, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was answered, and not with what counts as a failure.
    Success,
    /// It failed in one of the ways that count.
    Failure,
    /// Nothing was learnt: the caller left, the call was refused before it got there, or it failed
    /// in a way that does not count.
    Unknown,
}

impl Verdict {
    /// What an answer or error is, by what a policy counts as a failure.
    #[must_use]
    pub fn of(result: &Result<Response>, failures: &Failures) -> Self {
        let error = match result {
            Ok(response) => {
                let status = response.status();
                // The host's answer for a guest that gave none is as good as a lost connection.
                let reset = response.extensions().get::<GuestFailure>().is_some();
                let failed = (failures.server_error && status.is_server_error())
                    || failures.statuses.contains(&status)
                    || (failures.connect && reset);
                return if failed { Self::Failure } else { Self::Success };
            }
            Err(error) => error,
        };
        let counts = match error {
            // Another breaker's word is not the host's.
            error if is_breaker_open(error) => false,
            error if is_connect(error) => failures.connect,
            error => failures.timeout && codes::DEADLINE_EXCEEDED.is(error),
        };
        if counts { Self::Failure } else { Self::Unknown }
    }
}

/// No connection, or it was lost before the answer.
fn is_connect(error: &Error) -> bool {
    [&codes::CALL_UNREACHABLE, &codes::CALL_RESET, &codes::CALL_UNKNOWN_HOST]
        .iter()
        .any(|code| code.is(error))
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It lets them through.
    Closed,
    /// It refuses them.
    Open,
    /// It lets some through to try, and refuses the others.
    HalfOpen,
}

impl BreakerState {
    /// The name in logs, metrics and `mesh status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A breaker went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: BreakerState,
    /// The state now.
    pub to: BreakerState,
    /// Failures in a row that have led there.
    pub failures: u32,
}

/// A breaker that is not idle, at a moment. Those that are not listed are closed and have seen no
/// failure of late.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStatus<K> {
    /// Whose it is.
    pub key: K,
    /// What it does. One whose time is over is open until the next call finds that out.
    pub state: BreakerState,
    /// How long it has done so.
    pub since: Duration,
    /// Failures in a row, up to the one that opened it.
    pub failures: u32,
    /// Calls that try whether it can be closed.
    pub trials: u32,
    /// How long it stays open still; zero if it is not.
    pub open_for: Duration,
}

/// The state machine of one key. Time comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { trying: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Breaker {
    state: State,
    since: Instant,
    failures: u32,
    /// Which of all times that a breaker was half-open it is: a trial of an earlier one says
    /// nothing in a later one.
    round: u64,
}

impl Breaker {
    fn new(now: Instant) -> Self {
        Self { state: State::Closed, since: now, failures: 0, round: 0 }
    }

    /// Lets a call through, or says how long not. The answer is the round that it is a trial of.
    fn admit(
        &mut self,
        settings: &CircuitBreakerSettings,
        fresh: u64,
        now: Instant,
    ) -> Result<Option<u64>, Duration> {
        match &mut self.state {
            State::Closed => Ok(None),
            State::Open { until } if now < *until => Err(*until - now),
            State::Open { .. } => {
                self.round = fresh;
                self.enter(State::HalfOpen { trying: 1 }, now);
                Ok(Some(self.round))
            }
            State::HalfOpen { trying } if *trying < settings.trials => {
                *trying += 1;
                Ok(Some(self.round))
            }
            // The trial's result is near; nobody can say how near.
            State::HalfOpen { .. } => Err(Duration::from_secs(1)),
        }
    }

    fn record(
        &mut self,
        settings: &CircuitBreakerSettings,
        trial: Option<u64>,
        verdict: Verdict,
        now: Instant,
    ) {
        let is_trial = trial == Some(self.round);
        match (&mut self.state, verdict) {
            (State::Closed, Verdict::Failure) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= settings.threshold {
                    self.open(settings.recovery, now);
                }
            }
            (State::Closed, Verdict::Success) => self.failures = 0,
            (State::HalfOpen { .. }, Verdict::Success) if is_trial => {
                self.failures = 0;
                self.enter(State::Closed, now);
            }
            (State::HalfOpen { .. }, Verdict::Failure) if is_trial => {
                self.failures = self.failures.saturating_add(1);
                self.open(settings.recovery, now);
            }
            (State::HalfOpen { trying }, Verdict::Unknown) if is_trial => {
                *trying -= 1;
                if *trying == 0 {
                    // Nobody tries any more: the next caller does.
                    self.open(Duration::ZERO, now);
                }
            }
            // Calls from before it opened say nothing new.
            _ => {}
        }
    }

    fn open(&mut self, recovery: Duration, now: Instant) {
        // A time beyond the clock's is as good as a year.
        let until = now.checked_add(recovery).unwrap_or(now + Duration::from_secs(31_536_000));
        self.enter(State::Open { until }, now);
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    fn name(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn is_idle(&self) -> bool {
        self.state == State::Closed && self.failures == 0
    }

    fn open_for(&self, now: Instant) -> Duration {
        match self.state {
            State::Open { until } => until.saturating_duration_since(now),
            State::Closed | State::HalfOpen { .. } => Duration::ZERO,
        }
    }
}

/// Is told of transitions, after they have happened. It must not wait.
pub type Observe<K> = Arc<dyn Fn(&K, Transition) + Send + Sync>;

/// Breakers by key. What opens and closes one is said with each call, so that a policy can change
/// while a breaker is in any state.
pub struct Breakers<K> {
    states: Mutex<HashMap<K, Breaker>>,
    rounds: AtomicU64,
    observe: Option<Observe<K>>,
}

/// A call that was let through. Dropping it without a verdict counts for nothing.
#[must_use]
pub struct Pass<K: Eq + Hash + Clone> {
    breakers: Arc<Breakers<K>>,
    /// Until it has said how it went.
    key: Option<K>,
    settings: Arc<CircuitBreakerSettings>,
    trial: Option<u64>,
}

impl<K: Eq + Hash + Clone> Breakers<K> {
    /// All of them closed.
    #[must_use]
    pub fn new(observe: Option<Observe<K>>) -> Arc<Self> {
        Arc::new(Self { states: Mutex::default(), rounds: AtomicU64::new(1), observe })
    }

    /// Whether the breaker is open, without trying it: how long still.
    #[must_use]
    pub fn open_for(&self, key: &K) -> Option<Duration> {
        let left = self.states.lock().get(key)?.open_for(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// When the breaker is open: how long it is to be so.
    pub fn admit(
        self: &Arc<Self>,
        key: K,
        settings: &Arc<CircuitBreakerSettings>,
    ) -> Result<Pass<K>, Duration> {
        let mut changed = None;
        let trial = match self.states.lock().get_mut(&key) {
            None => None,
            Some(breaker) => {
                let before = breaker.name();
                let fresh = self.rounds.fetch_add(1, Relaxed);
                let trial = breaker.admit(settings, fresh, Instant::now())?;
                changed = transition(before, breaker);
                trial
            }
        };
        self.tell(&key, changed);
        let settings = Arc::clone(settings);
        Ok(Pass { breakers: Arc::clone(self), key: Some(key), settings, trial })
    }

    /// The breakers that have seen failures of late, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<BreakerStatus<K>> {
        let now = Instant::now();
        let status = |(key, breaker): (&K, &Breaker)| BreakerStatus {
            key: key.clone(),
            state: breaker.name(),
            since: now.saturating_duration_since(breaker.since),
            failures: breaker.failures,
            trials: match breaker.state {
                State::HalfOpen { trying } => trying,
                State::Closed | State::Open { .. } => 0,
            },
            open_for: breaker.open_for(now),
        };
        self.states.lock().iter().map(status).collect()
    }

    fn record(
        &self,
        key: &K,
        settings: &CircuitBreakerSettings,
        trial: Option<u64>,
        verdict: Verdict,
    ) {
        let now = Instant::now();
        let changed = {
            let mut states = self.states.lock();
            if verdict == Verdict::Failure && !states.contains_key(key) {
                make_room(&mut states, now);
                if states.len() < MAX_KEYS {
                    states.insert(key.clone(), Breaker::new(now));
                }
            }
            let Some(breaker) = states.get_mut(key) else { return };
            let before = breaker.name();
            breaker.record(settings, trial, verdict, now);
            let changed = transition(before, breaker);
            if breaker.is_idle() {
                states.remove(key);
            }
            changed
        };
        self.tell(key, changed);
    }

    fn tell(&self, key: &K, changed: Option<Transition>) {
        if let (Some(observe), Some(transition)) = (&self.observe, changed) {
            observe(key, transition);
        }
    }
}

fn transition(from: BreakerState, breaker: &Breaker) -> Option<Transition> {
    let to = breaker.name();
    (from != to).then_some(Transition { from, to, failures: breaker.failures })
}

/// Forgets, when there are too many, those that would let a call through now.
fn make_room<K: Eq + Hash>(states: &mut HashMap<K, Breaker>, now: Instant) {
    if states.len() >= MAX_KEYS {
        states.retain(|_, breaker| match breaker.state {
            State::Closed => false,
            State::Open { until } => until > now,
            State::HalfOpen { .. } => true,
        });
    }
}

impl<K: Eq + Hash + Clone> Pass<K> {
    /// Says how the call went.
    pub fn record(mut self, verdict: Verdict) {
        if let Some(key) = self.key.take() {
            self.breakers.record(&key, &self.settings, self.trial, verdict);
        }
    }

    /// Says how the call went, by what its settings count as a failure.
    pub fn judge(self, result: &Result<Response>) {
        let verdict = Verdict::of(result, &self.settings.failures);
        self.record(verdict);
    }
}

impl<K: Eq + Hash + Clone> Drop for Pass<K> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && self.trial.is_some()
        {
            self.breakers.record(&key, &self.settings, self.trial, Verdict::Unknown);
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for Breakers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").field("states", &self.states).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Clone + fmt::Debug> fmt::Debug for Pass<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("key", &self.key).field("trial", &self.trial).finish()
    }
}

#[cfg(test)]
mod tests;
