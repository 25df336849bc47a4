//! Members of tenants and workspaces.

use sdk::{
    Error, Result, Timestamp, Uuid,
    http::{Page, PageQuery},
    params,
    sql::Db,
};

use crate::domain::member::{Member, Role, Standing};

/// What a user is in the tenant, and in a workspace of it.
pub(crate) fn standing(db: &Db<'_>, user: Uuid, workspace: Option<Uuid>) -> Result<Standing> {
    db.optional(
        "SELECT m.role AS tenant_role, w.role AS workspace_role FROM tenant_members m
         LEFT JOIN workspace_members w
             ON w.workspace_id = $2 AND w.user_id = m.user_id AND w.tenant_id = m.tenant_id
         WHERE m.tenant_id = $tenant AND m.user_id = $1",
        params![user, workspace.unwrap_or(Uuid::NIL)],
    )?
    .ok_or_else(|| Error::forbidden("the user is not a member of the tenant"))
}

pub(crate) fn of_tenant(db: &Db<'_>, page: &PageQuery) -> Result<Page<Member>> {
    let rows = db.query(
        "SELECT m.user_id AS user_id, m.role AS role, p.display_name AS display_name,
                p.email AS email, m.joined_at AS joined_at, m.version AS version
         FROM tenant_members m
         JOIN profiles p ON p.tenant_id = m.tenant_id AND p.user_id = m.user_id
         WHERE m.tenant_id = $tenant AND ($1 IS NULL OR m.user_id > $1)
         ORDER BY m.user_id LIMIT $2",
        params![page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(rows, |member: &Member| member.user_id)
}

pub(crate) fn tenant_member(db: &Db<'_>, user: Uuid) -> Result<Option<Member>> {
    db.optional(
        "SELECT m.user_id AS user_id, m.role AS role, p.display_name AS display_name,
                p.email AS email, m.joined_at AS joined_at, m.version AS version
         FROM tenant_members m
         JOIN profiles p ON p.tenant_id = m.tenant_id AND p.user_id = m.user_id
         WHERE m.tenant_id = $tenant AND m.user_id = $1",
        params![user],
    )
}

/// Adds a member to the tenant; answers whether it was none.
pub(crate) fn join(db: &Db<'_>, user: Uuid, role: Role, now: Timestamp) -> Result<bool> {
    let rows = db.execute(
        "INSERT INTO tenant_members (tenant_id, user_id, role, joined_at, version)
         VALUES ($tenant, $1, $2, $3, 1) ON CONFLICT (tenant_id, user_id) DO NOTHING",
        params![user, role, now],
    )?;
    Ok(rows > 0)
}

pub(crate) fn set_role(db: &Db<'_>, user: Uuid, role: Role, version: i64) -> Result<()> {
    let rows = db.execute(
        "UPDATE tenant_members SET role = $1, version = version + 1
         WHERE tenant_id = $tenant AND user_id = $2 AND version = $3",
        params![role, user, version],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn leave(db: &Db<'_>, user: Uuid) -> Result<u64> {
    db.execute(
        "DELETE FROM tenant_members WHERE tenant_id = $tenant AND user_id = $1",
        params![user],
    )
}

/// How many others are in the tenant, and how many of them own it.
pub(crate) fn others(db: &Db<'_>, user: Uuid) -> Result<(i64, i64)> {
    db.one(
        "SELECT count(*), count(CASE WHEN role = 'owner' THEN 1 END) FROM tenant_members
         WHERE tenant_id = $tenant AND user_id <> $1",
        params![user],
    )
}

/// Who owns the tenant when no owner is left: the highest role, and of those the oldest.
pub(crate) fn heir(db: &Db<'_>) -> Result<Option<(Uuid, String, i64)>> {
    db.optional(
        "SELECT user_id, role, version FROM tenant_members WHERE tenant_id = $tenant
         ORDER BY CASE role WHEN 'admin' THEN 0 WHEN 'editor' THEN 1 WHEN 'commenter' THEN 2
                            ELSE 3 END, joined_at, user_id LIMIT 1",
        params![],
    )
}

pub(crate) fn of_workspace(db: &Db<'_>, workspace: Uuid, page: &PageQuery) -> Result<Page<Member>> {
    let rows = db.query(
        "SELECT m.user_id AS user_id, m.role AS role, p.display_name AS display_name,
                p.email AS email, m.joined_at AS joined_at, m.version AS version
         FROM workspace_members m
         JOIN profiles p ON p.tenant_id = m.tenant_id AND p.user_id = m.user_id
         WHERE m.tenant_id = $tenant AND m.workspace_id = $1 AND ($2 IS NULL OR m.user_id > $2)
         ORDER BY m.user_id LIMIT $3",
        params![workspace, page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(rows, |member: &Member| member.user_id)
}

pub(crate) fn workspace_member(db: &Db<'_>, workspace: Uuid, user: Uuid) -> Result<Option<Member>> {
    db.optional(
        "SELECT m.user_id AS user_id, m.role AS role, p.display_name AS display_name,
                p.email AS email, m.joined_at AS joined_at, m.version AS version
         FROM workspace_members m
         JOIN profiles p ON p.tenant_id = m.tenant_id AND p.user_id = m.user_id
         WHERE m.tenant_id = $tenant AND m.workspace_id = $1 AND m.user_id = $2",
        params![workspace, user],
    )
}

/// Makes somebody a member of a workspace, or gives another role over the version before.
pub(crate) fn put_in_workspace(
    db: &Db<'_>,
    workspace: Uuid,
    (user, role): (Uuid, Role),
    version: i64,
    now: Timestamp,
) -> Result<()> {
    let rows = db.execute(
        "INSERT INTO workspace_members (tenant_id, workspace_id, user_id, role, joined_at, version)
         VALUES ($tenant, $1, $2, $3, $4, $5)
         ON CONFLICT (workspace_id, user_id) DO UPDATE
             SET role = excluded.role, version = excluded.version
             WHERE workspace_members.version = excluded.version - 1",
        params![workspace, user, role, now, version],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn remove_from_workspace(db: &Db<'_>, workspace: Uuid, user: Uuid) -> Result<()> {
    db.execute(
        "DELETE FROM workspace_members
         WHERE tenant_id = $tenant AND workspace_id = $1 AND user_id = $2",
        params![workspace, user],
    )?;
    Ok(())
}

/// How many others own the workspace.
pub(crate) fn other_owners(db: &Db<'_>, workspace: Uuid, user: Uuid) -> Result<i64> {
    db.scalar(
        "SELECT count(*) FROM workspace_members
         WHERE tenant_id = $tenant AND workspace_id = $1 AND user_id <> $2 AND role = 'owner'",
        params![workspace, user],
    )
}

/// Removes all members of a workspace; answers who they were.
pub(crate) fn empty_workspace(db: &Db<'_>, workspace: Uuid) -> Result<Vec<(Uuid, String)>> {
    db.query(
        "DELETE FROM workspace_members WHERE tenant_id = $tenant AND workspace_id = $1
         RETURNING user_id, role",
        params![workspace],
    )
}

/// Removes a user from all workspaces of the tenant; answers which they were.
pub(crate) fn leave_workspaces(db: &Db<'_>, user: Uuid) -> Result<Vec<(Uuid, String)>> {
    db.query(
        "DELETE FROM workspace_members WHERE tenant_id = $tenant AND user_id = $1
         RETURNING workspace_id, role",
        params![user],
    )
}

/// The user's workspaces in the tenant, with names and roles.
pub(crate) fn workspaces_of(db: &Db<'_>, user: Uuid) -> Result<Vec<(Uuid, String, String)>> {
    db.query(
        "SELECT m.workspace_id, w.name, m.role FROM workspace_members m
         JOIN workspaces w ON w.id = m.workspace_id AND w.tenant_id = m.tenant_id
         WHERE m.tenant_id = $tenant AND m.user_id = $1 ORDER BY m.workspace_id",
        params![user],
    )
}
