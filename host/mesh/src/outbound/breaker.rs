//! Circuit breakers: after some failures in a row, calls are refused at once for a while, then
//! one is let through to try.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Keys that are remembered at once; only failing ones are.
const MAX_KEYS: usize = 10_000;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it. 5.
    pub failure_threshold: u32,
    /// How long it stays open. 30 s.
    pub recovery_timeout: Duration,
    /// Calls that are let through at once to try. 1.
    pub half_open_requests: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            recovery_timeout: Duration::from_secs(30),
            half_open_requests: 1,
        }
    }
}

/// How a call went, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was answered, with less than 500.
    Success,
    /// No connection, no answer in time, or 5xx.
    Failure,
    /// Nothing was learnt: the caller left, or was refused before it got there.
    Unknown,
}

/// The state machine of one key. Time comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { trying: u32 },
}

impl State {
    const FRESH: Self = Self::Closed { failures: 0 };

    /// Lets a call through, or says how long not. The answer is whether the call is a trial.
    fn admit(&mut self, config: &BreakerConfig, now: Instant) -> Result<bool, Duration> {
        match self {
            Self::Closed { .. } => Ok(false),
            Self::Open { until } if now < *until => Err(*until - now),
            Self::Open { .. } => {
                *self = Self::HalfOpen { trying: 1 };
                Ok(true)
            }
            Self::HalfOpen { trying } if *trying < config.half_open_requests => {
                *trying += 1;
                Ok(true)
            }
            // The trial's result is near; nobody can say how near.
            Self::HalfOpen { .. } => Err(Duration::from_secs(1)),
        }
    }

    fn record(&mut self, config: &BreakerConfig, trial: bool, verdict: Verdict, now: Instant) {
        match (&mut *self, verdict) {
            (Self::Closed { failures }, Verdict::Failure) => {
                *failures += 1;
                if *failures >= config.failure_threshold {
                    *self = Self::Open { until: now + config.recovery_timeout };
                }
            }
            (Self::Closed { failures }, Verdict::Success) => *failures = 0,
            (Self::HalfOpen { .. }, Verdict::Success) if trial => *self = Self::FRESH,
            (Self::HalfOpen { .. }, Verdict::Failure) if trial => {
                *self = Self::Open { until: now + config.recovery_timeout };
            }
            (Self::HalfOpen { trying }, Verdict::Unknown) if trial => {
                *trying -= 1;
                if *trying == 0 {
                    // Nobody tries any more: the next caller does.
                    *self = Self::Open { until: now };
                }
            }
            // Calls from before it opened say nothing new.
            _ => {}
        }
    }
}

/// Breakers by key.
#[derive(Debug)]
pub(crate) struct Breakers<K> {
    config: BreakerConfig,
    states: Mutex<HashMap<K, State>>,
}

/// A call that was let through. Dropping it without a verdict counts for nothing.
#[derive(Debug)]
pub(crate) struct Pass<K: Eq + Hash> {
    breakers: Arc<Breakers<K>>,
    key: Option<K>,
    trial: bool,
}

impl<K: Eq + Hash + Clone> Breakers<K> {
    pub(crate) fn new(config: BreakerConfig) -> Arc<Self> {
        Arc::new(Self { config, states: Mutex::default() })
    }

    /// Whether the breaker is open, without trying it: how long still.
    pub(crate) fn open_for(&self, key: &K) -> Option<Duration> {
        match self.states.lock().get(key)? {
            State::Open { until } => {
                Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
            }
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Lets a call through, or says how long not.
    pub(crate) fn admit(self: &Arc<Self>, key: K) -> Result<Pass<K>, Duration> {
        let trial = match self.states.lock().get_mut(&key) {
            None => false,
            Some(state) => state.admit(&self.config, Instant::now())?,
        };
        Ok(Pass { breakers: Arc::clone(self), key: Some(key), trial })
    }

    fn record(&self, key: K, trial: bool, verdict: Verdict) {
        let now = Instant::now();
        let mut states = self.states.lock();
        if let Some(state) = states.get_mut(&key) {
            state.record(&self.config, trial, verdict, now);
            if *state == State::FRESH {
                states.remove(&key);
            }
        } else if verdict == Verdict::Failure {
            if states.len() >= MAX_KEYS {
                states.retain(|_, state| !matches!(state, State::Closed { .. }));
            }
            if states.len() < MAX_KEYS {
                let mut state = State::FRESH;
                state.record(&self.config, trial, verdict, now);
                states.insert(key, state);
            }
        }
    }
}

impl<K: Eq + Hash + Clone> Pass<K> {
    /// Says how the call went.
    pub(crate) fn record(mut self, verdict: Verdict) {
        if let Some(key) = self.key.take() {
            self.breakers.record(key, self.trial, verdict);
        }
    }
}

impl<K: Eq + Hash> Drop for Pass<K> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && self.trial
            && let Some(state) = self.breakers.states.lock().get_mut(&key)
        {
            state.record(&self.breakers.config, true, Verdict::Unknown, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "api.example.com";

    fn fail(breakers: &Arc<Breakers<&'static str>>, times: usize) {
        for _ in 0..times {
            breakers.admit(KEY).unwrap().record(Verdict::Failure);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_for_thirty_seconds() {
        let breakers = Breakers::new(BreakerConfig::default());
        fail(&breakers, 4);
        breakers.admit(KEY).unwrap().record(Verdict::Success);
        fail(&breakers, 4);
        assert!(breakers.open_for(&KEY).is_none());
        fail(&breakers, 1);
        assert_eq!(breakers.open_for(&KEY), Some(Duration::from_secs(30)));
        assert!(breakers.admit("other").is_ok());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(breakers.admit(KEY).unwrap_err(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        // One trial, and only one.
        let trial = breakers.admit(KEY).unwrap();
        assert!(breakers.admit(KEY).is_err());
        trial.record(Verdict::Success);
        assert!(breakers.states.lock().is_empty(), "a healthy key is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_trial_opens_it_again() {
        let breakers = Breakers::new(BreakerConfig::default());
        fail(&breakers, 5);
        tokio::time::advance(Duration::from_secs(30)).await;
        breakers.admit(KEY).unwrap().record(Verdict::Failure);
        assert_eq!(breakers.open_for(&KEY), Some(Duration::from_secs(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_dropped_leaves_the_place_to_the_next() {
        let breakers = Breakers::new(BreakerConfig::default());
        fail(&breakers, 5);
        tokio::time::advance(Duration::from_secs(30)).await;
        drop(breakers.admit(KEY).unwrap());
        breakers.admit(KEY).unwrap().record(Verdict::Success);
        assert!(breakers.open_for(&KEY).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_of_old_calls_change_nothing() {
        let breakers = Breakers::new(BreakerConfig::default());
        let old: Vec<_> = (0..3).map(|_| breakers.admit(KEY).unwrap()).collect();
        fail(&breakers, 5);
        for pass in old {
            pass.record(Verdict::Success);
        }
        assert!(breakers.open_for(&KEY).is_some());
    }
}
