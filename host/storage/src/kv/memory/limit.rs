//! The arithmetic of limits, in integers throughout: what is given back and what is taken never
//! drifts. Times are microseconds; amounts that come back continuously are counted in units
//! times the period, so that a part of a unit is a whole number.

use std::time::Duration;

use crate::kv::{Algorithm, Bucket, Verdict};

/// What is remembered of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Units that are there, times the period.
    TokenBucket { level: u128, capacity: u64, period: u64, at: u64 },
    /// Units that are owed, times the period. With `tat` the theoretical arrival time of the
    /// usual description and `T` its emission interval, this is `(tat - now) / T`.
    Gcra { debt: u128, period: u64, at: u64 },
    /// Units taken in the window `index` and in the one before.
    SlidingWindow { previous: u64, current: u64, period: u64, index: u64 },
    /// Units taken in the window `index`.
    FixedWindow { current: u64, period: u64, index: u64 },
}

/// A bucket looked at: as it is, and as it would be with the cost taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) untouched: Verdict,
    pub(super) taken: Option<(Verdict, State)>,
}

impl State {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::TokenBucket { .. } => Algorithm::TokenBucket,
            Self::Gcra { .. } => Algorithm::Gcra,
            Self::SlidingWindow { .. } => Algorithm::SlidingWindow,
            Self::FixedWindow { .. } => Algorithm::FixedWindow,
        }
    }

    /// Brings what is remembered to `now`, or begins anew.
    fn at(remembered: Option<Self>, bucket: &Bucket, now: u64) -> Self {
        let period = micros(bucket.period);
        let returned = |at: u64| u128::from(bucket.refill) * u128::from(now.saturating_sub(at));
        let full = u128::from(bucket.capacity) * u128::from(period);
        let index = now / period;
        match (bucket.algorithm, remembered) {
            (Algorithm::TokenBucket, Some(Self::TokenBucket { level, period: old, at, .. })) => {
                let level = rescale(level, old, period).saturating_add(returned(at)).min(full);
                Self::TokenBucket { level, capacity: bucket.capacity, period, at: now.max(at) }
            }
            (Algorithm::TokenBucket, _) => {
                Self::TokenBucket { level: full, capacity: bucket.capacity, period, at: now }
            }
            (Algorithm::Gcra, Some(Self::Gcra { debt, period: old, at })) => {
                let debt = rescale(debt, old, period).saturating_sub(returned(at));
                Self::Gcra { debt, period, at: now.max(at) }
            }
            (Algorithm::Gcra, _) => Self::Gcra { debt: 0, period, at: now },
            (
                Algorithm::SlidingWindow,
                Some(Self::SlidingWindow { previous, current, period: old, index: last }),
            ) if old == period => {
                let (previous, current) = match index.saturating_sub(last) {
                    0 => (previous, current),
                    1 => (current, 0),
                    _ => (0, 0),
                };
                Self::SlidingWindow { previous, current, period, index: index.max(last) }
            }
            (Algorithm::SlidingWindow, _) => {
                Self::SlidingWindow { previous: 0, current: 0, period, index }
            }
            (
                Algorithm::FixedWindow,
                Some(Self::FixedWindow { current, period: old, index: last }),
            ) if old == period => {
                let current = if index > last { 0 } else { current };
                Self::FixedWindow { current, period, index: index.max(last) }
            }
            (Algorithm::FixedWindow, _) => Self::FixedWindow { current: 0, period, index },
        }
    }

    /// Looks at a bucket; `bucket` is within its limits and of the remembered algorithm.
    pub(super) fn look(remembered: Option<Self>, bucket: &Bucket, now: u64) -> Look {
        let state = Self::at(remembered, bucket, now);
        let wait = state.wait(bucket, now);
        let untouched = Verdict {
            allowed: wait == 0,
            remaining: state.remaining(bucket, now),
            retry_after: Duration::from_micros(wait),
            reset: Duration::from_micros(state.reset(bucket, now)),
        };
        let taken = (wait == 0).then(|| {
            let after = state.charge(bucket.cost);
            let verdict = Verdict {
                allowed: true,
                remaining: after.remaining(bucket, now),
                retry_after: Duration::ZERO,
                reset: Duration::from_micros(after.reset(bucket, now)),
            };
            (verdict, after)
        });
        Look { untouched, taken }
    }

    /// Microseconds until the cost fits; 0 when it does.
    fn wait(&self, bucket: &Bucket, now: u64) -> u64 {
        match *self {
            Self::TokenBucket { level, period, .. } => {
                let needed = u128::from(bucket.cost) * u128::from(period);
                time_for(needed.saturating_sub(level), bucket.refill)
            }
            Self::Gcra { debt, period, .. } => {
                let room = u128::from(bucket.capacity - bucket.cost) * u128::from(period);
                time_for(debt.saturating_sub(room), bucket.refill)
            }
            Self::SlidingWindow { previous, current, period, index } => {
                let elapsed = now.saturating_sub(index * period).min(period);
                let room = bucket.capacity - bucket.cost;
                if let Some(left) = room.checked_sub(current) {
                    // previous * (period - e) <= left * period, for the least e.
                    let fits_at = overlap_end(left, previous, period);
                    return fits_at.saturating_sub(elapsed);
                }
                // In the next window, where this one is the previous.
                (period - elapsed) + overlap_end(room, current, period)
            }
            Self::FixedWindow { current, period, index } => {
                if u128::from(current) + u128::from(bucket.cost) <= u128::from(bucket.capacity) {
                    0
                } else {
                    (index + 1).saturating_mul(period).saturating_sub(now)
                }
            }
        }
    }

    fn remaining(&self, bucket: &Bucket, now: u64) -> u64 {
        let units = |scaled: u128, period: u64| {
            u64::try_from(scaled / u128::from(period)).unwrap_or(u64::MAX)
        };
        match *self {
            Self::TokenBucket { level, period, .. } => units(level, period),
            Self::Gcra { debt, period, .. } => {
                let full = u128::from(bucket.capacity) * u128::from(period);
                units(full.saturating_sub(debt), period)
            }
            Self::SlidingWindow { previous, current, period, index } => {
                let elapsed = now.saturating_sub(index * period).min(period);
                let full = u128::from(bucket.capacity) * u128::from(period);
                let used = (u128::from(previous) * u128::from(period - elapsed))
                    .saturating_add(u128::from(current) * u128::from(period));
                units(full.saturating_sub(used), period)
            }
            Self::FixedWindow { current, .. } => bucket.capacity.saturating_sub(current),
        }
    }

    /// Microseconds until it is full, or its window ends.
    fn reset(&self, bucket: &Bucket, now: u64) -> u64 {
        match *self {
            Self::TokenBucket { level, period, .. } => {
                let full = u128::from(bucket.capacity) * u128::from(period);
                time_for(full.saturating_sub(level), bucket.refill)
            }
            Self::Gcra { debt, .. } => time_for(debt, bucket.refill),
            Self::SlidingWindow { period, index, .. } | Self::FixedWindow { period, index, .. } => {
                (index + 1).saturating_mul(period).saturating_sub(now)
            }
        }
    }

    fn charge(self, cost: u64) -> Self {
        match self {
            Self::TokenBucket { level, capacity, period, at } => {
                let level = level.saturating_sub(u128::from(cost) * u128::from(period));
                Self::TokenBucket { level, capacity, period, at }
            }
            Self::Gcra { debt, period, at } => {
                let debt = debt.saturating_add(u128::from(cost) * u128::from(period));
                Self::Gcra { debt, period, at }
            }
            Self::SlidingWindow { previous, current, period, index } => {
                let current = current.saturating_add(cost);
                Self::SlidingWindow { previous, current, period, index }
            }
            Self::FixedWindow { current, period, index } => {
                Self::FixedWindow { current: current.saturating_add(cost), period, index }
            }
        }
    }

    /// Gives units back, up to what was there at first.
    pub(super) fn refund(self, units: u64) -> Self {
        match self {
            Self::TokenBucket { level, capacity, period, at } => {
                let full = u128::from(capacity) * u128::from(period);
                let level = level.saturating_add(u128::from(units) * u128::from(period)).min(full);
                Self::TokenBucket { level, capacity, period, at }
            }
            Self::Gcra { debt, period, at } => {
                let debt = debt.saturating_sub(u128::from(units) * u128::from(period));
                Self::Gcra { debt, period, at }
            }
            Self::SlidingWindow { previous, current, period, index } => {
                let previous = previous.saturating_sub(units.saturating_sub(current));
                let current = current.saturating_sub(units);
                Self::SlidingWindow { previous, current, period, index }
            }
            Self::FixedWindow { current, period, index } => {
                Self::FixedWindow { current: current.saturating_sub(units), period, index }
            }
        }
    }

    /// When it is as good as new, so that it may be forgotten.
    pub(super) fn forgotten_at(&self, bucket: &Bucket, now: u64) -> u64 {
        match *self {
            Self::TokenBucket { .. } | Self::Gcra { .. } => {
                now.saturating_add(self.reset(bucket, now))
            }
            Self::SlidingWindow { period, index, .. } => (index + 2).saturating_mul(period),
            Self::FixedWindow { period, index, .. } => (index + 1).saturating_mul(period),
        }
    }
}

/// Microseconds, at least 1.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Units times one period as units times another. Rounds against the taker for what is there
/// only when the period was changed.
fn rescale(scaled: u128, from: u64, to: u64) -> u128 {
    if from == to {
        return scaled;
    }
    let (from, to) = (u128::from(from), u128::from(to));
    (scaled / from).saturating_mul(to).saturating_add((scaled % from).saturating_mul(to) / from)
}

/// Microseconds until `missing` units times the period have come back; each brings `refill`.
fn time_for(missing: u128, refill: u64) -> u64 {
    u64::try_from(missing.div_ceil(u128::from(refill))).unwrap_or(u64::MAX)
}

/// How far into a window the weight of `previous` has fallen to `left` units.
fn overlap_end(left: u64, previous: u64, period: u64) -> u64 {
    if previous <= left {
        return 0;
    }
    let overlap = u128::from(left) * u128::from(period) / u128::from(previous);
    period - u64::try_from(overlap).unwrap_or(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn bucket(algorithm: Algorithm, capacity: u64, refill: u64, cost: u64) -> Bucket {
        let period = Duration::from_secs(1);
        Bucket { key: "k".to_owned(), algorithm, capacity, refill, period, cost }
    }

    /// Takes as told; answers `(allowed, remaining, retry-after µs)` of each.
    fn run(bucket: &Bucket, times: &[u64]) -> Vec<(bool, u64, u64)> {
        let mut state = None;
        let mut verdicts = Vec::new();
        for now in times {
            let look = State::look(state, bucket, *now);
            let verdict = match look.taken {
                Some((verdict, after)) => {
                    state = Some(after);
                    verdict
                }
                None => look.untouched,
            };
            let wait = u64::try_from(verdict.retry_after.as_micros()).expect("short");
            verdicts.push((verdict.allowed, verdict.remaining, wait));
        }
        verdicts
    }

    #[test]
    fn a_token_bucket_refills_continuously() {
        // 3 a second: one each 333 333 1/3 µs.
        let bucket = bucket(Algorithm::TokenBucket, 3, 3, 1);
        assert_eq!(
            run(&bucket, &[0, 0, 0, 0, 333_333, 333_334, 666_667]),
            [
                (true, 2, 0),
                (true, 1, 0),
                (true, 0, 0),
                (false, 0, 333_334),
                (false, 0, 1),
                (true, 0, 0),
                (true, 0, 0),
            ]
        );
    }

    #[test]
    fn gcra_admits_a_burst_and_then_one_each_interval() {
        let bucket = bucket(Algorithm::Gcra, 2, 4, 1);
        assert_eq!(
            run(&bucket, &[0, 0, 0, 250_000, 250_000, SECOND]),
            [
                (true, 1, 0),
                (true, 0, 0),
                (false, 0, 250_000),
                (true, 0, 0),
                (false, 0, 250_000),
                (true, 1, 0),
            ]
        );
    }

    #[test]
    fn a_fixed_window_is_aligned() {
        let bucket = bucket(Algorithm::FixedWindow, 2, 1, 1);
        assert_eq!(
            run(&bucket, &[SECOND - 10, SECOND - 5, SECOND - 1, SECOND]),
            [(true, 1, 0), (true, 0, 0), (false, 0, 1), (true, 1, 0)]
        );
    }

    #[test]
    fn a_sliding_window_weighs_the_previous_one() {
        let bucket = bucket(Algorithm::SlidingWindow, 4, 1, 1);
        let verdicts = run(
            &bucket,
            &[0, 0, 0, 0, 0, SECOND, SECOND + 249_999, SECOND + 250_000, SECOND + 250_000],
        );
        // Four in the window before: one leaves each quarter.
        assert_eq!(verdicts[4], (false, 0, SECOND + 250_000));
        assert_eq!(verdicts[5], (false, 0, 250_000));
        assert_eq!(verdicts[6], (false, 0, 1));
        assert_eq!(verdicts[7], (true, 0, 0));
        assert_eq!(verdicts[8], (false, 0, 250_000));
    }

    #[test]
    fn waiting_as_told_is_enough_and_not_too_long() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            (seed >> 33) % below
        };
        let algorithms = [
            Algorithm::TokenBucket,
            Algorithm::Gcra,
            Algorithm::SlidingWindow,
            Algorithm::FixedWindow,
        ];
        for round in 0..2_000 {
            let capacity = 1 + random(20);
            let mut bucket = bucket(algorithms[round % 4], capacity, 1 + random(30), 1);
            bucket.period = Duration::from_micros(1 + random(5_000));
            let mut state = None;
            let mut now = random(1_000_000);
            for _ in 0..40 {
                bucket.cost = random(capacity + 1);
                let look = State::look(state, &bucket, now);
                if let Some((_, after)) = look.taken {
                    state = Some(after);
                    now += random(500);
                    continue;
                }
                let wait = u64::try_from(look.untouched.retry_after.as_micros()).expect("short");
                assert!(wait > 0);
                assert!(State::look(state, &bucket, now + wait).taken.is_some(), "{bucket:?}");
                assert!(State::look(state, &bucket, now + wait - 1).taken.is_none(), "{bucket:?}");
                now += random(wait + 1);
            }
        }
    }

    #[test]
    fn a_refund_makes_a_take_undone() {
        for algorithm in [Algorithm::TokenBucket, Algorithm::Gcra, Algorithm::FixedWindow] {
            let bucket = bucket(algorithm, 5, 1, 3);
            let (_, taken) = State::look(None, &bucket, 10).taken.expect("room");
            let refunded = State::look(Some(taken.refund(3)), &bucket, 10);
            assert_eq!(refunded.untouched.remaining, 5, "{algorithm:?}");
            let too_much = State::look(Some(taken.refund(30)), &bucket, 10);
            assert_eq!(too_much.untouched.remaining, 5, "{algorithm:?}");
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        for algorithm in [
            Algorithm::TokenBucket,
            Algorithm::Gcra,
            Algorithm::SlidingWindow,
            Algorithm::FixedWindow,
        ] {
            let mut bucket = bucket(algorithm, u64::MAX, u64::MAX, u64::MAX);
            bucket.period = Duration::from_secs(366 * 24 * 60 * 60);
            let now = 1 << 51;
            let (_, state) = State::look(None, &bucket, now).taken.expect("room");
            assert!(State::look(Some(state), &bucket, now).taken.is_none(), "{algorithm:?}");
            let later = State::look(Some(state.refund(u64::MAX)), &bucket, now + 5);
            assert!(later.taken.is_some(), "{algorithm:?}");
        }
    }
}
