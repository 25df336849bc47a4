//! The algorithms of `kv.take`, with the test's clock.

use crate::bindings::pyairtable::storage::kv::{Algorithm, Bucket, Verdict};

/// What is stored of a limit. Units are kept in thousandths, so that refills are not rounded away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    algorithm: Algorithm,
    /// Token bucket: level; GCRA: theoretical arrival time in milliseconds; windows: used now.
    amount: i128,
    /// Sliding window: used in the window before.
    before: i128,
    /// When `amount` was computed, or the start of the window, in milliseconds.
    at: i128,
    capacity: i128,
    refill: i128,
    period: i128,
}

const SCALE: i128 = 1000;

/// The verdict on one bucket, and what to store if all are allowed.
pub(super) fn judge(stored: Option<Limit>, bucket: &Bucket, now_ms: i64) -> (Verdict, Limit) {
    let now = i128::from(now_ms);
    let capacity = i128::from(bucket.capacity) * SCALE;
    let cost = i128::from(bucket.cost) * SCALE;
    let refill = i128::from(bucket.refill).max(1) * SCALE;
    let period = i128::from(bucket.period_ms).max(1);
    let stored = stored.filter(|limit| limit.algorithm == bucket.algorithm);
    let base = Limit {
        algorithm: bucket.algorithm,
        amount: 0,
        before: 0,
        at: now,
        capacity,
        refill,
        period,
    };
    let (allowed, left, retry, reset, next) = match bucket.algorithm {
        Algorithm::TokenBucket => {
            let level = stored.map_or(capacity, |limit| {
                (limit.amount + (now - limit.at).max(0) * refill / period).min(capacity)
            });
            let allowed = level >= cost;
            let left = if allowed { level - cost } else { level };
            let retry = if allowed { 0 } else { ceil((cost - level) * period, refill) };
            let reset = ceil((capacity - left) * period, refill);
            (allowed, left, retry, reset, Limit { amount: left, ..base })
        }
        Algorithm::Gcra => {
            // Times in thousandths of a millisecond per unit of SCALE.
            let interval = |units: i128| units * period * SCALE / refill;
            let tat = stored.map_or(now * SCALE, |limit| limit.amount.max(now * SCALE));
            let next = tat + interval(cost);
            let allowed = next - now * SCALE <= interval(capacity);
            let tat = if allowed { next } else { tat };
            let left = capacity - (tat - now * SCALE) * refill / (period * SCALE);
            let retry =
                if allowed { 0 } else { ceil(next - interval(capacity) - now * SCALE, SCALE) };
            (allowed, left, retry, ceil(tat - now * SCALE, SCALE), Limit { amount: tat, ..base })
        }
        Algorithm::SlidingWindow | Algorithm::FixedWindow => {
            let start = now - now.rem_euclid(period);
            let (mut used, mut before) = match stored {
                Some(limit) if limit.at == start => (limit.amount, limit.before),
                Some(limit) if limit.at == start - period => (0, limit.amount),
                _ => (0, 0),
            };
            if bucket.algorithm == Algorithm::FixedWindow {
                before = 0;
            }
            let weighted = before * (period - (now - start)) / period + used;
            let allowed = weighted + cost <= capacity;
            let reset = start + period - now;
            let mut left = capacity - weighted;
            if allowed {
                used += cost;
                left -= cost;
            }
            let retry = if allowed {
                0
            } else if before > 0 && used + cost <= capacity {
                // Until enough of the window before has slid out.
                let excess = weighted + cost - capacity;
                ceil(excess * period, before).min(reset)
            } else {
                reset
            };
            (allowed, left, retry, reset, Limit { amount: used, before, at: start, ..base })
        }
    };
    let number = |n: i128| u64::try_from(n.max(0)).unwrap_or(u64::MAX);
    let verdict = Verdict {
        allowed,
        remaining: number(left / SCALE),
        retry_after_ms: number(retry),
        reset_ms: number(reset),
    };
    (verdict, next)
}

/// Gives units back.
pub(super) fn refund(limit: &mut Limit, units: u64) {
    let units = i128::from(units) * SCALE;
    match limit.algorithm {
        Algorithm::TokenBucket => limit.amount = (limit.amount + units).min(limit.capacity),
        Algorithm::Gcra => limit.amount -= units * limit.period * SCALE / limit.refill,
        Algorithm::SlidingWindow | Algorithm::FixedWindow => {
            limit.amount = (limit.amount - units).max(0);
        }
    }
}

fn ceil(a: i128, b: i128) -> i128 {
    (a.max(0) + b - 1) / b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(algorithm: Algorithm, cost: u64) -> Bucket {
        Bucket { key: "k".into(), algorithm, capacity: 2, refill: 2, period_ms: 1000, cost }
    }

    #[test]
    fn two_a_second_by_every_algorithm() {
        for algorithm in [
            Algorithm::TokenBucket,
            Algorithm::Gcra,
            Algorithm::SlidingWindow,
            Algorithm::FixedWindow,
        ] {
            let one = bucket(algorithm, 1);
            let (first, limit) = judge(None, &one, 10_000);
            let (second, limit) = judge(Some(limit), &one, 10_000);
            assert!(first.allowed && second.allowed, "{algorithm:?}");
            assert_eq!((first.remaining, second.remaining), (1, 0), "{algorithm:?}");
            let (third, kept) = judge(Some(limit), &one, 10_000);
            assert!(!third.allowed, "{algorithm:?}");
            let later = 10_000 + i64::try_from(third.retry_after_ms).unwrap();
            if algorithm != Algorithm::SlidingWindow {
                assert!(judge(Some(kept), &one, later).0.allowed, "{algorithm:?}");
            }
            assert!(!judge(Some(kept), &one, later - 1).0.allowed, "{algorithm:?}");
            assert!(judge(Some(kept), &one, 12_000).0.allowed, "{algorithm:?}");
        }
    }
}
