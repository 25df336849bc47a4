//! From what is written to what is evaluated, with all that is wrong (Istio:
//! pkg/config/validation, `ValidateAuthorizationPolicy`).

use std::sync::Arc;

use http::HeaderName;
use serde_saphyr::Spanned;

use super::{
    Action, Policy, Rule,
    condition::{Condition, Lists},
    spec::{self, List},
    values,
};
use crate::{
    document::{Document, Head, Resource},
    finding::Finding,
    mesh::MeshConfig,
    notes::Notes,
    rule::RuleName,
    security::{annotations, request::Channel},
    selector::selected_labels,
};

/// Most rules of one policy, as in Istio's CRD.
const MOST_RULES: usize = 512;

/// Reads one `AuthorizationPolicy`. What it answers is only of use if nothing was wrong.
pub(super) fn compile(
    document: &Document,
    head: &Head,
    mesh: &MeshConfig,
    findings: &mut Vec<Finding>,
) -> Option<Policy> {
    let resource: Resource<spec::Spec> = match document.resource() {
        Ok(resource) => resource,
        Err(finding) => {
            findings.push(finding);
            return None;
        }
    };
    let mut notes = Notes::new(document, findings);
    annotations::check(&resource.metadata, &[annotations::DRY_RUN], &mut notes);
    let dry_run = annotations::flag(&resource.metadata, annotations::DRY_RUN, &mut notes);
    let spec = resource.spec;
    let labels = selected_labels(spec.selector.as_ref(), &mut notes);
    let namespace = head.namespace(mesh);
    let name: Arc<str> = format!("{namespace}/{}", resource.metadata.name.value).into();
    let whole = &resource.metadata.name;
    let action = action(spec.action.as_ref(), &mut notes)?;
    let provider = provider(spec.provider.as_ref(), action, mesh, whole, &mut notes);
    if dry_run && !matches!(action, Action::Allow | Action::Deny) {
        notes.warning(
            whole,
            format!("a {action} policy with `{}` does nothing", annotations::DRY_RUN),
        );
    }

    let written = spec.rules.as_ref().map_or(&[][..], |rules| &rules.value);
    if written.is_empty() && matches!(action, Action::Deny | Action::Custom) {
        notes.error(
            whole,
            format!("a {action} policy without `rules` never does anything; `rules: [{{}}]` holds for every request"),
        );
    }
    if written.len() > MOST_RULES {
        notes.error(whole, format!("{} rules; a policy has at most {MOST_RULES}", written.len()));
    }
    let mut compiler = Compiler { notes, mesh, namespace, action };
    let rules = written
        .iter()
        .enumerate()
        .filter_map(|(position, rule)| compiler.rule(&name, position, rule))
        .map(Arc::new)
        .collect();
    Some(Policy {
        place: compiler.notes.at(whole),
        name,
        namespace: namespace.to_owned(),
        labels,
        action,
        dry_run,
        provider,
        rules,
    })
}

fn action(action: Option<&Spanned<String>>, notes: &mut Notes<'_>) -> Option<Action> {
    let Some(action) = action else { return Some(Action::Allow) };
    match action.value.as_str() {
        "ALLOW" => Some(Action::Allow),
        "DENY" => Some(Action::Deny),
        "AUDIT" => Some(Action::Audit),
        "CUSTOM" => Some(Action::Custom),
        other => {
            notes.error(action, format!("`{other}` is not an action: ALLOW, DENY, AUDIT, CUSTOM"));
            None
        }
    }
}

fn provider(
    provider: Option<&Spanned<spec::Provider>>,
    action: Action,
    mesh: &MeshConfig,
    whole: &Spanned<String>,
    notes: &mut Notes<'_>,
) -> Option<Box<str>> {
    match (action, provider) {
        (Action::Custom, None) => {
            notes.error(whole, "a CUSTOM policy needs `provider.name`: who is to be asked");
            None
        }
        (Action::Custom, Some(provider)) => {
            let name = &provider.value.name;
            if name.value.is_empty() {
                notes.error(name, "`provider.name` is empty");
            } else if !mesh.extension_providers.contains_key(&name.value) {
                let known: Vec<&str> =
                    mesh.extension_providers.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                notes.warning(
                    name,
                    format!("the mesh has no provider `{}` (it has: {known}): what these rules match is denied", name.value),
                );
            }
            Some(name.value.as_str().into())
        }
        (_, None) => None,
        (action, Some(provider)) => {
            notes.error(
                provider,
                format!("`provider` is for CUSTOM policies, and this is {action}"),
            );
            None
        }
    }
}

/// Reads the rules of one policy.
pub(super) struct Compiler<'a> {
    pub(super) notes: Notes<'a>,
    pub(super) mesh: &'a MeshConfig,
    pub(super) namespace: &'a str,
    pub(super) action: Action,
}

impl Compiler<'_> {
    fn rule(
        &mut self,
        policy: &Arc<str>,
        position: usize,
        written: &Spanned<Option<spec::Rule>>,
    ) -> Option<Rule> {
        let Some(rule) = &written.value else {
            self.notes.error(written, "the rule is empty; `{}` holds for every request");
            return None;
        };
        let sources = self.alternatives(rule.from.as_ref(), "from", |compiler, from| {
            let source = from.value.source.as_ref();
            compiler.filled(from, source, "source", Self::source)
        });
        let operations = self.alternatives(rule.to.as_ref(), "to", |compiler, to| {
            let operation = to.value.operation.as_ref();
            compiler.filled(to, operation, "operation", Self::operation)
        });
        let conditions = rule.when.as_ref().map_or(&[][..], |when| &when.value);
        let when: Box<[Condition]> =
            conditions.iter().filter_map(|condition| self.when(&condition.value)).collect();
        let needs_request = sources
            .iter()
            .chain(&operations)
            .flatten()
            .chain(&when)
            .any(|condition| !condition.exists_on(Channel::Event));
        let name = RuleName {
            policy: Arc::clone(policy),
            rule: Some(position),
            place: self.notes.at(written),
        };
        let rule = Rule { name: Arc::new(name), sources, operations, when, needs_request };
        if self.action == Action::Deny && rule.needs_request && rule.widens_to_all_events() {
            self.notes.warning(
                written,
                "the rule asks only for what requests have, so it denies every event that is delivered to its workloads; add `principals` or `namespaces` of the senders it is for",
            );
        }
        Some(rule)
    }

    fn alternatives<T>(
        &mut self,
        written: Option<&Spanned<Vec<Spanned<T>>>>,
        field: &str,
        compile: impl Fn(&mut Self, &Spanned<T>) -> Box<[Condition]>,
    ) -> Box<[Box<[Condition]>]> {
        let Some(written) = written else { return Box::default() };
        if written.value.is_empty() {
            self.notes
                .error(written, format!("`{field}` is empty; leave it out to ask for nothing"));
        }
        written.value.iter().map(|entry| compile(self, entry)).collect()
    }

    /// The one thing in an entry of `from` or `to`, which must be there and ask for something.
    fn filled<E, T>(
        &mut self,
        entry: &Spanned<E>,
        written: Option<&Spanned<T>>,
        field: &str,
        compile: impl Fn(&mut Self, &T) -> Vec<Condition>,
    ) -> Box<[Condition]> {
        let Some(written) = written else {
            self.notes.error(entry, format!("`{field}` is missing"));
            return Box::default();
        };
        let conditions = compile(self, &written.value);
        if conditions.is_empty() {
            self.notes.error(written, format!("`{field}` is empty: it would hold for everything"));
        }
        conditions.into()
    }

    fn source(&mut self, source: &spec::Source) -> Vec<Condition> {
        self.check_sources(source);
        let s = source;
        let mut conditions = Vec::new();
        conditions.extend(
            self.lists("principals", &s.principals, &s.not_principals, values::principal)
                .map(Condition::Principal),
        );
        conditions.extend(
            self.lists("namespaces", &s.namespaces, &s.not_namespaces, values::namespace)
                .map(Condition::Namespace),
        );
        conditions.extend(
            self.lists(
                "serviceAccounts",
                &s.service_accounts,
                &s.not_service_accounts,
                values::account,
            )
            .map(Condition::ServiceAccount),
        );
        conditions.extend(
            self.lists(
                "trustDomains",
                &s.trust_domains,
                &s.not_trust_domains,
                values::trust_domain,
            )
            .map(Condition::TrustDomain),
        );
        conditions.extend(
            self.lists("ipBlocks", &s.ip_blocks, &s.not_ip_blocks, values::block)
                .map(Condition::SourceIp),
        );
        conditions.extend(
            self.lists(
                "remoteIpBlocks",
                &s.remote_ip_blocks,
                &s.not_remote_ip_blocks,
                values::block,
            )
            .map(Condition::RemoteIp),
        );
        conditions.extend(
            self.lists(
                "requestPrincipals",
                &s.request_principals,
                &s.not_request_principals,
                values::request_principal,
            )
            .map(Condition::RequestPrincipal),
        );
        conditions
    }

    /// Fields of a source that do not go together.
    fn check_sources(&mut self, source: &spec::Source) {
        let accounts = [&source.service_accounts, &source.not_service_accounts];
        let identities = [
            &source.principals,
            &source.not_principals,
            &source.namespaces,
            &source.not_namespaces,
        ];
        if identities.into_iter().any(Option::is_some)
            && let Some(list) = accounts.into_iter().flatten().next()
        {
            self.notes.error(
                list,
                "`serviceAccounts` do not go with `principals` or `namespaces` in one source",
            );
        }
        if self.action == Action::Custom {
            let refused = [
                (&source.request_principals, "requestPrincipals"),
                (&source.not_request_principals, "notRequestPrincipals"),
                (&source.principals, "principals"),
                (&source.not_principals, "notPrincipals"),
                (&source.namespaces, "namespaces"),
                (&source.not_namespaces, "notNamespaces"),
                (&source.service_accounts, "serviceAccounts"),
                (&source.not_service_accounts, "notServiceAccounts"),
                (&source.trust_domains, "trustDomains"),
                (&source.not_trust_domains, "notTrustDomains"),
            ];
            for (list, field) in refused {
                if let Some(list) = list {
                    self.notes
                        .error(list, format!("`{field}` is not supported with action CUSTOM"));
                }
            }
        }
    }

    fn operation(&mut self, operation: &spec::Operation) -> Vec<Condition> {
        let o = operation;
        let mut conditions = Vec::new();
        conditions
            .extend(self.lists("ports", &o.ports, &o.not_ports, values::port).map(Condition::Port));
        conditions.extend(
            self.lists("methods", &o.methods, &o.not_methods, values::method)
                .map(Condition::Method),
        );
        conditions
            .extend(self.lists("paths", &o.paths, &o.not_paths, values::path).map(Condition::Path));
        conditions
            .extend(self.lists("hosts", &o.hosts, &o.not_hosts, values::text).map(Condition::Host));
        conditions
    }

    fn when(&mut self, when: &spec::When) -> Option<Condition> {
        let key = &when.key;
        if when.values.is_none() && when.not_values.is_none() {
            self.notes.error(key, format!("`{}` needs `values` or `notValues`", key.value));
            return None;
        }
        if self.action == Action::Custom
            && (matches!(
                key.value.as_str(),
                "source.namespace"
                    | "source.serviceAccount"
                    | "source.principal"
                    | "source.trustDomain"
            ) || key.value.starts_with("request.auth."))
        {
            let message = format!("`{}` is not supported with action CUSTOM", key.value);
            self.notes.error(key, message);
            return None;
        }
        let (name, bracketed) = match key.value.split_once('[') {
            Some((name, _)) => (name, &key.value[name.len()..]),
            None => (key.value.as_str(), ""),
        };
        match (name, bracketed) {
            ("source.ip", "") => self.pair(when, values::block).map(Condition::SourceIp),
            ("remote.ip", "") => self.pair(when, values::block).map(Condition::RemoteIp),
            ("source.namespace", "") => {
                self.pair(when, values::namespace).map(Condition::Namespace)
            }
            ("source.serviceAccount", "") => {
                self.pair(when, values::account).map(Condition::ServiceAccount)
            }
            ("source.principal", "") => {
                self.pair(when, values::principal).map(Condition::Principal)
            }
            ("source.trustDomain", "") => {
                self.pair(when, values::trust_domain).map(Condition::TrustDomain)
            }
            ("request.auth.principal", "") => {
                self.pair(when, values::request_principal).map(Condition::RequestPrincipal)
            }
            ("request.auth.audiences", "") => {
                self.pair(when, values::text).map(Condition::Audience)
            }
            ("request.auth.presenter", "") => {
                self.pair(when, values::text).map(Condition::Presenter)
            }
            ("destination.ip", "") => self.pair(when, values::block).map(Condition::DestinationIp),
            ("destination.port", "") => self.pair(when, values::port).map(Condition::Port),
            ("connection.sni", "") => self.pair(when, values::text).map(Condition::Sni),
            ("request.auth.claims", path) => {
                let lists = self.pair(when, values::text);
                let Some(path) = values::bracketed(path) else {
                    self.notes.error(
                        key,
                        format!("`{}` must be `request.auth.claims[name]`, with a further `[name]` for each level", key.value),
                    );
                    return None;
                };
                lists.map(|lists| Condition::Claim(path, lists))
            }
            ("request.headers", name) => self.header(when, name),
            (other, _) => {
                let reason = match other {
                    "destination.namespace" => "the policy's own namespace says that".to_owned(),
                    "destination.labels" => "`selector` says that".to_owned(),
                    name if name.starts_with("experimental.envoy.filters.") => {
                        "there are no filters of Envoy here".to_owned()
                    }
                    _ => format!("there are: {}", values::KEYS),
                };
                self.notes.error(key, format!("`{}` is not a key: {reason}", key.value));
                None
            }
        }
    }

    fn header(&mut self, when: &spec::When, bracketed: &str) -> Option<Condition> {
        let key = &when.key;
        let name = match values::bracketed(bracketed).as_deref() {
            Some([name]) => name.to_ascii_lowercase(),
            _ => {
                let message = format!("`{}` must be `request.headers[name]`", key.value);
                self.notes.error(key, message);
                return None;
            }
        };
        let lists = self.pair(when, values::text)?;
        match name.as_str() {
            // Envoy has no field `host` but the authority.
            ":authority" | "host" => Some(Condition::Authority(lists)),
            ":method" => Some(Condition::Method(lists)),
            ":path" => {
                self.notes.error(key, "`:path` has the query in it; use `paths` of an operation");
                None
            }
            name => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Some(Condition::Header(name, lists)),
                Err(_) => {
                    self.notes.error(key, format!("`{name}` is not the name of a header field"));
                    None
                }
            },
        }
    }

    fn pair<T>(&mut self, when: &spec::When, parse: Parse<T>) -> Option<Lists<T>> {
        self.lists("values", &when.values, &when.not_values, parse)
    }

    fn lists<T>(
        &mut self,
        field: &str,
        one_of: &List,
        none_of: &List,
        parse: Parse<T>,
    ) -> Option<Lists<T>> {
        if one_of.is_none() && none_of.is_none() {
            return None;
        }
        let negated = format!("not{}{}", field[..1].to_ascii_uppercase(), &field[1..]);
        Some(Lists {
            one_of: self.values(field, one_of, parse),
            none_of: self.values(&negated, none_of, parse),
        })
    }

    fn values<T>(&mut self, field: &str, list: &List, parse: Parse<T>) -> Box<[T]> {
        let Some(list) = list else { return Box::default() };
        if list.value.is_empty() {
            self.notes.error(list, format!("`{field}` is empty; leave it out to ask for nothing"));
        }
        let mut values = Vec::with_capacity(list.value.len());
        for value in &list.value {
            if value.value.is_empty() {
                self.notes.error(value, format!("`{field}` has an empty value"));
            } else {
                parse(self, value, &mut values);
            }
        }
        values.into()
    }
}

/// Reads one value into what it is compared as, which may be several.
pub(super) type Parse<T> = fn(&mut Compiler<'_>, &Spanned<String>, &mut Vec<T>);
