//! What a subject may do, from the cache or the database, and who is asking.

use std::time::Duration;

use sdk::{
    Error, Principal, Result, Timestamp, Uuid,
    cache::{self, Scope},
    config, context,
    sql::Db,
};

use crate::{
    domain::{
        BuiltIn, Circumstances, Grants, Permission, PermissionSet, ResourceRef, SubjectRef,
        scope_permissions,
    },
    store,
};

/// The gateway calls for its clients; every other service calls for itself.
const GATEWAY: &str = "api-gateway";

/// The tenant of the call.
pub(crate) fn tenant_of<'a>(db: &'a Db<'_>) -> Result<&'a str> {
    let tenant = db.tenant().ok_or_else(|| Error::unauthorized("this needs a tenant; log in"))?;
    Ok(tenant.as_str())
}

/// Who is asking.
pub(crate) struct Asker {
    /// The user, if there is one.
    pub(crate) subject: Option<SubjectRef>,
    /// What the token's scopes leave; none if they restrict nothing.
    pub(crate) scopes: Option<PermissionSet>,
    /// Another service asks for itself.
    pub(crate) is_service: bool,
}

impl Asker {
    pub(crate) fn of(principal: Option<&Principal>) -> Self {
        Self {
            subject: principal.map(|principal| SubjectRef::user(principal.subject())),
            scopes: principal.and_then(|principal| scope_permissions(principal.scopes())),
            is_service: context::caller_service().is_some_and(|name| name != GATEWAY),
        }
    }

    /// For events: who caused it.
    pub(crate) fn actor(&self) -> Option<&str> {
        self.subject.as_ref().map(|subject| subject.id.as_str())
    }

    /// All the asker may do on a resource; everything for another service.
    pub(crate) fn held(&self, db: &Db<'_>, resource: &ResourceRef) -> Result<PermissionSet> {
        if self.is_service {
            return Ok(BuiltIn::Owner.permissions());
        }
        let subject =
            self.subject.as_ref().ok_or_else(|| Error::unauthorized("log in to do this"))?;
        let held = grants(db, subject, resource, 0)?.allowed(&Circumstances::at(Timestamp::now()));
        Ok(self.scopes.map_or(held, |scopes| held.intersection(scopes)))
    }

    /// 403 without the permission; answers all that is held.
    pub(crate) fn require(
        &self,
        db: &Db<'_>,
        permission: Permission,
        resource: &ResourceRef,
    ) -> Result<PermissionSet> {
        let held = self.held(db, resource)?;
        if held.contains(permission) { Ok(held) } else { Err(lacks(permission)) }
    }

    /// As [`require`](Self::require), on the tenant.
    pub(crate) fn require_on_tenant(
        &self,
        db: &Db<'_>,
        permission: Permission,
    ) -> Result<PermissionSet> {
        self.require(db, permission, &ResourceRef::tenant(tenant_of(db)?))
    }
}

pub(crate) fn lacks(permission: Permission) -> Error {
    Error::forbidden(format!("this needs the permission {} there", permission.name()))
}

/// 403 for more than one has: nobody gives, takes or changes what they do not have themselves.
pub(crate) fn within(permissions: PermissionSet, held: PermissionSet) -> Result<()> {
    if permissions.is_subset_of(held) {
        return Ok(());
    }
    let missing = permissions.without(held).names().join(", ");
    Err(Error::forbidden(format!("the role has more than you: {missing}"))
        .code_is("role.beyond-own"))
}

/// The tag of all that is cached of a tenant.
pub(crate) fn tag(tenant: &str) -> String {
    format!("tenant:{tenant}")
}

/// Forgets what is cached of a tenant, on every node.
pub(crate) fn forget(tenant: &str) {
    cache::drop_tag(&tag(tenant));
}

fn key(subject: &SubjectRef, resource: &ResourceRef) -> String {
    // Ids have no control characters.
    let (kind, id) = (&resource.kind, &resource.id);
    format!("grants\u{1f}{}\u{1f}{}\u{1f}{kind}\u{1f}{id}", subject.kind, subject.id)
}

/// What reaches a subject on a resource, at `revision` or later.
pub(crate) fn grants(
    db: &Db<'_>,
    subject: &SubjectRef,
    resource: &ResourceRef,
    revision: i64,
) -> Result<Grants> {
    if let Some(cached) = cached(subject, resource, revision) {
        return Ok(cached);
    }
    load(db, subject, std::slice::from_ref(resource))?
        .pop()
        .ok_or_else(|| Error::internal("no answer for a resource"))
}

/// From the node's cache.
pub(crate) fn cached(
    subject: &SubjectRef,
    resource: &ResourceRef,
    revision: i64,
) -> Option<Grants> {
    cache::get_json::<Grants>(Scope::Tenant, &key(subject, resource))
        .filter(|grants| grants.revision >= revision)
}

/// From the database, into the cache. What another call drops while this one reads is not kept:
/// the mark that every change drops is another one then.
pub(crate) fn load(
    db: &Db<'_>,
    subject: &SubjectRef,
    resources: &[ResourceRef],
) -> Result<Vec<Grants>> {
    const MARK: &str = "mark";
    const MARK_LASTS: Duration = Duration::from_secs(3600);
    let tag = tag(tenant_of(db)?);
    let mark = match cache::get(Scope::Tenant, MARK) {
        Some(mark) => mark,
        None => {
            let mark = Uuid::v7().as_bytes().to_vec();
            cache::put(Scope::Tenant, MARK, &mark, MARK_LASTS, &[&tag])?;
            mark
        }
    };
    let all = store::grants::load(db, subject, resources, Timestamp::now())?;
    let ttl = Duration::from_secs(config::get("decision-cache-seconds")?);
    if ttl.is_zero() || cache::get(Scope::Tenant, MARK) != Some(mark) {
        return Ok(all);
    }
    for (resource, grants) in resources.iter().zip(&all) {
        if let Err(error) =
            cache::put_json(Scope::Tenant, &key(subject, resource), grants, ttl, &[&tag])
        {
            sdk::debug!("not cached: {error}");
        }
    }
    Ok(all)
}
