//! Roles.

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Uuid,
    http::{Created, ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Routes, WithEtag},
    sql::{Committed, Db},
};
use serde::Deserialize;

use super::{
    access::{self, Asker, tenant_of, within},
    changes::{self, Change, WithToken},
};
use crate::{
    domain::{BuiltIn, Permission, PermissionSet, built_in},
    store::{
        bindings,
        roles::{self, Role},
    },
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "roles";
    /// Lists the built-in roles and the tenant's own.
    GET "/api/v1/permissions/roles" => list_roles;
    /// Makes a role.
    ///
    /// It may have no permission that its maker does not have.
    POST "/api/v1/permissions/roles" => create_role, errors [403, 409, 507];
    /// A role.
    GET "/api/v1/permissions/roles/{id}" => get_role;
    /// Replaces a role.
    PUT "/api/v1/permissions/roles/{id}" => replace_role, errors [403, 409];
    /// Deletes a role that nobody is bound to.
    DELETE "/api/v1/permissions/roles/{id}" => delete_role, errors [403, 409];
};

/// Most roles of a tenant.
const MOST: i64 = 500;

/// What a role is made or replaced with.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct RoleInput {
    /// Its name, one of a kind in the tenant.
    #[schema(not_blank, max_length = 100, example = "Auditor")]
    name: String,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
    /// Permissions and patterns.
    #[schema(min_items = 1, max_items = 100, example = json("[\"record.*\", \"schema.read\"]"))]
    permissions: Vec<String>,
}

impl RoleInput {
    fn check(&self) -> Result<PermissionSet> {
        if built_in(&self.name.to_lowercase()).is_some() {
            return Err(Error::violation("/name", "is the name of a built-in role"));
        }
        PermissionSet::parse(&self.permissions).map_err(|index| {
            Error::violation(format!("/permissions/{index}"), "is not a permission or pattern")
        })
    }
}

fn shown(role: BuiltIn) -> Role {
    Role {
        id: role.as_str().to_owned(),
        name: role.as_str().to_owned(),
        description: role.description().to_owned(),
        permissions: role.permissions().names(),
        version: 0,
        created_at: None,
    }
}

/// A built-in role or one of the tenant's.
pub(crate) fn find(db: &Db<'_>, id: &str) -> Result<Option<Role>> {
    match built_in(id) {
        Some(role) => Ok(Some(shown(role))),
        None => roles::find(db, id),
    }
}

fn own(db: &Db<'_>, id: &str) -> Result<Role> {
    if built_in(id).is_some() {
        return Err(Error::conflict("a built-in role does not change").code_is("role.built-in"));
    }
    roles::find(db, id)?.ok_or_else(missing)
}

fn missing() -> Error {
    Error::not_found("the role does not exist")
}

fn list_roles(
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
) -> Result<Json<Page<Role>>> {
    let asker = Asker::of(principal.as_ref());
    asker.require_on_tenant(&db, Permission::ROLE_READ)?;
    let first = page.after::<String>()?.is_none();
    let mut found = page.of(roles::list(&db, &page)?, |role: &Role| role.id.clone())?;
    if first {
        // Besides the limit: they are few and always there.
        found.data.splice(0..0, BuiltIn::ALL.map(shown));
    }
    Ok(Json(found))
}

fn create_role(
    principal: Option<Principal>,
    db: Db<'static>,
    Json(input): Json<RoleInput>,
) -> Result<Committed<WithToken<Created<Role>>>> {
    let asker = Asker::of(principal.as_ref());
    let held = asker.require_on_tenant(&db, Permission::ROLE_MANAGE)?;
    within(input.check()?, held)?;
    let role = Role {
        id: Uuid::v7().to_string(),
        name: input.name,
        description: input.description,
        permissions: input.permissions,
        version: 1,
        created_at: Some(Timestamp::now()),
    };
    let tx = db.begin()?;
    if roles::count(&tx)? >= MOST {
        return Err(Error::new(507, "role.too-many", format!("a tenant has at most {MOST} roles")));
    }
    roles::insert(&tx, &role)?;
    let token = record(&tx, &asker, "created", &role.id)?;
    let location = format!("/api/v1/permissions/roles/{}", role.id);
    let etag = ETag::version(role.version);
    tx.commit_with(WithToken(token, Created::at(location, role).etag(etag)))
}

fn get_role(
    Path(id): Path<String>,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<WithEtag<Json<Role>>> {
    let asker = Asker::of(principal.as_ref());
    asker.require_on_tenant(&db, Permission::ROLE_READ)?;
    let role = find(&db, &id)?.ok_or_else(missing)?;
    Ok(WithEtag(ETag::version(role.version), Json(role)))
}

fn replace_role(
    Path(id): Path<String>,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
    Json(input): Json<RoleInput>,
) -> Result<WithToken<WithEtag<Json<Role>>>> {
    let asker = Asker::of(principal.as_ref());
    let held = asker.require_on_tenant(&db, Permission::ROLE_MANAGE)?;
    let permissions = input.check()?;
    let tx = db.begin()?;
    let old = own(&tx, &id)?;
    if_match.check(&ETag::version(old.version))?;
    within(permissions.union(PermissionSet::parse_known(&old.permissions)), held)?;
    let role = Role {
        name: input.name,
        description: input.description,
        permissions: input.permissions,
        version: old.version + 1,
        ..old
    };
    roles::update(&tx, &role)?;
    let token = record(&tx, &asker, "updated", &role.id)?;
    tx.commit()?;
    access::forget(tenant_of(&db)?);
    Ok(WithToken(token, WithEtag(ETag::version(role.version), Json(role))))
}

fn delete_role(
    Path(id): Path<String>,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<WithToken<NoContent>> {
    let asker = Asker::of(principal.as_ref());
    let held = asker.require_on_tenant(&db, Permission::ROLE_MANAGE)?;
    let tx = db.begin()?;
    let role = own(&tx, &id)?;
    if_match.check(&ETag::version(role.version))?;
    within(PermissionSet::parse_known(&role.permissions), held)?;
    if bindings::count_of_role(&tx, &id)? > 0 {
        return Err(Error::conflict("somebody is bound to the role").code_is("role.in-use"));
    }
    roles::delete(&tx, &id)?;
    let token = record(&tx, &asker, "deleted", &id)?;
    tx.commit()?;
    access::forget(tenant_of(&db)?);
    Ok(WithToken(token, NoContent))
}

fn record(tx: &Db<'_>, asker: &Asker, operation: &'static str, id: &str) -> Result<String> {
    let actor = asker.actor();
    changes::record(
        tx,
        Change { what: "role", operation, id, resource: None, subject: None, actor },
    )
}
