//! Policies of a tenant.

use sdk::{
    Error, Principal, Result, Timestamp,
    http::{self, ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Routes, WithEtag},
    sql::Db,
};
use serde::{Deserialize, Serialize};

use super::in_force::{self, default_policy};
use crate::{
    domain::{NamedPolicy, Policy, PolicyInput},
    store::policies::{self, Version},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "policies";
    /// Lists the policies in force: the platform's, and the tenant's own.
    GET "/api/v1/limits/policies" => list_policies, errors [403, 503];
    /// A policy in force.
    GET "/api/v1/limits/policies/{name}" => get_policy, errors [403, 503];
    /// Makes a policy, or a version of it.
    ///
    /// One with the name of a platform's policy may only be tighter.
    PUT "/api/v1/limits/policies/{name}" => put_policy, errors [403, 503, 507];
    /// Deletes a policy; of the name of a platform's policy that one is in force again.
    DELETE "/api/v1/limits/policies/{name}" => delete_policy, errors [403, 503];
    /// The versions of a tenant's policy, the newest first.
    GET "/api/v1/limits/policies/{name}/versions" => list_versions, errors [403, 503];
};

/// Most policies of a tenant.
const MOST: i64 = 200;

#[derive(Serialize)]
struct Question<'a> {
    action: &'a str,
    resource: Resource<'a>,
}

#[derive(Serialize)]
struct Resource<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    allowed: bool,
}

/// 403 unless permission-service permits it on the tenant; without it nothing is changed.
pub(crate) fn require(action: &str, principal: Option<&Principal>) -> Result<()> {
    let principal = principal.ok_or_else(|| Error::unauthorized("log in to do this"))?;
    let tenant = principal.tenant();
    let question = Question { action, resource: Resource { kind: "tenant", id: tenant.as_str() } };
    let answer: Answer = http::post("http://permission-service/api/v1/permissions/check")
        .json(&question)
        .send()
        .and_then(http::Answer::success)
        .and_then(http::Answer::json)
        .map_err(|error| {
            sdk::warn!(code = error.code(), "permission-service: {}", error.detail());
            Error::unavailable("permissions cannot be checked now").retry_after_ms(1000)
        })?;
    if answer.allowed {
        Ok(())
    } else {
        Err(Error::forbidden(format!("this needs the permission {action} on the tenant")))
    }
}

fn missing() -> Error {
    Error::not_found("the policy does not exist")
}

fn in_force_of(name: &str) -> Result<NamedPolicy> {
    in_force::policies(&[name])?.pop().flatten().ok_or_else(missing)
}

fn list_policies(
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
) -> Result<Json<Page<NamedPolicy>>> {
    require("limit.read", principal.as_ref())?;
    let first = page.after::<String>()?.is_none();
    let own =
        page.of(policies::list(&db, &page)?, |stored: &policies::Stored| stored.name.clone())?;
    let defaults = in_force::defaults()?;
    let mut found = own.map(|stored| {
        let name = stored.name.clone();
        let policy = stored.into_policy();
        match defaults.get(&name) {
            Some(default) if !policy.rule.looser_than(default).is_empty() => {
                default_policy(name, default.clone())
            }
            _ => NamedPolicy { name, default: false, policy },
        }
    });
    if first {
        // Besides the limit, those of the platform that the tenant has not made its own.
        let names: Vec<&str> = defaults.keys().map(String::as_str).collect();
        let own = if names.is_empty() { Vec::new() } else { policies::named(&db, &names)? };
        let others = defaults
            .iter()
            .filter(|(name, _)| !own.iter().any(|stored| stored.name == **name))
            .map(|(name, rule)| default_policy(name.clone(), rule.clone()));
        found.data.splice(0..0, others.collect::<Vec<_>>());
    }
    Ok(Json(found))
}

fn get_policy(
    Path(name): Path<String>,
    principal: Option<Principal>,
    _db: Db<'static>,
) -> Result<WithEtag<Json<NamedPolicy>>> {
    require("limit.read", principal.as_ref())?;
    let policy = in_force_of(&name)?;
    Ok(WithEtag(ETag::version(policy.policy.version), Json(policy)))
}

fn check_name(name: &str) -> Result<()> {
    let fits = name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_')
        });
    if fits {
        return Ok(());
    }
    Err(Error::violation("/path/name", "must be a name such as gateway.user, at most 100 long"))
}

fn put_policy(
    Path(name): Path<String>,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
    Json(rule): Json<PolicyInput>,
) -> Result<WithEtag<Json<NamedPolicy>>> {
    require("limit.manage", principal.as_ref())?;
    check_name(&name)?;
    let mut faults = rule.faults();
    if let Some(default) = in_force::defaults()?.get(&name) {
        faults.extend(rule.looser_than(default));
    }
    if !faults.is_empty() {
        return Err(Error::violations(faults));
    }
    let tx = db.begin()?;
    let old = policies::find(&tx, &name)?;
    if_match.check(&ETag::version(old.as_ref().map_or(0, |old| old.version)))?;
    if old.is_none() && policies::count(&tx)? >= MOST {
        let message = format!("a tenant has at most {MOST} policies");
        return Err(Error::new(507, "policy.too-many", message));
    }
    let policy = Policy { version: policies::last_version(&tx, &name)? + 1, rule };
    let by = principal.as_ref().map(Principal::subject);
    policies::put(&tx, &name, &policy, by, Timestamp::now())?;
    tx.commit()?;
    in_force::forget(&db);
    let named = NamedPolicy { name, default: false, policy };
    Ok(WithEtag(ETag::version(named.policy.version), Json(named)))
}

fn delete_policy(
    Path(name): Path<String>,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<NoContent> {
    require("limit.manage", principal.as_ref())?;
    let tx = db.begin()?;
    let old = policies::find(&tx, &name)?.ok_or_else(missing)?;
    if_match.check(&ETag::version(old.version))?;
    policies::delete(&tx, &name, Timestamp::now())?;
    tx.commit()?;
    in_force::forget(&db);
    Ok(NoContent)
}

fn list_versions(
    Path(name): Path<String>,
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
) -> Result<Page<Version>> {
    require("limit.read", principal.as_ref())?;
    let found = page.of(policies::versions(&db, &name, &page)?, |v: &Version| v.version)?;
    if found.data.is_empty() && page.after::<i64>()?.is_none() {
        return Err(missing());
    }
    Ok(found)
}
