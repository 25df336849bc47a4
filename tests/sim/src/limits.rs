//! Rate limits: requests a second for a base and for a token, then a pause.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::LimitConfig;

/// Bases and tokens remembered; idle ones are dropped when there are more.
const MAX_KEYS: usize = 4096;

/// Counts requests and refuses those beyond the limits.
#[derive(Debug)]
pub(crate) struct Limiter(Mutex<State>);

#[derive(Debug)]
struct State {
    config: LimitConfig,
    windows: HashMap<(Scope, String), Window>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    Base,
    Token,
}

#[derive(Debug, Default)]
struct Window {
    seen: VecDeque<Instant>,
    refused_until: Option<Instant>,
}

impl Window {
    /// Counts a request; the time left of a pause when it is refused.
    fn admit(&mut self, now: Instant, limit: u32, pause: Duration) -> Result<(), Duration> {
        if let Some(until) = self.refused_until {
            if now < until {
                return Err(until - now);
            }
            self.refused_until = None;
            self.seen.clear();
        }
        while self.seen.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1))
        {
            self.seen.pop_front();
        }
        if self.seen.len() >= limit as usize {
            self.refused_until = Some(now + pause);
            return Err(pause);
        }
        self.seen.push_back(now);
        Ok(())
    }

    fn idle(&self, now: Instant) -> bool {
        let paused = self.refused_until.is_some_and(|until| now < until);
        let recent = self.seen.back().is_some_and(|at| now.duration_since(*at).as_secs() < 1);
        !paused && !recent
    }
}

impl Limiter {
    pub(crate) fn new(config: LimitConfig) -> Self {
        Self(Mutex::new(State { config, windows: HashMap::new() }))
    }

    /// The limits in force.
    pub(crate) fn config(&self) -> LimitConfig {
        self.0.lock().config.clone()
    }

    /// Puts other limits in force and forgets all counts.
    pub(crate) fn configure(&self, config: LimitConfig) {
        let mut state = self.0.lock();
        state.config = config;
        state.windows.clear();
    }

    /// Forgets all counts.
    pub(crate) fn clear(&self) {
        self.0.lock().windows.clear();
    }

    /// Counts a request; the time left of the pause when it is refused.
    pub(crate) fn admit(&self, token: &str, base: Option<&str>) -> Result<(), Duration> {
        let mut state = self.0.lock();
        let now = Instant::now();
        if state.windows.len() > MAX_KEYS {
            state.windows.retain(|_, window| !window.idle(now));
        }
        let pause = state.config.pause;
        let counted = [
            (Scope::Token, Some(token), state.config.per_token),
            (Scope::Base, base, state.config.per_base),
        ];
        for (scope, key, limit) in counted {
            if let (Some(key), Some(limit)) = (key, limit) {
                let window = state.windows.entry((scope, key.to_owned())).or_default();
                window.admit(now, limit, pause)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_a_second_then_a_pause() {
        let limiter = Limiter::new(LimitConfig::default());
        for _ in 0..5 {
            assert_eq!(limiter.admit("t", Some("a")), Ok(()));
        }
        assert_eq!(limiter.admit("t", Some("a")), Err(Duration::from_secs(30)));
        assert_eq!(limiter.admit("t", Some("b")), Ok(()));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(limiter.admit("t", Some("a")), Err(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..5 {
            assert_eq!(limiter.admit("t", Some("a")), Ok(()));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.admit("t", Some("a")), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_a_second_for_a_token() {
        let limiter = Limiter::new(LimitConfig::default());
        for n in 0..50 {
            assert_eq!(limiter.admit("t", Some(&format!("app{n}"))), Ok(()));
        }
        assert!(limiter.admit("t", None).is_err());
        assert_eq!(limiter.admit("other", None), Ok(()));
    }
}
