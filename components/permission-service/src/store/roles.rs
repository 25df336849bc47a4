//! Roles that a tenant has made.

use sdk::{
    Error, Result, Row, Schema, Timestamp,
    http::PageQuery,
    params,
    sql::{Db, Json},
};
use serde::{Deserialize, Serialize};

/// A role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema, Row)]
pub(crate) struct Role {
    /// Its id; the name of a built-in role.
    pub(crate) id: String,
    /// Its name, one of a kind in the tenant.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) description: String,
    /// Permissions and patterns (`record.*`).
    #[row(json)]
    pub(crate) permissions: Vec<String>,
    /// Counts its changes; 0 for a built-in role, which has none.
    pub(crate) version: i64,
    /// When it was made.
    pub(crate) created_at: Option<Timestamp>,
}

pub(crate) fn list(db: &Db<'_>, page: &PageQuery) -> Result<Vec<Role>> {
    db.query(
        "SELECT id, name, description, permissions, version, created_at FROM roles
         WHERE tenant_id = $tenant AND ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2",
        params![page.after::<String>()?, page.fetch()],
    )
}

pub(crate) fn find(db: &Db<'_>, id: &str) -> Result<Option<Role>> {
    db.optional(
        "SELECT id, name, description, permissions, version, created_at FROM roles
         WHERE tenant_id = $tenant AND id = $1",
        params![id],
    )
}

pub(crate) fn count(db: &Db<'_>) -> Result<i64> {
    db.scalar("SELECT count(*) FROM roles WHERE tenant_id = $tenant", params![])
}

pub(crate) fn insert(db: &Db<'_>, role: &Role) -> Result<()> {
    db.execute(
        "INSERT INTO roles (tenant_id, id, name, description, permissions, version, created_at)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6)",
        params![
            role.id,
            role.name,
            role.description,
            Json(&role.permissions),
            role.version,
            role.created_at
        ],
    )
    .map_err(name_taken)?;
    Ok(())
}

/// Writes a role over the one with the version before.
pub(crate) fn update(db: &Db<'_>, role: &Role) -> Result<()> {
    let rows = db
        .execute(
            "UPDATE roles SET name = $1, description = $2, permissions = $3, version = $4
             WHERE tenant_id = $tenant AND id = $5 AND version = $6",
            params![
                role.name,
                role.description,
                Json(&role.permissions),
                role.version,
                role.id,
                role.version - 1
            ],
        )
        .map_err(name_taken)?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete(db: &Db<'_>, id: &str) -> Result<()> {
    db.execute("DELETE FROM roles WHERE tenant_id = $tenant AND id = $1", params![id])?;
    Ok(())
}

fn name_taken(error: Error) -> Error {
    error.when("sql.unique-violation", || {
        Error::conflict("another role has this name").code_is("role.name-taken")
    })
}
