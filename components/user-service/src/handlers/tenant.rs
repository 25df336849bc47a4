//! Tenants and their members.

use sdk::{
    Error, Principal, Result, Schema, Uuid,
    http::{ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Routes, WithEtag},
    sql::Db,
};
use serde::Deserialize;

use super::{
    not_allowed,
    published::{self, Container},
    subject, user_of, writer_of,
};
use crate::{
    domain::{
        TenantInfo,
        member::{Member, Role},
        profile::PreferencesPatch,
    },
    store::{
        members,
        tenants::{self, OwnTenant},
    },
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "tenants";
    /// Lists the tenants that the user who asks may sign in to.
    GET "/api/v1/tenants" => list;
    /// The tenant that the user is signed in to.
    GET "/api/v1/tenants/current" => current;
    /// Changes it; what is absent stays.
    PATCH "/api/v1/tenants/current" => change;
    /// Lists its members.
    GET "/api/v1/tenants/current/members" => list_members;
    /// One of its members.
    GET "/api/v1/tenants/current/members/{user}" => member;
    /// Gives a member another role.
    PUT "/api/v1/tenants/current/members/{user}" => set_role, errors [409];
    /// Removes a member, or lets one leave.
    DELETE "/api/v1/tenants/current/members/{user}" => remove, errors [409];
};

fn list(principal: Principal, page: PageQuery) -> Result<Page<OwnTenant>> {
    let mut found = tenants::of_user(user_of(&principal)?, &page)?;
    for tenant in &mut found.data {
        tenant.current = tenant.id == principal.tenant().as_str();
    }
    Ok(found)
}

fn answer(tenant: TenantInfo) -> WithEtag<Json<TenantInfo>> {
    WithEtag(ETag::version(tenant.version), Json(tenant))
}

fn current(db: Db<'static>) -> Result<WithEtag<Json<TenantInfo>>> {
    tenants::get(&db).map(answer)
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct TenantPatch {
    /// Its name.
    #[schema(not_blank, max_length = 200, example = "Analytical Engines")]
    name: Option<String>,
    /// What members' preferences are unless they choose.
    preferences: Option<PreferencesPatch>,
}

fn change(
    principal: Principal,
    if_match: IfMatch,
    db: Db<'static>,
    Json(patch): Json<TenantPatch>,
) -> Result<WithEtag<Json<TenantInfo>>> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    if !members::standing(&tx, user, None)?.tenant_role.manages() {
        return Err(not_allowed());
    }
    let mut tenant = tenants::get(&tx)?;
    if_match.check(&ETag::version(tenant.version))?;
    if let Some(name) = patch.name {
        tenant.name = name;
    }
    if let Some(preferences) = patch.preferences {
        tenant.preferences = preferences.or(tenant.preferences);
    }
    tenant.version += 1;
    tenants::update(&tx, &tenant)?;
    tx.commit()?;
    Ok(answer(tenant))
}

fn list_members(page: PageQuery, db: Db<'static>) -> Result<Page<Member>> {
    members::of_tenant(&db, &page)
}

fn no_member() -> Error {
    Error::not_found("there is no such member")
}

fn member(Path(user): Path<Uuid>, db: Db<'static>) -> Result<WithEtag<Json<Member>>> {
    let member = members::tenant_member(&db, user)?.ok_or_else(no_member)?;
    Ok(WithEtag(ETag::version(member.version), Json(member)))
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleInput {
    /// The role from now on.
    pub(super) role: Role,
}

fn set_role(
    principal: Principal,
    Path(user): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
    Json(input): Json<RoleInput>,
) -> Result<WithEtag<Json<Member>>> {
    let asker = writer_of(&principal)?;
    let tx = db.begin()?;
    let own = members::standing(&tx, asker, None)?.tenant_role;
    let mut member = members::tenant_member(&tx, user)?.ok_or_else(no_member)?;
    if_match.check(&ETag::version(member.version))?;
    if !own.may_change(Some(member.role), Some(input.role)) {
        return Err(not_allowed());
    }
    if member.role != input.role {
        if member.role == Role::Owner {
            subject::refuse_last_owner_of_any(&tx, user)?;
        }
        members::set_role(&tx, user, input.role, member.version)?;
        let (from, to) = (Some(member.role), Some(input.role));
        published::membership(&tx, user, Container::Tenant, from, to)?;
        tx.commit()?;
        member.role = input.role;
        member.version += 1;
    }
    Ok(WithEtag(ETag::version(member.version), Json(member)))
}

fn remove(
    principal: Principal,
    Path(user): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
) -> Result<NoContent> {
    let asker = writer_of(&principal)?;
    let tx = db.begin()?;
    let own = members::standing(&tx, asker, None)?.tenant_role;
    let member = members::tenant_member(&tx, user)?.ok_or_else(no_member)?;
    if_match.check(&ETag::version(member.version))?;
    if user != asker && !own.may_change(Some(member.role), None) {
        return Err(not_allowed());
    }
    if member.role == Role::Owner {
        subject::refuse_last_owner_of_any(&tx, user)?;
    }
    let reason = if user == asker { "requested" } else { "administrator" };
    subject::detach(&tx, user, reason, false)?;
    tx.commit()?;
    Ok(NoContent)
}
