//! Checks: what the other services ask.

use sdk::{
    Error, Result, Schema, Timestamp, Violation, context, crypto,
    http::{Caller, Json, NoContent, Routes},
};
use serde::{Deserialize, Serialize};

use super::{in_force, usage};
use crate::{
    domain::{Bucket, Count, Counted, Item, NamedPolicy, Outcome, count, judge},
    store::counters,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "checks";
    /// Takes from several limits at once.
    ///
    /// All that are enforced have room and all are charged, or none is. Items that a policy
    /// counts together are one.
    POST "/internal/v1/limits/check" => check;
    /// Says what a check would answer, and takes nothing.
    POST "/internal/v1/limits/peek" => peek;
    /// Gives back what a check has taken and was not used.
    POST "/internal/v1/limits/refund" => refund;
};

/// What to count.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Items {
    /// The limits.
    #[schema(min_items = 1, max_items = 16)]
    items: Vec<Item>,
}

/// The answer to a check.
#[derive(Debug, Serialize, Schema)]
struct Verdict {
    /// Whether the request may go on.
    allowed: bool,
    /// The policy that decided: the refusal that lasts longest, or else the limit with least left.
    policy: String,
    /// Its units.
    limit: i64,
    /// What is left of them.
    remaining: u64,
    /// Seconds until all is there again.
    reset_seconds: u64,
    /// Seconds until the same request would be allowed; null if it is, or never will be.
    retry_after_seconds: Option<u64>,
    /// Whether the counters could not be reached, and the policies decided blindly.
    degraded: bool,
    /// Each limit, in order.
    items: Vec<Outcome>,
}

fn check(_caller: Caller, Json(input): Json<Items>) -> Result<Json<Verdict>> {
    let policies = policies_of(&input.items)?;
    let now = Timestamp::now();
    let counts = counts_of(&input.items, &policies, now)?;
    let (counted, degraded) = match take(&counts) {
        Ok(counted) => (counted, false),
        Err(error) if error.is_retryable() => {
            sdk::warn!(code = error.code(), "the counters cannot be reached: {}", error.detail());
            (counts.iter().map(Count::blind).collect(), true)
        }
        Err(error) => return Err(error),
    };
    let verdict = verdict(&input.items, &policies, &counts, &counted, now, degraded)?;
    if !degraded && context::tenant().is_some() {
        usage::note(&counts, &counted, verdict.allowed, now);
    }
    Ok(Json(verdict))
}

fn peek(_caller: Caller, Json(input): Json<Items>) -> Result<Json<Verdict>> {
    let policies = policies_of(&input.items)?;
    let now = Timestamp::now();
    let counts = counts_of(&input.items, &policies, now)?;
    let buckets: Vec<Bucket> =
        counts.iter().map(|count| Bucket { cost: 0, ..count.bucket.clone() }).collect();
    let mut counted = counters::take(&buckets)?;
    for (count, counted) in counts.iter().zip(&mut counted) {
        if counted.remaining < count.bucket.cost {
            counted.allowed = false;
            counted.retry_after_ms = counted.reset_ms;
        }
    }
    verdict(&input.items, &policies, &counts, &counted, now, false).map(Json)
}

fn refund(_caller: Caller, Json(input): Json<Items>) -> Result<NoContent> {
    let policies = policies_of(&input.items)?;
    for count in counts_of(&input.items, &policies, Timestamp::now())? {
        counters::refund(&count.bucket)?;
    }
    Ok(NoContent)
}

fn policies_of(items: &[Item]) -> Result<Vec<NamedPolicy>> {
    let names: Vec<&str> = items.iter().map(|item| item.policy.as_str()).collect();
    let found = in_force::policies(&names)?;
    let unknown: Vec<Violation> = found
        .iter()
        .enumerate()
        .filter(|(_, policy)| policy.is_none())
        .map(|(at, _)| Violation::new(format!("/items/{at}/policy"), "is not a policy"))
        .collect();
    if unknown.is_empty() {
        Ok(found.into_iter().flatten().collect())
    } else {
        Err(Error::violations(unknown))
    }
}

/// The buckets, those with the same key as one with the sum of their costs.
fn counts_of<'a>(
    items: &[Item],
    policies: &'a [NamedPolicy],
    now: Timestamp,
) -> Result<Vec<Count<'a>>> {
    let mut counts: Vec<Count<'a>> = Vec::with_capacity(items.len());
    for (at, (item, policy)) in items.iter().zip(policies).enumerate() {
        let one = bucket_of(at, item, policy, now)?;
        match counts.iter_mut().find(|count| count.bucket.key == one.bucket.key) {
            Some(count) => {
                count.bucket.cost = count.bucket.cost.saturating_add(one.bucket.cost);
                count.too_much = count.bucket.cost > count.bucket.capacity;
            }
            None => counts.push(one),
        }
    }
    Ok(counts)
}

fn bucket_of<'a>(
    at: usize,
    item: &Item,
    policy: &'a NamedPolicy,
    now: Timestamp,
) -> Result<Count<'a>> {
    count(item, policy, now, |key| crypto::sha256_hex(key.as_bytes())).ok_or_else(|| {
        Error::violation(format!("/items/{at}/key"), "has nothing that the policy counts by")
    })
}

/// One atomic take. A policy in shadow mode that has no room must not keep the others from being
/// counted: then once more without it.
fn take(counts: &[Count<'_>]) -> Result<Vec<Counted>> {
    let mut buckets: Vec<Bucket> = counts.iter().map(|count| count.bucket.clone()).collect();
    let refuses_by_size = counts.iter().any(|count| count.too_much && count.is_enforced());
    for (bucket, count) in buckets.iter_mut().zip(counts) {
        // More than there ever is: the store would not take it as a cost.
        if refuses_by_size || count.too_much {
            bucket.cost = 0;
        }
    }
    let mut in_shadow: Vec<Option<Counted>> = vec![None; counts.len()];
    loop {
        let mut counted = counters::take(&buckets)?;
        let refused: Vec<usize> = (0..counts.len()).filter(|at| !counted[*at].allowed).collect();
        let only_shadows = refused.iter().all(|at| !counts[*at].is_enforced());
        if refused.is_empty() || !only_shadows {
            for (counted, shadow) in counted.iter_mut().zip(in_shadow) {
                if let Some(shadow) = shadow {
                    *counted = shadow;
                }
            }
            return Ok(counted);
        }
        for at in refused {
            in_shadow[at] = Some(counted[at]);
            buckets[at].cost = 0;
        }
    }
}

fn verdict(
    items: &[Item],
    policies: &[NamedPolicy],
    counts: &[Count<'_>],
    counted: &[Counted],
    now: Timestamp,
    degraded: bool,
) -> Result<Verdict> {
    let mut outcomes = Vec::with_capacity(items.len());
    for (at, (item, policy)) in items.iter().zip(policies).enumerate() {
        let key = bucket_of(at, item, policy, now)?.bucket.key;
        let same = counts.iter().zip(counted).find(|(count, _)| count.bucket.key == key);
        let (count, counted) = same.ok_or_else(|| Error::internal("a bucket was not counted"))?;
        outcomes.push(count.outcome(counted, now));
    }
    let (allowed, one) = judge(&outcomes);
    let one = one.cloned().ok_or_else(|| Error::internal("a check of nothing"))?;
    Ok(Verdict {
        allowed,
        policy: one.policy,
        limit: one.limit,
        remaining: one.remaining,
        reset_seconds: one.reset_seconds,
        retry_after_seconds: one.retry_after_seconds.filter(|_| !allowed),
        degraded,
        items: outcomes,
    })
}
