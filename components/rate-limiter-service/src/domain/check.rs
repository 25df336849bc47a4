//! What a check counts, and what it answers.

use std::fmt::Write as _;

use sdk::{Schema, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Algorithm, Mode, NamedPolicy, OnFailure, Span, policy::Dimension};

/// Who and what is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// The tenant.
    #[schema(min_length = 1, max_length = 300)]
    pub(crate) tenant: Option<String>,
    /// The user, or what stands for one.
    #[schema(min_length = 1, max_length = 300)]
    pub(crate) user: Option<String>,
    /// The token.
    #[schema(min_length = 1, max_length = 300)]
    pub(crate) token: Option<String>,
    /// The client's address.
    #[schema(min_length = 1, max_length = 300)]
    pub(crate) ip: Option<String>,
    /// The route.
    #[schema(min_length = 1, max_length = 300)]
    pub(crate) route: Option<String>,
}

/// One limit to be counted against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// Name of the policy.
    #[schema(min_length = 1, max_length = 100, example = "gateway.user")]
    pub(crate) policy: String,
    /// Who and what.
    #[serde(default)]
    #[schema(example = json("{\"tenant\": \"t\", \"user\": \"u\", \"ip\": \"192.0.2.7\"}"))]
    pub(crate) key: Key,
    /// How much.
    #[serde(default = "one")]
    #[schema(min = 0, max = 1_000_000_000_000_i64, example = 1)]
    pub(crate) cost: i64,
}

fn one() -> i64 {
    1
}

/// What the store counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) key: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) capacity: u64,
    pub(crate) refill: u64,
    pub(crate) period_ms: u64,
    pub(crate) cost: u64,
}

/// What the store says of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) allowed: bool,
    pub(crate) remaining: u64,
    pub(crate) retry_after_ms: u64,
    pub(crate) reset_ms: u64,
}

/// A bucket of a check with the policy it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Count<'a> {
    pub(crate) policy: &'a NamedPolicy,
    /// What is counted apart, for people: `tenant`, `user:<id>`.
    pub(crate) scope: String,
    pub(crate) bucket: Bucket,
    /// The window of a quota.
    pub(crate) span: Option<Span>,
    /// More than there ever is.
    pub(crate) too_much: bool,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct Outcome {
    /// The policy.
    pub(crate) policy: String,
    /// Its version.
    pub(crate) version: i64,
    /// Whether there was room. If one of the items that are enforced had none, nothing was taken.
    pub(crate) allowed: bool,
    /// Whether it refuses.
    pub(crate) mode: Mode,
    /// Most units.
    pub(crate) limit: i64,
    /// Units left.
    pub(crate) remaining: u64,
    /// Seconds until all is there again or the window ends, rounded up.
    pub(crate) reset_seconds: u64,
    /// Seconds until the cost fits, rounded up; null when it did, or never will.
    pub(crate) retry_after_seconds: Option<u64>,
    /// The same, exactly.
    pub(crate) retry_after_ms: Option<u64>,
}

fn part<'a>(key: &'a Key, dimension: Dimension) -> Option<&'a str> {
    let part: &'a Option<String> = match dimension {
        Dimension::Tenant => &key.tenant,
        Dimension::User => &key.user,
        Dimension::Token => &key.token,
        Dimension::Ip => &key.ip,
        Dimension::Route => &key.route,
    };
    part.as_deref()
}

/// The bucket of an item. What of the policy's dimensions is not known is counted together; if
/// none is, the item is not for this policy. `digest` shortens and hides keys that are long or
/// personal.
pub(crate) fn count<'a>(
    item: &Item,
    policy: &'a NamedPolicy,
    now: Timestamp,
    digest: impl Fn(&str) -> String,
) -> Option<Count<'a>> {
    let rule = &policy.policy.rule;
    rule.by.iter().find_map(|dimension| part(&item.key, *dimension))?;
    let (mut parts, mut scope) = (String::new(), String::new());
    for dimension in &rule.by {
        let value = part(&item.key, *dimension).unwrap_or_default();
        // With its length no value can be taken for another's parts.
        let written = write!(parts, "/{dimension}:{}:{value}", value.len());
        let separator = if scope.is_empty() { "" } else { "," };
        let shown = match dimension {
            Dimension::Tenant => write!(scope, "{separator}tenant"),
            _ => write!(scope, "{separator}{dimension}:{value}"),
        };
        // Writing to a string cannot fail.
        debug_assert!(written.is_ok() && shown.is_ok());
    }
    if parts.len() > 160 || parts.contains('@') {
        parts = digest(&parts);
    }
    let span = rule.window.map(|window| window.at(now));
    let window = span.map(|span| span.start.as_seconds().to_string()).unwrap_or_default();
    let period_ms = match span {
        Some(span) => span.period_ms(),
        None => unsigned(rule.period_seconds.unwrap_or(1)).saturating_mul(1000),
    };
    let (capacity, cost) = (unsigned(rule.capacity), unsigned(item.cost));
    Some(Count {
        policy,
        scope,
        bucket: Bucket {
            // Another algorithm counts anew.
            key: format!("{}:{}:{window}{parts}", rule.algorithm, policy.name),
            algorithm: rule.algorithm,
            capacity,
            refill: unsigned(rule.refill.unwrap_or(1)),
            period_ms,
            cost,
        },
        span,
        too_much: cost > capacity,
    })
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Count<'_> {
    pub(crate) fn is_enforced(&self) -> bool {
        self.policy.policy.rule.mode == Mode::Enforce
    }

    /// Units used in a quota's window.
    pub(crate) fn used(&self, counted: &Counted) -> u64 {
        self.bucket.capacity.saturating_sub(counted.remaining)
    }

    /// What is answered for it.
    pub(crate) fn outcome(&self, counted: &Counted, now: Timestamp) -> Outcome {
        let seconds = |ms: u64| ms.div_ceil(1000);
        // The store's window is longer than the calendar's.
        let (reset_ms, retry_ms) = match self.span {
            Some(span) => (span.left_ms(now), span.left_ms(now)),
            None => (counted.reset_ms, counted.retry_after_ms),
        };
        let allowed = counted.allowed && !self.too_much;
        let retry_after_ms = (!allowed && !self.too_much).then_some(retry_ms);
        Outcome {
            policy: self.policy.name.clone(),
            version: self.policy.policy.version,
            allowed,
            mode: self.policy.policy.rule.mode,
            limit: self.policy.policy.rule.capacity,
            remaining: counted.remaining,
            reset_seconds: seconds(reset_ms),
            retry_after_seconds: retry_after_ms.map(|ms| seconds(ms).max(1)),
            retry_after_ms,
        }
    }

    /// What is counted while the store is away.
    pub(crate) fn blind(&self) -> Counted {
        let open = self.policy.policy.rule.on_failure == OnFailure::Open;
        Counted {
            allowed: open,
            remaining: if open { self.bucket.capacity } else { 0 },
            retry_after_ms: if open { 0 } else { 1000 },
            reset_ms: 1000,
        }
    }
}

/// Which outcome speaks for all: of the enforced ones the refusal that lasts longest, else the one
/// with the least left; and whether all is allowed.
pub(crate) fn judge(outcomes: &[Outcome]) -> (bool, Option<&Outcome>) {
    let enforced = || outcomes.iter().filter(|outcome| outcome.mode == Mode::Enforce);
    let refusal = enforced()
        .filter(|outcome| !outcome.allowed)
        .max_by_key(|outcome| outcome.retry_after_ms.unwrap_or(u64::MAX));
    // Least left for its size: a/b < c/d as a·d < c·b.
    let tightest = || {
        enforced().min_by(|a, b| {
            let left = |one: &Outcome, other: &Outcome| {
                u128::from(one.remaining) * u128::from(unsigned(other.limit))
            };
            left(a, b).cmp(&left(b, a))
        })
    };
    (refusal.is_none(), refusal.or_else(tightest).or(outcomes.first()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> NamedPolicy {
        let rule = serde_json::from_str(json).unwrap();
        let policy = super::super::Policy { version: 1, rule };
        NamedPolicy { name: "p".to_owned(), default: false, policy }
    }

    fn item(user: &str, ip: &str) -> Item {
        let key = Key { user: Some(user.into()), ip: Some(ip.into()), ..Key::default() };
        Item { policy: "p".into(), key, cost: 1 }
    }

    fn key_of(policy: &NamedPolicy, item: &Item) -> String {
        count(item, policy, Timestamp::default(), |key| format!("#{}", key.len()))
            .unwrap()
            .bucket
            .key
    }

    #[test]
    fn keys_do_not_run_into_one_another() {
        let policy = policy(
            r#"{"algorithm":"fixed_window","capacity":2,"period_seconds":1,"by":["user","ip"]}"#,
        );
        let keys = [
            key_of(&policy, &item("a", "b")),
            key_of(&policy, &item("a/ip:1:b", "b")),
            key_of(&policy, &item("a/ip:1:b/x", "b")),
            key_of(&policy, &item("b", "a")),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| one != other), "{keys:?}");
        }
        assert!(key_of(&policy, &item("a@b.c", "b")).contains('#'));
        assert!(key_of(&policy, &item(&"a".repeat(300), "b")).len() < 200);
        let missing = Item { key: Key::default(), ..item("a", "b") };
        assert!(count(&missing, &policy, Timestamp::default(), str::to_owned).is_none());
    }

    #[test]
    fn who_speaks_for_all() {
        let outcome = |policy: &str, allowed, mode, remaining, retry: Option<u64>| Outcome {
            policy: policy.into(),
            version: 1,
            allowed,
            mode,
            limit: if policy == "big" { 1000 } else { 10 },
            remaining,
            reset_seconds: 1,
            retry_after_seconds: retry.map(|ms| ms.div_ceil(1000)),
            retry_after_ms: retry,
        };
        let (enforce, shadow) = (Mode::Enforce, Mode::Shadow);
        let rows = [
            (
                vec![
                    outcome("a", true, enforce, 5, None),
                    outcome("big", true, enforce, 100, None),
                ],
                true,
                "big",
            ),
            (
                vec![
                    outcome("a", false, enforce, 0, Some(10)),
                    outcome("b", false, enforce, 0, Some(20)),
                ],
                false,
                "b",
            ),
            (
                vec![
                    outcome("a", true, enforce, 9, None),
                    outcome("b", false, shadow, 0, Some(20)),
                ],
                true,
                "a",
            ),
            (
                vec![
                    outcome("a", false, enforce, 9, None),
                    outcome("b", false, enforce, 0, Some(20)),
                ],
                false,
                "a",
            ),
            (vec![outcome("b", false, shadow, 0, Some(20))], true, "b"),
        ];
        for (outcomes, allowed, by) in rows {
            let (all, one) = judge(&outcomes);
            assert_eq!((all, one.unwrap().policy.as_str()), (allowed, by), "{outcomes:?}");
        }
    }
}
