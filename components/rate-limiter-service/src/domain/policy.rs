//! What a policy is and which are possible.

use sdk::{Schema, Text, Violation};
use serde::{Deserialize, Serialize};

use super::Window;

/// How a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Algorithm {
    /// Comes back continuously, bursts up to the capacity.
    TokenBucket,
    /// Evenly spaced, with the capacity as burst tolerance.
    Gcra,
    /// Two windows, weighted by overlap.
    SlidingWindow,
    /// Windows aligned to multiples of the period.
    FixedWindow,
    /// A day or month of the calendar (UTC).
    Quota,
}

/// Whether a policy refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It counts, and says what it would refuse.
    Shadow,
}

/// What happens while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnFailure {
    /// Everything is allowed.
    #[default]
    Open,
    /// Nothing is.
    Closed,
}

/// What is counted apart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema, Text,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dimension {
    Tenant,
    User,
    Token,
    Ip,
    Route,
}

/// The rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyInput {
    /// How it counts.
    pub(crate) algorithm: Algorithm,
    /// Most units at once, or in a window.
    #[schema(min = 1, max = 1_000_000_000_000_i64, example = 100)]
    pub(crate) capacity: i64,
    /// Units that come back each period; for token buckets and GCRA.
    #[schema(min = 1, max = 1_000_000_000_000_i64, example = 50)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refill: Option<i64>,
    /// The period in seconds; for all but quotas.
    #[schema(min = 1, max = 31_622_400, example = 60)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) period_seconds: Option<i64>,
    /// The window; for quotas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json("null"))]
    pub(crate) window: Option<Window>,
    /// What is counted apart.
    #[schema(min_items = 1, max_items = 5)]
    pub(crate) by: Vec<Dimension>,
    /// Whether it refuses.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// What happens while the store is away.
    #[serde(default)]
    pub(crate) on_failure: OnFailure,
    /// What is counted.
    #[serde(default = "requests")]
    #[schema(not_blank, max_length = 40, example = "requests")]
    pub(crate) unit: String,
}

fn requests() -> String {
    "requests".to_owned()
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct Policy {
    /// Counts its changes; 0 for the platform's own.
    pub(crate) version: i64,
    /// Its rule.
    #[serde(flatten)]
    pub(crate) rule: PolicyInput,
}

/// A policy with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub(crate) struct NamedPolicy {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is the platform's, for all tenants.
    pub(crate) default: bool,
    /// The policy.
    #[serde(flatten)]
    pub(crate) policy: Policy,
}

impl PolicyInput {
    /// What does not fit together.
    pub(crate) fn faults(&self) -> Vec<Violation> {
        let mut faults = Vec::new();
        let mut expect = |pointer: &str, is_there: bool, wanted: bool| {
            if is_there != wanted {
                let message = if wanted { "is required" } else { "does not go with the algorithm" };
                faults.push(Violation::new(pointer, message));
            }
        };
        let refills = matches!(self.algorithm, Algorithm::TokenBucket | Algorithm::Gcra);
        let is_quota = self.algorithm == Algorithm::Quota;
        expect("/refill", self.refill.is_some(), refills);
        expect("/period_seconds", self.period_seconds.is_some(), !is_quota);
        expect("/window", self.window.is_some(), is_quota);
        let mut by = self.by.clone();
        by.sort_unstable();
        by.dedup();
        if by.len() != self.by.len() {
            faults.push(Violation::new("/by", "must have nothing twice"));
        }
        faults
    }

    /// Where it is looser than the platform's policy of the same name.
    pub(crate) fn looser_than(&self, default: &Self) -> Vec<Violation> {
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, message: String| {
            faults.push(Violation::new(pointer, message));
        };
        let same: [(&str, bool); 6] = [
            ("/algorithm", self.algorithm == default.algorithm),
            ("/period_seconds", self.period_seconds == default.period_seconds),
            ("/window", self.window == default.window),
            ("/by", self.by == default.by),
            ("/unit", self.unit == default.unit),
            ("/on_failure", self.on_failure == default.on_failure),
        ];
        for (pointer, is_same) in same {
            if !is_same {
                fault(pointer, "must be as in the platform's policy".to_owned());
            }
        }
        if self.capacity > default.capacity {
            fault("/capacity", format!("must be at most {}", default.capacity));
        }
        if self.refill > default.refill {
            fault("/refill", format!("must be at most {}", default.refill.unwrap_or(0)));
        }
        if self.mode == Mode::Shadow && default.mode == Mode::Enforce {
            fault("/mode", "the platform enforces this policy".to_owned());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> PolicyInput {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_goes_together() {
        let rows: [(&str, &[&str]); 6] = [
            (
                r#"{"algorithm":"token_bucket","capacity":2,"refill":1,"period_seconds":1,"by":["user"]}"#,
                &[],
            ),
            (r#"{"algorithm":"gcra","capacity":2,"by":["user"]}"#, &["/refill", "/period_seconds"]),
            (r#"{"algorithm":"quota","capacity":2,"window":"day","by":["tenant"]}"#, &[]),
            (
                r#"{"algorithm":"quota","capacity":2,"period_seconds":1,"by":["tenant"]}"#,
                &["/period_seconds", "/window"],
            ),
            (
                r#"{"algorithm":"fixed_window","capacity":2,"period_seconds":1,"refill":1,"by":["ip"]}"#,
                &["/refill"],
            ),
            (
                r#"{"algorithm":"sliding_window","capacity":2,"period_seconds":1,"by":["ip","ip"]}"#,
                &["/by"],
            ),
        ];
        for (json, pointers) in rows {
            let faults = rule(json).faults();
            let found: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{json}");
        }
    }

    #[test]
    fn a_tenant_only_tightens() {
        let default = rule(
            r#"{"algorithm":"token_bucket","capacity":9,"refill":3,"period_seconds":1,"by":["user"]}"#,
        );
        let tighter = PolicyInput { capacity: 8, refill: Some(2), ..default.clone() };
        assert!(tighter.looser_than(&default).is_empty());
        let rows = [
            (PolicyInput { capacity: 10, ..default.clone() }, "/capacity"),
            (PolicyInput { refill: Some(4), ..default.clone() }, "/refill"),
            (PolicyInput { period_seconds: Some(2), ..default.clone() }, "/period_seconds"),
            (PolicyInput { mode: Mode::Shadow, ..default.clone() }, "/mode"),
            (PolicyInput { by: vec![Dimension::Ip], ..default.clone() }, "/by"),
            (PolicyInput { algorithm: Algorithm::Gcra, ..default.clone() }, "/algorithm"),
        ];
        for (rule, pointer) in rows {
            assert_eq!(rule.looser_than(&default)[0].pointer, pointer);
        }
    }
}
