use std::{cmp::Reverse, time::Duration};

use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use crate::svid::Validity;

/// The wait after the first failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// No wait is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(150);
/// How much a wait differs from its value at most.
const RETRY_JITTER: f64 = 0.2;
/// How much the moment of renewal differs from half of the life at most, in parts of the life.
const RENEWAL_JITTER: f64 = 0.01;
/// A certificate that comes past half of its life is not renewed sooner than this, in microseconds.
const SOONEST_RENEWAL: i64 = 5_000_000;

/// How urgent a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A renewal: the one before is still valid.
    Background,
    /// A service is about to start.
    Warmup,
    /// A handshake waits.
    RealTime,
}

/// One identity that is wanted.
pub(super) struct Entry {
    pub(super) priority: Priority,
    /// The order of wishes.
    wish: u64,
    /// When a certificate is due, in microseconds since the epoch.
    pub(super) renew_at: i64,
    /// Before it, nothing is tried again.
    retry_at: Option<Instant>,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    /// The number of the attempt that is under way.
    pub(super) running: Option<u64>,
    /// Counts the attempts that have ended.
    pub(super) attempts: watch::Sender<u64>,
}

impl Entry {
    pub(super) fn new(wish: u64, renew_at: i64) -> Self {
        Self {
            priority: Priority::Background,
            wish,
            renew_at,
            retry_at: None,
            failures: 0,
            last_error: None,
            running: None,
            attempts: watch::Sender::new(0),
        }
    }

    /// How long nothing is to be done for it.
    pub(super) fn wait(&self, now: Instant, wall_micros: i64) -> Duration {
        if self.running.is_some() {
            return Duration::MAX;
        }
        let due = self.renew_at.saturating_sub(wall_micros);
        let due = Duration::from_micros(u64::try_from(due).unwrap_or(0));
        let retry = self.retry_at.map(|at| at.saturating_duration_since(now));
        due.max(retry.unwrap_or_default())
    }

    /// A handshake waits, and there is no valid certificate.
    pub(super) fn need_now(&mut self) {
        self.priority = Priority::RealTime;
        self.renew_at = i64::MIN;
    }

    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.running.is_none() && self.retry_at.is_some_and(|at| at > now)
    }

    /// The smallest is the most urgent.
    pub(super) fn urgency(&self) -> (Reverse<Priority>, i64, u64) {
        (Reverse(self.priority), self.renew_at, self.wish)
    }

    pub(super) fn succeeded(&mut self, renew_at: i64) {
        self.renew_at = renew_at;
        self.retry_at = None;
        self.failures = 0;
        self.last_error = None;
        self.end();
    }

    pub(super) fn failed(&mut self, error: String) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + retry_after(self.failures));
        self.last_error = Some(error);
        self.end();
    }

    fn end(&mut self) {
        self.running = None;
        self.priority = Priority::Background;
        self.attempts.send_modify(|attempts| *attempts += 1);
    }
}

/// When a certificate is renewed: at half of its life, give or take 1 % of it. Where that has
/// passed, at half of what is left, but not at once. Microseconds since the epoch.
pub(super) fn renew_at(validity: Validity, now: i64) -> i64 {
    let micros = |seconds: i64| seconds.saturating_mul(1_000_000);
    let length = micros(validity.length());
    #[expect(clippy::cast_possible_truncation, reason = "1 % of a life fits")]
    let jitter = (length as f64 * RENEWAL_JITTER * signed_fraction()) as i64;
    let half = micros(validity.not_before).saturating_add(length / 2).saturating_add(jitter);
    if half > now {
        return half;
    }
    let left = micros(validity.not_after).saturating_sub(now).max(0);
    now.saturating_add((left / 2).max(SOONEST_RENEWAL))
}

/// The wait after so many failures in a row.
fn retry_after(failures: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let jitter = 1.0 + RETRY_JITTER * signed_fraction();
    doubled.min(LONGEST_RETRY).mul_f64(jitter).min(LONGEST_RETRY)
}

/// A random number of -1 to 1; 0 where the system has no randomness.
fn signed_fraction() -> f64 {
    getrandom::u32().map_or(0.0, |random| 2.0 * (f64::from(random) / f64::from(u32::MAX)) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_a_bound() {
        for (failures, millis) in [(1, 500), (2, 1_000), (5, 8_000), (9, 128_000), (10, 150_000)] {
            for _ in 0..50 {
                let wait = retry_after(failures).as_secs_f64() * 1_000.0;
                let around = f64::from(millis);
                assert!((around * 0.8..=around * 1.2).contains(&wait), "{failures}: {wait}");
                assert!(retry_after(failures) <= LONGEST_RETRY);
            }
        }
        assert!(retry_after(u32::MAX) >= LONGEST_RETRY.mul_f64(0.8));
    }

    #[test]
    fn certificates_are_renewed_at_half_of_their_life() {
        const DAY: i64 = 86_400_000_000;
        let validity = Validity { not_before: 0, not_after: 86_400 };
        let around = |at: i64, expected: i64, spread: i64| (at - expected).abs() <= spread;
        for _ in 0..50 {
            assert!(around(renew_at(validity, 0), DAY / 2, DAY / 100));
        }
        assert_eq!(renew_at(validity, DAY * 3 / 4), DAY * 7 / 8);
        assert_eq!(renew_at(validity, DAY), DAY + SOONEST_RENEWAL);
        assert_eq!(renew_at(validity, 2 * DAY), 2 * DAY + SOONEST_RENEWAL);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_urgent_is_a_renewal_afterwards() {
        let ends: [fn(&mut Entry); 2] =
            [|entry| entry.succeeded(5), |entry| entry.failed("why".to_owned())];
        for end in ends {
            let mut entry = Entry::new(1, 9);
            entry.need_now();
            assert_eq!(entry.urgency(), (Reverse(Priority::RealTime), i64::MIN, 1));
            assert_eq!(entry.wait(Instant::now(), 0), Duration::ZERO);
            entry.running = Some(1);
            assert_eq!(entry.wait(Instant::now(), 0), Duration::MAX);
            end(&mut entry);
            assert_eq!(entry.priority, Priority::Background);
            assert!(entry.wait(Instant::now(), 0) > Duration::ZERO);
            assert_eq!(*entry.attempts.borrow(), 1);
        }
    }

    #[test]
    fn the_urgent_comes_first_and_then_the_oldest() {
        let entry = |priority, renew_at, wish| Entry { priority, ..Entry::new(wish, renew_at) };
        let mut entries = [
            entry(Priority::Background, 1, 1),
            entry(Priority::Warmup, 9, 2),
            entry(Priority::RealTime, 9, 4),
            entry(Priority::RealTime, 9, 3),
            entry(Priority::Background, 0, 5),
        ];
        entries.sort_by_key(Entry::urgency);
        assert_eq!(entries.map(|entry| entry.wish), [3, 4, 2, 5, 1]);
    }
}
