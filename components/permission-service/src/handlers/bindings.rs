//! Bindings: who has which role where.

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Uuid,
    http::{
        Created, ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Query, Routes, WithEtag,
    },
    sql::{Committed, Db},
};
use serde::Deserialize;

use super::{
    access::{self, Asker, tenant_of, within},
    changes::{self, Change, WithToken},
    roles,
};
use crate::{
    domain::{Condition, Effect, Permission, PermissionSet, ResourceRef, SubjectKind, SubjectRef},
    store::bindings::{self, Binding, Filter, Source},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "bindings";
    /// Lists bindings.
    ///
    /// Without `role.read` only one's own, asked for by `subject_type=user&subject_id=…`.
    GET "/api/v1/permissions/bindings" => list_bindings;
    /// Gives a role to a subject on a resource, or denies it.
    ///
    /// Needs `role.manage` there, and all permissions of the role.
    POST "/api/v1/permissions/bindings" => create_binding, errors [403, 409];
    /// A binding.
    GET "/api/v1/permissions/bindings/{id}" => get_binding, errors [403];
    /// Replaces condition and expiry of a binding.
    PUT "/api/v1/permissions/bindings/{id}" => replace_binding, errors [403, 409];
    /// Takes a role away.
    ///
    /// The tenant's last owner stays.
    DELETE "/api/v1/permissions/bindings/{id}" => delete_binding, errors [403, 409];
};

/// What a binding is made with.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct BindingInput {
    /// Who.
    subject: SubjectRef,
    /// Name of a built-in role, or id of a role.
    #[schema(min_length = 1, max_length = 100, example = "editor")]
    role: String,
    /// On what.
    resource: ResourceRef,
    /// Gives or takes.
    #[serde(default)]
    effect: Effect,
    /// What must hold besides.
    condition: Option<Condition>,
    /// Until when.
    expires_at: Option<Timestamp>,
}

/// What of a binding can change.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct BindingChange {
    /// What must hold besides; null for nothing.
    condition: Option<Condition>,
    /// Until when; null for ever.
    expires_at: Option<Timestamp>,
}

fn list_bindings(
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<Binding>>> {
    let asker = Asker::of(principal.as_ref());
    let own = asker.subject.as_ref().is_some_and(|subject| {
        filter.subject_type == Some(subject.kind)
            && filter.subject_id.as_deref() == Some(subject.id.as_str())
    });
    if !own {
        asker.require_on_tenant(&db, Permission::ROLE_READ)?;
    }
    let found = bindings::list(&db, &filter, &page)?;
    page.of(found, |binding: &Binding| binding.id).map(Json)
}

fn get_binding(
    Path(id): Path<Uuid>,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<WithEtag<Json<Binding>>> {
    let asker = Asker::of(principal.as_ref());
    let binding = bindings::get(&db, id)?;
    if asker.subject.as_ref() != Some(&binding.subject) {
        asker.require(&db, Permission::ROLE_READ, &binding.resource)?;
    }
    Ok(WithEtag(ETag::version(binding.version), Json(binding)))
}

fn check_expiry(expires_at: Option<Timestamp>) -> Result<()> {
    match expires_at {
        Some(at) if at <= Timestamp::now() => {
            Err(Error::violation("/expires_at", "must be in the future"))
        }
        _ => Ok(()),
    }
}

/// The permissions of a role that can be given.
fn permissions_of(db: &Db<'_>, role: &str) -> Result<PermissionSet> {
    roles::find(db, role)?
        .map(|role| PermissionSet::parse_known(&role.permissions))
        .ok_or_else(|| Error::violation("/role", "is not a role"))
}

fn create_binding(
    principal: Option<Principal>,
    db: Db<'static>,
    Json(input): Json<BindingInput>,
) -> Result<Committed<WithToken<Created<Binding>>>> {
    let asker = Asker::of(principal.as_ref());
    check_expiry(input.expires_at)?;
    if input.resource.is_foreign(tenant_of(&db)?) {
        return Err(Error::violation("/resource/id", "is not your tenant"));
    }
    let held = asker.require(&db, Permission::ROLE_MANAGE, &input.resource)?;
    let binding = Binding {
        id: Uuid::v7(),
        subject: input.subject,
        role: input.role,
        resource: input.resource,
        effect: input.effect,
        condition: input.condition,
        expires_at: input.expires_at,
        source: Source::Api,
        version: 1,
        created_by: asker.actor().map(str::to_owned),
        created_at: Timestamp::now(),
    };
    let tx = db.begin()?;
    within(permissions_of(&tx, &binding.role)?, held)?;
    bindings::insert(&tx, &binding)?;
    let token = record(&tx, &asker, "created", &binding)?;
    let location = format!("/api/v1/permissions/bindings/{}", binding.id);
    let etag = ETag::version(binding.version);
    let reply = tx.commit_with(WithToken(token, Created::at(location, binding).etag(etag)))?;
    access::forget(tenant_of(&db)?);
    Ok(reply)
}

/// The binding, if the asker may change it.
fn changeable(db: &Db<'_>, asker: &Asker, id: Uuid, if_match: &IfMatch) -> Result<Binding> {
    let binding = bindings::get(db, id)?;
    let held = asker.require(db, Permission::ROLE_MANAGE, &binding.resource)?;
    // A role that is gone gives nothing, and may be taken by anyone who manages roles.
    let role = roles::find(db, &binding.role)?;
    within(
        role.map_or_else(PermissionSet::default, |r| PermissionSet::parse_known(&r.permissions)),
        held,
    )?;
    if_match.check(&ETag::version(binding.version))?;
    if binding.source == Source::Membership {
        return Err(
            Error::conflict("it follows a membership; change that").code_is("binding.membership")
        );
    }
    Ok(binding)
}

fn is_owner(binding: &Binding) -> bool {
    binding.role == "owner"
        && binding.resource.kind == "tenant"
        && binding.effect == Effect::Allow
        && binding.expires_at.is_none()
        && binding.condition.is_none()
}

fn keep_an_owner(tx: &Db<'_>, old: &Binding) -> Result<()> {
    if is_owner(old) && !bindings::has_other_owner(tx, old.id)? {
        return Err(Error::conflict("the tenant would have no owner").code_is("binding.last-owner"));
    }
    Ok(())
}

fn replace_binding(
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
    Json(change): Json<BindingChange>,
) -> Result<WithToken<WithEtag<Json<Binding>>>> {
    let asker = Asker::of(principal.as_ref());
    check_expiry(change.expires_at)?;
    let old = changeable(&db, &asker, id, &if_match)?;
    let tx = db.begin()?;
    let binding = Binding {
        condition: change.condition,
        expires_at: change.expires_at,
        version: old.version + 1,
        ..old.clone()
    };
    if !is_owner(&binding) {
        keep_an_owner(&tx, &old)?;
    }
    bindings::update(&tx, &binding)?;
    let token = record(&tx, &asker, "updated", &binding)?;
    tx.commit()?;
    access::forget(tenant_of(&db)?);
    Ok(WithToken(token, WithEtag(ETag::version(binding.version), Json(binding))))
}

fn delete_binding(
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<WithToken<NoContent>> {
    let asker = Asker::of(principal.as_ref());
    let binding = changeable(&db, &asker, id, &if_match)?;
    let tx = db.begin()?;
    keep_an_owner(&tx, &binding)?;
    bindings::delete(&tx, id)?;
    let token = record(&tx, &asker, "deleted", &binding)?;
    tx.commit()?;
    access::forget(tenant_of(&db)?);
    Ok(WithToken(token, NoContent))
}

fn record(
    tx: &Db<'_>,
    asker: &Asker,
    operation: &'static str,
    binding: &Binding,
) -> Result<String> {
    changes::record(
        tx,
        Change {
            what: if binding.effect == Effect::Deny { "deny-rule" } else { "binding" },
            operation,
            id: &binding.id.to_string(),
            resource: Some(&binding.resource),
            // Who is in a group is not said.
            subject: Some(&binding.subject).filter(|s| s.kind != SubjectKind::Group),
            actor: asker.actor(),
        },
    )
}
