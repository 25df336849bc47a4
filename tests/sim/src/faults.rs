//! Faults on demand, and the log of requests.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rules that may wait at a time.
const MAX_RULES: usize = 1000;

/// A rule: what happens to the next requests that match.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// How many requests it strikes.
    #[serde(default = "once")]
    pub count: u32,
    /// Only requests with this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only requests to this base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Only requests whose path starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// What happens.
    pub action: FaultAction,
}

fn once() -> u32 {
    1
}

/// What a fault does to a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultAction {
    /// Answers with a status; the request is not carried out.
    Status {
        /// The status.
        code: u16,
        /// The JSON body; none gives an error that names the status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
        /// Further headers.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// Carries the request out after a wait.
    DelayMs(u64),
    /// Closes the connection without an answer; the request is not carried out.
    Drop,
    /// Carries the request out and closes the connection without an answer.
    DropAfter,
    /// Carries the request out and closes the connection amid the body, after so many bytes.
    Truncate(usize),
}

/// One request of the log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LoggedRequest {
    /// Counts from one.
    pub number: u64,
    /// The method.
    pub method: String,
    /// The path as sent, without the query.
    pub path: String,
    /// The query as sent.
    pub query: String,
    /// The bearer token, if any.
    pub token: Option<String>,
    /// The status answered; 0 when the connection was dropped.
    pub status: u16,
}

/// Counts since the start or the last reset.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests to the API.
    pub requests: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests struck by faults.
    pub faults: u64,
    /// Notifications delivered.
    pub notifications: u64,
    /// Notifications that failed.
    pub failed_notifications: u64,
}

/// The rules, the log and the counts.
#[derive(Debug)]
pub(crate) struct Observer {
    inner: Mutex<Inner>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Inner {
    rules: VecDeque<Fault>,
    log: VecDeque<LoggedRequest>,
    stats: Stats,
}

impl Observer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), capacity }
    }

    /// Adds a rule; false when there are too many.
    pub(crate) fn add(&self, fault: Fault) -> bool {
        let mut inner = self.inner.lock();
        let room = inner.rules.len() < MAX_RULES;
        if room && fault.count > 0 {
            inner.rules.push_back(fault);
        }
        room
    }

    /// The rules that still wait.
    pub(crate) fn rules(&self) -> Vec<Fault> {
        self.inner.lock().rules.iter().cloned().collect()
    }

    pub(crate) fn clear_rules(&self) {
        self.inner.lock().rules.clear();
    }

    /// The action of the first rule that matches; the rule is used up by one.
    pub(crate) fn strike(
        &self,
        method: &str,
        path: &str,
        base: Option<&str>,
    ) -> Option<FaultAction> {
        let mut inner = self.inner.lock();
        let at = inner.rules.iter().position(|rule| {
            rule.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && rule.base.as_deref().is_none_or(|wanted| base == Some(wanted))
                && rule.path_prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix))
        })?;
        let rule = &mut inner.rules[at];
        rule.count -= 1;
        let (action, spent) = (rule.action.clone(), rule.count == 0);
        if spent {
            inner.rules.remove(at);
        }
        inner.stats.faults += 1;
        Some(action)
    }

    /// Remembers a request and its answer.
    pub(crate) fn record(&self, mut request: LoggedRequest) {
        let mut inner = self.inner.lock();
        inner.stats.requests += 1;
        *inner.stats.by_status.entry(request.status).or_default() += 1;
        request.number = inner.stats.requests;
        if inner.log.len() >= self.capacity {
            inner.log.pop_front();
        }
        if self.capacity > 0 {
            inner.log.push_back(request);
        }
    }

    pub(crate) fn notified(&self, success: bool) {
        let stats = &mut self.inner.lock().stats;
        if success {
            stats.notifications += 1;
        } else {
            stats.failed_notifications += 1;
        }
    }

    /// The newest requests, oldest first.
    pub(crate) fn log(&self, limit: usize) -> Vec<LoggedRequest> {
        let inner = self.inner.lock();
        let skip = inner.log.len().saturating_sub(limit);
        inner.log.iter().skip(skip).cloned().collect()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.inner.lock().stats.clone()
    }

    /// Forgets the log and the counts.
    pub(crate) fn clear_log(&self) {
        let mut inner = self.inner.lock();
        inner.log.clear();
        inner.stats = Stats::default();
    }
}

/// The longest wait a fault may impose.
pub(crate) fn delay(millis: u64) -> Duration {
    Duration::from_millis(millis.min(300_000))
}
