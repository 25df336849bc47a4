//! `AuthorizationPolicy`: who may do what to a workload.

mod compile;
mod condition;
mod identity;
mod spec;
mod template;
mod values;

use std::{collections::BTreeMap, fmt, sync::Arc};

use self::condition::Condition;
use super::request::{Channel, Request};
use crate::{
    document::{Document, Head},
    finding::{Finding, Place},
    mesh::{ExtensionProvider, MeshConfig},
    rule::RuleName,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Audit,
    Custom,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom => "CUSTOM",
        })
    }
}

/// One resource, compiled.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// `namespace/name`.
    pub(super) name: Arc<str>,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    place: Place,
    action: Action,
    dry_run: bool,
    provider: Option<Box<str>>,
    rules: Box<[Arc<Rule>]>,
}

impl Policy {
    pub(super) fn compile(
        document: &Document,
        head: &Head,
        mesh: &MeshConfig,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        compile::compile(document, head, mesh, findings)
    }
}

/// One rule. Each alternative of `from` and `to` is a list of conditions that all must hold; no
/// alternatives hold for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    name: Arc<RuleName>,
    sources: Box<[Box<[Condition]>]>,
    operations: Box<[Box<[Condition]>]>,
    when: Box<[Condition]>,
    /// Some condition asks for what an event has not.
    needs_request: bool,
}

impl Rule {
    /// Whether it holds for an ALLOW policy: a rule that asks for what there is not allows nothing.
    fn allows(&self, request: &Request<'_>) -> bool {
        if self.needs_request && request.channel == Channel::Event {
            return false;
        }
        self.holds(request)
    }

    /// Whether it holds for the others: what there is not is not asked for.
    fn holds(&self, request: &Request<'_>) -> bool {
        let holds = |condition: &Condition| {
            !condition.exists_on(request.channel) || condition.holds(request)
        };
        let any = |alternatives: &[Box<[Condition]>]| {
            alternatives.is_empty() || alternatives.iter().any(|all| all.iter().all(holds))
        };
        any(&self.sources) && any(&self.operations) && self.when.iter().all(holds)
    }

    /// Whether, of a policy that is not ALLOW, it holds for every event.
    fn widens_to_all_events(&self) -> bool {
        let widens = |condition: &Condition| !condition.exists_on(Channel::Event);
        let any = |alternatives: &[Box<[Condition]>]| {
            alternatives.is_empty() || alternatives.iter().any(|all| all.iter().all(widens))
        };
        any(&self.sources) && any(&self.operations) && self.when.iter().all(widens)
    }
}

/// DENY and ALLOW policies that are evaluated together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pool {
    deny: Vec<Arc<Rule>>,
    allow: Vec<Arc<Rule>>,
    /// The ALLOW policies themselves: one without rules matches nothing, and is there.
    allowing: Vec<Arc<RuleName>>,
}

impl Pool {
    fn denying(&self, request: &Request<'_>) -> Option<&Arc<RuleName>> {
        self.deny.iter().find(|rule| rule.holds(request)).map(|rule| &rule.name)
    }

    fn allowing(&self, request: &Request<'_>) -> Option<&Arc<RuleName>> {
        self.allow.iter().find(|rule| rule.allows(request)).map(|rule| &rule.name)
    }
}

/// The policies that select one workload, pooled by what they do. Neither scope nor order counts:
/// what a CUSTOM policy's provider refuses is refused, then what any DENY rule matches; without
/// ALLOW policies the rest is allowed, with some only what one of their rules matches (Istio:
/// pilot/pkg/model/authorization.go, `ListAuthorizationPolicies`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    custom: Vec<Arc<Rule>>,
    provider: Option<(Arc<str>, Arc<ExtensionProvider>)>,
    /// Rules of CUSTOM policies that nobody can be asked about.
    unanswered: Vec<Arc<Rule>>,
    audit: Vec<Arc<Rule>>,
    enforced: Pool,
    dry_run: Option<Pool>,
}

/// A provider that must be asked before a request is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomCheck<'a> {
    /// Its name in the mesh's configuration.
    pub name: &'a str,
    /// Where and how it is asked.
    pub provider: &'a Arc<ExtensionProvider>,
    /// The rule that asks.
    pub rule: &'a Arc<RuleName>,
}

/// Why a decision is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Because {
    /// No ALLOW policy selects the workload, and no DENY rule matched: allowed.
    NoPolicy,
    /// A rule of an ALLOW policy matched.
    Allowed,
    /// A rule of a DENY policy matched.
    Denied,
    /// There are ALLOW policies, and no rule of theirs matched: denied.
    NoAllowMatched,
    /// A rule of a CUSTOM policy matched, and its provider is not known to the mesh or not the
    /// only one for the workload: denied (Istio: builder.go, `getBadCustomDenyRules`).
    NoProvider,
}

impl Because {
    /// Whether it allows.
    #[must_use]
    pub fn allows(self) -> bool {
        match self {
            Self::NoPolicy | Self::Allowed => true,
            Self::Denied | Self::NoAllowMatched | Self::NoProvider => false,
        }
    }
}

/// What becomes of a request, and which rule says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it may go on.
    pub allowed: bool,
    /// Why.
    pub because: Because,
    /// The rule that matched, if one did. Of several the first in the order of the policies'
    /// names.
    pub rule: Option<Arc<RuleName>>,
}

impl Outcome {
    fn new(because: Because, rule: Option<&Arc<RuleName>>) -> Self {
        Self { allowed: because.allows(), because, rule: rule.cloned() }
    }
}

/// The decision on one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may go on.
    pub allowed: bool,
    /// Why.
    pub because: Because,
    /// The rule that matched, if one did.
    pub rule: Option<Arc<RuleName>>,
    /// Rules of AUDIT policies that matched.
    pub audited: Vec<Arc<RuleName>>,
    /// What the outcome would be if the dry-run policies were enforced beside the others; none
    /// when there are none.
    pub dry_run: Option<Outcome>,
}

impl Authorization {
    /// Pools policies that select a workload; they come in the order of their names.
    pub(super) fn new<'a>(
        policies: impl Iterator<Item = &'a Policy>,
        providers: &BTreeMap<String, Arc<ExtensionProvider>>,
    ) -> Self {
        let mut pooled = Self::default();
        let mut dry_run = Pool::default();
        let mut asked: Option<&str> = None;
        let mut several = false;
        for policy in policies {
            let rules = || policy.rules.iter().cloned();
            let pool = if policy.dry_run { &mut dry_run } else { &mut pooled.enforced };
            match policy.action {
                Action::Allow => {
                    pool.allow.extend(rules());
                    pool.allowing.push(Arc::new(RuleName {
                        policy: Arc::clone(&policy.name),
                        rule: None,
                        place: policy.place.clone(),
                    }));
                }
                Action::Deny => pool.deny.extend(rules()),
                Action::Audit if !policy.dry_run => pooled.audit.extend(rules()),
                Action::Custom if !policy.dry_run => {
                    let name = policy.provider.as_deref().unwrap_or_default();
                    several |= asked.replace(name).is_some_and(|other| other != name);
                    pooled.custom.extend(rules());
                }
                Action::Audit | Action::Custom => {}
            }
        }
        pooled.provider = asked.filter(|_| !several).and_then(|name| {
            providers.get(name).map(|provider| (name.into(), Arc::clone(provider)))
        });
        if pooled.provider.is_none() {
            pooled.unanswered = std::mem::take(&mut pooled.custom);
        }
        pooled.dry_run = (dry_run != Pool::default()).then_some(dry_run);
        pooled
    }

    /// Who must be asked about this request before [`Authorization::decide`]: what the provider
    /// refuses is refused. Providers speak HTTP, so nobody is asked about an event.
    #[must_use]
    pub fn custom(&self, request: &Request<'_>) -> Option<CustomCheck<'_>> {
        let (name, provider) = self.provider.as_ref()?;
        if request.channel == Channel::Event {
            return None;
        }
        let rule = self.custom.iter().find(|rule| rule.holds(request))?;
        Some(CustomCheck { name, provider, rule: &rule.name })
    }

    /// Decides, once the provider that [`Authorization::custom`] names, if any, has allowed.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let outcome = self.outcome(request);
        let dry_run = self.dry_run.as_ref().map(|pool| self.dry_run(pool, &outcome, request));
        let audited = self.audit.iter().filter(|rule| rule.holds(request));
        Decision {
            allowed: outcome.allowed,
            because: outcome.because,
            rule: outcome.rule,
            audited: audited.map(|rule| Arc::clone(&rule.name)).collect(),
            dry_run,
        }
    }

    fn outcome(&self, request: &Request<'_>) -> Outcome {
        if let Some(rule) = self.unanswered.iter().find(|rule| rule.holds(request)) {
            return Outcome::new(Because::NoProvider, Some(&rule.name));
        }
        if let Some(rule) = self.enforced.denying(request) {
            return Outcome::new(Because::Denied, Some(rule));
        }
        if self.enforced.allowing.is_empty() {
            return Outcome::new(Because::NoPolicy, None);
        }
        match self.enforced.allowing(request) {
            Some(rule) => Outcome::new(Because::Allowed, Some(rule)),
            None => Outcome::new(Because::NoAllowMatched, None),
        }
    }

    fn dry_run(&self, pool: &Pool, enforced: &Outcome, request: &Request<'_>) -> Outcome {
        if matches!(enforced.because, Because::Denied | Because::NoProvider) {
            return enforced.clone();
        }
        if let Some(rule) = pool.denying(request) {
            return Outcome::new(Because::Denied, Some(rule));
        }
        if enforced.because == Because::Allowed || pool.allowing.is_empty() {
            return enforced.clone();
        }
        match pool.allowing(request) {
            Some(rule) => Outcome::new(Because::Allowed, Some(rule)),
            None => Outcome::new(Because::NoAllowMatched, None),
        }
    }

    /// A sentence for the log: what decided, with the policies' names. Those are not for clients,
    /// who read `RBAC: access denied`.
    #[must_use]
    pub fn sentence(&self, because: Because, rule: Option<&RuleName>) -> String {
        let rule = rule.map_or_else(|| "a rule".to_owned(), ToString::to_string);
        match because {
            Because::NoPolicy => "allowed: no ALLOW policy selects the workload".to_owned(),
            Because::Allowed => format!("allowed by {rule}"),
            Because::Denied => format!("denied by {rule}"),
            Because::NoProvider => {
                format!(
                    "denied by {rule}: it asks a provider that the mesh has not, or one of several for the workload"
                )
            }
            Because::NoAllowMatched => {
                let dry_run = self.dry_run.iter().flat_map(|pool| &pool.allowing);
                let policies: Vec<String> = if self.enforced.allowing.is_empty() {
                    dry_run.map(ToString::to_string).collect()
                } else {
                    self.enforced.allowing.iter().map(ToString::to_string).collect()
                };
                format!("denied: no rule of the ALLOW policies matches: {}", policies.join(", "))
            }
        }
    }

    /// All rules that are looked at for the workload, for `airhost explain`: those of CUSTOM, DENY,
    /// ALLOW and AUDIT policies, then those of dry-run policies.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<RuleName>> {
        let dry_run = self.dry_run.iter().flat_map(|pool| pool.deny.iter().chain(&pool.allow));
        self.custom
            .iter()
            .chain(&self.unanswered)
            .chain(&self.enforced.deny)
            .chain(&self.enforced.allow)
            .chain(&self.audit)
            .chain(dry_run)
            .map(|rule| &rule.name)
    }
}

impl Decision {
    /// [`Authorization::sentence`] of this decision.
    #[must_use]
    pub fn sentence(&self, authorization: &Authorization) -> String {
        authorization.sentence(self.because, self.rule.as_deref())
    }
}
