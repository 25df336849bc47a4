//! The tree of resources.

use sdk::{
    Error, Principal, Result, Schema,
    http::{ETag, IfMatch, Json, NoContent, Path, Routes, WithEtag},
    schema,
    sql::Db,
};
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Asker, tenant_of},
    changes::{self, Change, WithToken},
};
use crate::{
    domain::{Permission, ResourceRef, may_hang_under},
    store::tree,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "resources";
    /// Where a resource hangs.
    GET "/api/v1/permissions/resources/{type}/{id}" => get_resource, errors [403];
    /// Hangs a resource under a parent.
    ///
    /// Needs `workspace.manage` on both, or a service as the caller. What hangs under the
    /// resource moves with it.
    PUT "/api/v1/permissions/resources/{type}/{id}" => put_resource, errors [403];
    /// Takes a resource out of the tree; it hangs under the tenant again.
    DELETE "/api/v1/permissions/resources/{type}/{id}" => delete_resource, errors [403];
};

/// Where to hang it.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Placement {
    /// What it hangs under: `tenant`, a workspace, base or table.
    parent: ResourceRef,
}

/// A resource in the tree.
#[derive(Debug, Serialize, Schema)]
struct Resource {
    /// The resource.
    resource: ResourceRef,
    /// What it hangs under.
    parent: ResourceRef,
    /// Counts its changes.
    version: i64,
}

type Named = Path<(String, String)>;

fn resource_of(Path((kind, id)): Named) -> Result<ResourceRef> {
    let resource = ResourceRef { kind, id };
    schema::check(&resource).map_err(|_| missing())?;
    if resource.kind == "tenant" {
        return Err(missing());
    }
    Ok(resource)
}

fn missing() -> Error {
    Error::not_found("the resource is not in the tree")
}

fn get_resource(
    path: Named,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<WithEtag<Json<Resource>>> {
    let asker = Asker::of(principal.as_ref());
    let resource = resource_of(path)?;
    let placed = tree::find(&db, &resource)?.ok_or_else(missing)?;
    asker.require(&db, Permission::ROLE_READ, &resource)?;
    let parent = ResourceRef::new(placed.parent_kind, placed.parent_id);
    let found = Resource { resource, parent, version: placed.version };
    Ok(WithEtag(ETag::version(found.version), Json(found)))
}

fn put_resource(
    path: Named,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
    Json(Placement { parent }): Json<Placement>,
) -> Result<WithToken<WithEtag<Json<Resource>>>> {
    let asker = Asker::of(principal.as_ref());
    let resource = resource_of(path)?;
    if parent.is_foreign(tenant_of(&db)?) {
        return Err(Error::violation("/parent/id", "is not your tenant"));
    }
    if !may_hang_under(&resource.kind, &parent.kind) {
        let message = format!("a {} does not hang under a {}", resource.kind, parent.kind);
        return Err(Error::violation("/parent/type", message));
    }
    asker.require(&db, Permission::WORKSPACE_MANAGE, &resource)?;
    asker.require(&db, Permission::WORKSPACE_MANAGE, &parent)?;
    let tx = db.begin()?;
    let old = tree::find(&tx, &resource)?;
    let version = old.as_ref().map_or(0, |old| old.version);
    if_match.check(&ETag::version(version))?;
    if old.is_some_and(|old| old.parent_kind == parent.kind && old.parent_id == parent.id) {
        let token = changes::token(crate::store::revision(&tx)?);
        let same = Resource { resource, parent, version };
        return Ok(WithToken(token, WithEtag(ETag::version(version), Json(same))));
    }
    let placed = Resource { resource, parent, version: version + 1 };
    tree::put(&tx, &placed.resource, &placed.parent, placed.version)?;
    let operation = if version == 0 { "created" } else { "updated" };
    let token = record(&tx, &asker, operation, &placed.resource)?;
    tx.commit()?;
    access::forget(tenant_of(&db)?);
    Ok(WithToken(token, WithEtag(ETag::version(placed.version), Json(placed))))
}

fn delete_resource(
    path: Named,
    if_match: IfMatch,
    principal: Option<Principal>,
    db: Db<'static>,
) -> Result<WithToken<NoContent>> {
    let asker = Asker::of(principal.as_ref());
    let resource = resource_of(path)?;
    let old = tree::find(&db, &resource)?.ok_or_else(missing)?;
    asker.require(&db, Permission::WORKSPACE_MANAGE, &resource)?;
    // From then on it is the tenant that decides.
    asker.require_on_tenant(&db, Permission::WORKSPACE_MANAGE)?;
    if_match.check(&ETag::version(old.version))?;
    let tx = db.begin()?;
    tree::delete(&tx, &resource)?;
    let token = record(&tx, &asker, "deleted", &resource)?;
    tx.commit()?;
    access::forget(tenant_of(&db)?);
    Ok(WithToken(token, NoContent))
}

fn record(
    tx: &Db<'_>,
    asker: &Asker,
    operation: &'static str,
    resource: &ResourceRef,
) -> Result<String> {
    changes::record(
        tx,
        Change {
            what: "resource",
            operation,
            id: &resource.to_string(),
            resource: Some(resource),
            subject: None,
            actor: asker.actor(),
        },
    )
}
