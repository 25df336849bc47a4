//! What policies decided that somebody may want to know: denials, and what AUDIT rules and dry-run
//! policies have seen.

use std::collections::BTreeMap;

use airhost_core::{Caller, ServiceName};
use airhost_policy::{Inbound, security::Decision};
use parking_lot::Mutex;

/// Kinds of decisions that are told apart; further ones are logged and not counted. Each rule of a
/// policy makes at most three.
const MOST: usize = 4_096;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DecisionKind {
    /// A request was refused.
    Denied,
    /// An AUDIT rule matched.
    Audited,
    /// A request that was let in would be refused if the dry-run policies were enforced.
    WouldDeny,
    /// A request that was refused would be let in if the dry-run policies were enforced.
    WouldAllow,
}

impl DecisionKind {
    /// The word for tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Audited => "audited",
            Self::WouldDeny => "would-deny",
            Self::WouldAllow => "would-allow",
        }
    }
}

/// How often something was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionCount {
    /// The service that was called.
    pub service: ServiceName,
    /// What was decided.
    pub kind: DecisionKind,
    /// What decided, with the policy's place.
    pub policy: String,
    /// Since the node started.
    pub count: u64,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Decisions(Mutex<BTreeMap<(ServiceName, DecisionKind, String), u64>>);

impl Decisions {
    /// Notes a decision about a call of `caller` to `service`.
    pub(crate) fn note(
        &self,
        service: &ServiceName,
        caller: &Caller,
        door: &Inbound,
        decision: &Decision,
    ) {
        if !decision.allowed {
            let sentence = decision.sentence(&door.authorization);
            self.count(service, caller, DecisionKind::Denied, sentence);
        }
        for rule in &decision.audited {
            self.count(service, caller, DecisionKind::Audited, rule.to_string());
        }
        if let Some(dry) = &decision.dry_run
            && dry.allowed != decision.allowed
        {
            let kind = if dry.allowed { DecisionKind::WouldAllow } else { DecisionKind::WouldDeny };
            let sentence = door.authorization.sentence(dry.because, dry.rule.as_deref());
            self.count(service, caller, kind, sentence);
        }
    }

    fn count(&self, service: &ServiceName, caller: &Caller, kind: DecisionKind, policy: String) {
        let mut counts = self.0.lock();
        let full = counts.len() >= MOST;
        let key = (service.clone(), kind, policy);
        if full && !counts.contains_key(&key) {
            return;
        }
        let policy = key.2.clone();
        let count = counts.entry(key).or_insert(0);
        *count += 1;
        let count = *count;
        drop(counts);
        // A caller that is refused again and again must not fill the log.
        if count.is_power_of_two() {
            let caller = match caller {
                Caller::Public => "a client",
                Caller::Service { name, .. } => name.as_str(),
                Caller::Host => "the host",
            };
            tracing::info!(%service, caller, decision = kind.as_str(), policy, count, "a policy decided");
        }
    }

    /// All of them, by service.
    pub(crate) fn list(&self) -> Vec<DecisionCount> {
        let counts = self.0.lock();
        counts
            .iter()
            .map(|((service, kind, policy), count)| DecisionCount {
                service: service.clone(),
                kind: *kind,
                policy: policy.clone(),
                count: *count,
            })
            .collect()
    }
}
