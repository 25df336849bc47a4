//! Workspaces and their members.

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Uuid, config,
    http::{Created, ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Routes, WithEtag},
    sql::{Committed, Db},
};
use serde::Deserialize;

use super::{
    not_allowed,
    published::{self, Container},
    tenant::RoleInput,
    user_of, writer_of,
};
use crate::{
    domain::{
        Workspace,
        member::{Member, Role},
    },
    store::{members, workspaces},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "workspaces";
    /// Lists the workspaces that the user who asks may enter.
    GET "/api/v1/workspaces" => list;
    /// Makes a workspace, owned by whoever makes it.
    POST "/api/v1/workspaces" => create, errors [403, 409];
    /// A workspace.
    GET "/api/v1/workspaces/{id}" => get;
    /// Changes a workspace; what is absent stays.
    PATCH "/api/v1/workspaces/{id}" => change, errors [409];
    /// Deletes a workspace.
    DELETE "/api/v1/workspaces/{id}" => delete;
    /// Lists the members of a workspace.
    GET "/api/v1/workspaces/{id}/members" => list_members;
    /// A member of a workspace.
    GET "/api/v1/workspaces/{id}/members/{user}" => member;
    /// Makes a member of the tenant one of the workspace, or gives another role.
    PUT "/api/v1/workspaces/{id}/members/{user}" => put_member, errors [409];
    /// Removes a member, or lets one leave.
    DELETE "/api/v1/workspaces/{id}/members/{user}" => remove_member, errors [409];
};

fn answer(workspace: Workspace) -> WithEtag<Json<Workspace>> {
    WithEtag(ETag::version(workspace.version), Json(workspace))
}

fn no_workspace() -> Error {
    Error::not_found("there is no such workspace")
}

/// The workspace and the user's role in it; 404 to those who may not enter.
fn enter(db: &Db<'_>, user: Uuid, id: Uuid) -> Result<(Workspace, Role)> {
    let role = members::standing(db, user, Some(id))?.in_workspace().ok_or_else(no_workspace)?;
    Ok((workspaces::get(db, id)?.ok_or_else(no_workspace)?, role))
}

/// As [`enter`], for those who manage it.
fn manage(db: &Db<'_>, user: Uuid, id: Uuid) -> Result<Workspace> {
    let (workspace, role) = enter(db, user, id)?;
    if role.manages() { Ok(workspace) } else { Err(not_allowed()) }
}

fn list(principal: Principal, page: PageQuery, db: Db<'static>) -> Result<Page<Workspace>> {
    let user = user_of(&principal)?;
    let manages = members::standing(&db, user, None)?.tenant_role.manages();
    workspaces::list(&db, Some(user).filter(|_| !manages), &page)
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct NewWorkspace {
    /// Its name, one of a kind in the tenant.
    #[schema(not_blank, max_length = 200, example = "Engine")]
    name: String,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 2000)]
    description: String,
}

fn create(
    principal: Principal,
    db: Db<'static>,
    Json(input): Json<NewWorkspace>,
) -> Result<Committed<Created<Workspace>>> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    if members::standing(&tx, user, None)?.tenant_role < Role::Editor {
        return Err(not_allowed());
    }
    if workspaces::count(&tx)? >= config::get("workspaces-per-tenant")? {
        return Err(Error::conflict("the tenant has as many workspaces as it may")
            .code_is("workspace.too-many"));
    }
    let workspace = Workspace {
        id: Uuid::v7(),
        name: input.name.trim().to_owned(),
        description: input.description,
        created_by: user,
        created_at: Timestamp::now(),
        version: 1,
    };
    begin(&tx, &workspace)?;
    let location = format!("/api/v1/workspaces/{}", workspace.id);
    tx.commit_with(Created::at(location, workspace).etag(ETag::version(1)))
}

/// Adds a workspace with its first owner.
pub(super) fn begin(db: &Db<'_>, workspace: &Workspace) -> Result<()> {
    let owner = (workspace.created_by, Role::Owner);
    workspaces::insert(db, workspace)?;
    members::put_in_workspace(db, workspace.id, owner, 1, workspace.created_at)?;
    let container = Container::Workspace(workspace.id);
    published::membership(db, workspace.created_by, container, None, Some(Role::Owner))
}

fn get(
    principal: Principal,
    Path(id): Path<Uuid>,
    db: Db<'static>,
) -> Result<WithEtag<Json<Workspace>>> {
    enter(&db, user_of(&principal)?, id).map(|(workspace, _)| answer(workspace))
}

#[derive(Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct WorkspacePatch {
    /// Its name, one of a kind in the tenant.
    #[schema(not_blank, max_length = 200, example = "Engine")]
    name: Option<String>,
    /// What it is for.
    #[schema(max_length = 2000)]
    description: Option<String>,
}

fn change(
    principal: Principal,
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
    Json(patch): Json<WorkspacePatch>,
) -> Result<WithEtag<Json<Workspace>>> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    let mut workspace = manage(&tx, user, id)?;
    if_match.check(&ETag::version(workspace.version))?;
    if let Some(name) = patch.name {
        workspace.name = name.trim().to_owned();
    }
    if let Some(description) = patch.description {
        workspace.description = description;
    }
    workspace.version += 1;
    workspaces::update(&tx, &workspace)?;
    tx.commit()?;
    Ok(answer(workspace))
}

fn delete(
    principal: Principal,
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
) -> Result<NoContent> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    let workspace = manage(&tx, user, id)?;
    if_match.check(&ETag::version(workspace.version))?;
    for (member, role) in members::empty_workspace(&tx, id)? {
        let role = role.parse().ok();
        published::membership(&tx, member, Container::Workspace(id), role, None)?;
    }
    workspaces::delete(&tx, id)?;
    tx.commit()?;
    Ok(NoContent)
}

fn list_members(
    principal: Principal,
    Path(id): Path<Uuid>,
    page: PageQuery,
    db: Db<'static>,
) -> Result<Page<Member>> {
    enter(&db, user_of(&principal)?, id)?;
    members::of_workspace(&db, id, &page)
}

fn no_member() -> Error {
    Error::not_found("there is no such member")
}

fn member(
    principal: Principal,
    Path((id, user)): Path<(Uuid, Uuid)>,
    db: Db<'static>,
) -> Result<WithEtag<Json<Member>>> {
    enter(&db, user_of(&principal)?, id)?;
    let member = members::workspace_member(&db, id, user)?.ok_or_else(no_member)?;
    Ok(WithEtag(ETag::version(member.version), Json(member)))
}

/// 409 if nobody else owns the workspace.
fn refuse_last_owner(db: &Db<'_>, id: Uuid, member: &Member) -> Result<()> {
    if member.role == Role::Owner && members::other_owners(db, id, member.user_id)? == 0 {
        return Err(Error::conflict("the workspace would have no owner; make another one first")
            .code_is("workspace.last-owner"));
    }
    Ok(())
}

fn put_member(
    principal: Principal,
    Path((id, user)): Path<(Uuid, Uuid)>,
    if_match: IfMatch,
    db: Db<'static>,
    Json(input): Json<RoleInput>,
) -> Result<WithEtag<Json<Member>>> {
    let asker = writer_of(&principal)?;
    let tx = db.begin()?;
    let (_, own) = enter(&tx, asker, id)?;
    let before = members::workspace_member(&tx, id, user)?;
    let version = before.as_ref().map_or(0, |member| member.version);
    if_match.check(&ETag::version(version))?;
    let from = before.as_ref().map(|member| member.role);
    if !own.may_change(from, Some(input.role)) {
        return Err(not_allowed());
    }
    let now = Timestamp::now();
    let mut member = match before {
        Some(member) if member.role == input.role => {
            return Ok(WithEtag(ETag::version(member.version), Json(member)));
        }
        Some(member) => {
            refuse_last_owner(&tx, id, &member)?;
            member
        }
        None => {
            Member { joined_at: now, ..members::tenant_member(&tx, user)?.ok_or_else(no_member)? }
        }
    };
    (member.role, member.version) = (input.role, version + 1);
    members::put_in_workspace(&tx, id, (user, input.role), member.version, now)?;
    published::membership(&tx, user, Container::Workspace(id), from, Some(input.role))?;
    tx.commit()?;
    Ok(WithEtag(ETag::version(member.version), Json(member)))
}

fn remove_member(
    principal: Principal,
    Path((id, user)): Path<(Uuid, Uuid)>,
    if_match: IfMatch,
    db: Db<'static>,
) -> Result<NoContent> {
    let asker = writer_of(&principal)?;
    let tx = db.begin()?;
    let (_, own) = enter(&tx, asker, id)?;
    let member = members::workspace_member(&tx, id, user)?.ok_or_else(no_member)?;
    if_match.check(&ETag::version(member.version))?;
    if user != asker && !own.may_change(Some(member.role), None) {
        return Err(not_allowed());
    }
    refuse_last_owner(&tx, id, &member)?;
    members::remove_from_workspace(&tx, id, user)?;
    published::membership(&tx, user, Container::Workspace(id), Some(member.role), None)?;
    tx.commit()?;
    Ok(NoContent)
}
