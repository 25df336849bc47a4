//! Which limits a request counts against, and what its answer says of them.

use serde::{Deserialize, Serialize};

/// What rate-limiter-service is asked.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Check {
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Item {
    policy: &'static str,
    key: Key,
    cost: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
}

impl Check {
    /// Somebody who is known: their own limit and their tenant's quota.
    pub(crate) fn of_user(tenant: &str, user: &str) -> Self {
        let (tenant, user) = (Some(tenant.to_owned()), Some(user.to_owned()));
        let quota = Key { tenant: tenant.clone(), ..Key::default() };
        Self {
            items: vec![
                Item { policy: "gateway.user", key: Key { tenant, user, ip: None }, cost: 1 },
                Item { policy: "quota.day", key: quota, cost: 1 },
            ],
        }
    }

    /// Somebody who is not.
    pub(crate) fn of_address(ip: &str) -> Self {
        let key = Key { ip: Some(ip.to_owned()), ..Key::default() };
        Self { items: vec![Item { policy: "gateway.ip", key, cost: 1 }] }
    }

    /// Beside the others, an attempt to log in; `name` stands for whose account it is.
    pub(crate) fn and_login(mut self, ip: &str, name: Option<String>) -> Self {
        let key = Key { ip: Some(ip.to_owned()), user: name, tenant: None };
        self.items.push(Item { policy: "login", key, cost: 1 });
        self
    }
}

/// What it answers.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    remaining: Option<u64>,
    #[serde(default)]
    reset_seconds: Option<f64>,
    #[serde(default)]
    retry_after_seconds: Option<f64>,
}

impl Verdict {
    /// Where nobody could be asked.
    pub(crate) fn unknown() -> Self {
        Self { allowed: true, ..Self::default() }
    }

    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), where known.
    pub(crate) fn fields(&self) -> Option<[(&'static str, String); 2]> {
        let (policy, limit) = (self.policy.as_deref()?, self.limit?);
        if !policy.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\')) {
            return None;
        }
        let reset = whole_seconds(self.reset_seconds);
        let left = self.remaining.unwrap_or(0);
        Some([
            ("ratelimit-policy", format!("\"{policy}\";q={limit}")),
            ("ratelimit", format!("\"{policy}\";r={left};t={reset}")),
        ])
    }

    /// When the request may come again.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        whole_seconds(self.retry_after_seconds).max(1).saturating_mul(1000)
    }
}

fn whole_seconds(seconds: Option<f64>) -> u64 {
    let seconds = seconds.filter(|s| s.is_finite()).unwrap_or(0.0);
    seconds.clamp(0.0, 86_400.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_question() {
        let asked = serde_json::to_value(
            Check::of_user("t1", "u1").and_login("192.0.2.1", Some("h".to_owned())),
        );
        assert_eq!(
            asked.unwrap(),
            json!({"items": [
                {"policy": "gateway.user", "key": {"tenant": "t1", "user": "u1"}, "cost": 1},
                {"policy": "quota.day", "key": {"tenant": "t1"}, "cost": 1},
                {"policy": "login", "key": {"ip": "192.0.2.1", "user": "h"}, "cost": 1},
            ]})
        );
    }

    #[test]
    fn the_answer() {
        let verdict: Verdict = serde_json::from_value(json!({
            "allowed": false, "policy": "gateway.user", "limit": 200, "remaining": 0,
            "reset_seconds": 1.2, "retry_after_seconds": 0.4, "items": [],
        }))
        .unwrap();
        let [policy, limit] = verdict.fields().unwrap();
        assert_eq!(policy.1, "\"gateway.user\";q=200");
        assert_eq!(limit.1, "\"gateway.user\";r=0;t=2");
        assert_eq!(verdict.retry_after_ms(), 1000);
        let short: Verdict = serde_json::from_value(json!({"allowed": true})).unwrap();
        assert!(short.allowed && short.fields().is_none());
        let odd: Verdict =
            serde_json::from_value(json!({"allowed": true, "policy": "a\"b", "limit": 1})).unwrap();
        assert!(odd.fields().is_none());
    }
}
