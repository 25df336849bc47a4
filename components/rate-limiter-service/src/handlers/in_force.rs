//! Which policies are in force for the tenant of the call.

use std::{collections::BTreeMap, time::Duration};

use sdk::{
    Result, Tenant,
    cache::{self, Scope},
    config, context,
    sql::{self, Db},
};

use crate::{
    domain::{NamedPolicy, Policy, PolicyInput},
    store::policies,
};

/// The platform's policies.
pub(crate) fn defaults() -> Result<BTreeMap<String, PolicyInput>> {
    config::get("policies")
}

pub(crate) fn default_policy(name: String, rule: PolicyInput) -> NamedPolicy {
    NamedPolicy { name, default: true, policy: Policy { version: 0, rule } }
}

fn tag(tenant: Option<&Tenant>) -> String {
    format!("policies:{}", tenant.map_or("", Tenant::as_str))
}

/// Forgets what is cached of a tenant's policies, on every node.
pub(crate) fn forget(db: &Db<'_>) {
    cache::drop_tag(&tag(db.tenant()));
}

fn key(name: &str) -> String {
    format!("policy/{name}")
}

/// The last that was known, for when the database is away.
fn stale_key(name: &str) -> String {
    format!("stale/{name}")
}

/// The policy of each name, in order; none for a name that has none. What is cached costs no
/// statement, what is not one for all. Without the database the last that was known is in force,
/// or else the platform's.
pub(crate) fn policies(names: &[&str]) -> Result<Vec<Option<NamedPolicy>>> {
    let mut found: BTreeMap<&str, Option<NamedPolicy>> = BTreeMap::new();
    let mut missing = Vec::new();
    for name in names {
        if found.contains_key(name) || missing.contains(name) {
            continue;
        }
        match cache::get_json(Scope::Tenant, &key(name)) {
            Some(policy) => drop(found.insert(name, policy)),
            None => missing.push(*name),
        }
    }
    if !missing.is_empty() {
        found.extend(load(&missing)?);
    }
    Ok(names.iter().map(|name| found.get(name).cloned().flatten()).collect())
}

fn load<'a>(names: &[&'a str]) -> Result<Vec<(&'a str, Option<NamedPolicy>)>> {
    const STALE_LASTS: Duration = Duration::from_secs(24 * 3600);
    let mut defaults = defaults()?;
    let tenant = context::tenant();
    let stored = match &tenant {
        None => Ok(Vec::new()),
        Some(tenant) => policies::named(&sql::tenant_of(tenant.clone()), names),
    };
    let (mut stored, is_fresh) = match stored {
        Ok(stored) => (stored, true),
        Err(error) if error.is_retryable() => {
            sdk::warn!(code = error.code(), "the policies last known are in force");
            (Vec::new(), false)
        }
        Err(error) => return Err(error),
    };
    let ttl = Duration::from_secs(config::get("policy-cache-seconds")?);
    let tag = tag(tenant.as_ref());
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let own = stored.iter().position(|stored| stored.name == *name);
        let own = own.map(|at| stored.swap_remove(at).into_policy());
        let mut policy = match (own, defaults.remove(*name)) {
            (Some(policy), Some(default)) if policy.rule.looser_than(&default).is_empty() => {
                Some(NamedPolicy { name: (*name).to_owned(), default: false, policy })
            }
            // The platform's was tightened since.
            (_, Some(default)) => Some(default_policy((*name).to_owned(), default)),
            (Some(policy), None) => {
                Some(NamedPolicy { name: (*name).to_owned(), default: false, policy })
            }
            (None, None) => None,
        };
        if is_fresh {
            keep(&key(name), &policy, ttl, &tag);
            keep(&stale_key(name), &policy, STALE_LASTS, &tag);
        } else if let Some(last) = cache::get_json(Scope::Tenant, &stale_key(name)) {
            policy = last;
        }
        all.push((*name, policy));
    }
    Ok(all)
}

fn keep(key: &str, policy: &Option<NamedPolicy>, ttl: Duration, tag: &str) {
    if let Err(error) = cache::put_json(Scope::Tenant, key, policy, ttl, &[tag]) {
        sdk::debug!("not cached: {error}");
    }
}
