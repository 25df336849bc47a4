//! The counters: one atomic call a check.

use sdk::{Result, kv};

use crate::domain::{Algorithm, Bucket, Counted};

fn algorithm(algorithm: Algorithm) -> kv::Algorithm {
    match algorithm {
        Algorithm::TokenBucket => kv::Algorithm::TokenBucket,
        Algorithm::Gcra => kv::Algorithm::Gcra,
        Algorithm::SlidingWindow => kv::Algorithm::SlidingWindow,
        Algorithm::FixedWindow | Algorithm::Quota => kv::Algorithm::FixedWindow,
    }
}

/// Most buckets of a check.
pub(crate) const MOST: usize = 16;

/// Takes from all buckets, or from none; one answer for each.
pub(crate) fn take(buckets: &[Bucket]) -> Result<Vec<Counted>> {
    let buckets: Vec<kv::Bucket> = buckets
        .iter()
        .map(|bucket| kv::Bucket {
            key: bucket.key.clone(),
            algorithm: algorithm(bucket.algorithm),
            capacity: bucket.capacity,
            refill: bucket.refill,
            period_ms: bucket.period_ms,
            cost: bucket.cost,
        })
        .collect();
    let verdicts = kv::take(&buckets)?;
    Ok(verdicts
        .into_iter()
        .map(|verdict| Counted {
            allowed: verdict.allowed,
            remaining: verdict.remaining,
            retry_after_ms: verdict.retry_after_ms,
            reset_ms: verdict.reset_ms,
        })
        .collect())
}

/// Gives units back.
pub(crate) fn refund(bucket: &Bucket) -> Result<()> {
    kv::refund(&bucket.key, algorithm(bucket.algorithm), bucket.cost)
}
