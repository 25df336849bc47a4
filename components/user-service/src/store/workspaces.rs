//! Workspaces.

use sdk::{
    Error, Result, Uuid,
    http::{Page, PageQuery},
    params,
    sql::Db,
};

use crate::domain::{Workspace, key};

/// Workspaces of the tenant: all of them, or those that a user is a member of.
pub(crate) fn list(db: &Db<'_>, member: Option<Uuid>, page: &PageQuery) -> Result<Page<Workspace>> {
    let rows = db.query(
        "SELECT id, name, description, created_by, created_at, version FROM workspaces w
         WHERE tenant_id = $tenant AND ($1 IS NULL OR id > $1)
           AND ($2 IS NULL OR EXISTS (SELECT 1 FROM workspace_members m
                                      WHERE m.workspace_id = w.id AND m.user_id = $2))
         ORDER BY id LIMIT $3",
        params![page.after::<Uuid>()?, member, page.fetch()],
    )?;
    page.of(rows, |workspace: &Workspace| workspace.id)
}

pub(crate) fn count(db: &Db<'_>) -> Result<i64> {
    db.scalar("SELECT count(*) FROM workspaces WHERE tenant_id = $tenant", params![])
}

pub(crate) fn get(db: &Db<'_>, id: Uuid) -> Result<Option<Workspace>> {
    db.optional(
        "SELECT id, name, description, created_by, created_at, version FROM workspaces
         WHERE tenant_id = $tenant AND id = $1",
        params![id],
    )
}

pub(crate) fn insert(db: &Db<'_>, workspace: &Workspace) -> Result<()> {
    db.execute(
        "INSERT INTO workspaces (tenant_id, id, name, name_key, description, created_by,
                                 created_at, version)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7)",
        params![
            workspace.id,
            workspace.name,
            key(&workspace.name),
            workspace.description,
            workspace.created_by,
            workspace.created_at,
            workspace.version
        ],
    )
    .map_err(name_taken)?;
    Ok(())
}

/// Writes a workspace over the one with the version before.
pub(crate) fn update(db: &Db<'_>, workspace: &Workspace) -> Result<()> {
    let rows = db
        .execute(
            "UPDATE workspaces SET name = $1, name_key = $2, description = $3, version = $4
             WHERE tenant_id = $tenant AND id = $5 AND version = $4 - 1",
            params![
                workspace.name,
                key(&workspace.name),
                workspace.description,
                workspace.version,
                workspace.id
            ],
        )
        .map_err(name_taken)?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete(db: &Db<'_>, id: Uuid) -> Result<()> {
    db.execute("DELETE FROM workspaces WHERE tenant_id = $tenant AND id = $1", params![id])?;
    Ok(())
}

fn name_taken(error: Error) -> Error {
    error.when("sql.unique-violation", || {
        Error::conflict("another workspace has this name").code_is("workspace.name-taken")
    })
}
