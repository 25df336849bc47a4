//! Connections in the database, and on the node for a moment.

use std::time::Duration;

use sdk::{
    Error, Result, Timestamp, Uuid,
    cache::{self, Scope},
    http::{Page, PageQuery},
    params,
    sql::{self, Db},
};

use crate::domain::connection::Connection;

const TAG: &str = "connections";
const CACHED_FOR: Duration = Duration::from_secs(30);

/// The tenant's connection to a base; 404 if it has none.
pub(crate) fn of_base(base: &str) -> Result<Connection> {
    let key = format!("base/{base}");
    if let Some(connection) = cache::get_json(Scope::Tenant, &key) {
        return Ok(connection);
    }
    let connection = find(&sql::tenant()?, base)?
        .ok_or_else(|| Error::not_found("the base is not connected"))?;
    cache::put_json(Scope::Tenant, &key, &connection, CACHED_FOR, &[TAG])?;
    Ok(connection)
}

/// Drops what nodes know, after a change is durable.
pub(crate) fn changed() {
    cache::drop_tag(TAG);
}

pub(crate) fn find(db: &Db<'_>, base: &str) -> Result<Option<Connection>> {
    db.optional(
        "SELECT id, name, base_id, base_name, permission_level, workspace_id, created_by, refused,
                version, created_at, updated_at
         FROM connections WHERE tenant_id = $tenant AND base_id = $1",
        params![base],
    )
}

pub(crate) fn list(db: &Db<'_>, page: &PageQuery) -> Result<Page<Connection>> {
    let rows = db.query(
        "SELECT id, name, base_id, base_name, permission_level, workspace_id, created_by, refused,
                version, created_at, updated_at
         FROM connections WHERE tenant_id = $tenant AND ($1 IS NULL OR id > $1)
         ORDER BY id LIMIT $2",
        params![page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(rows, |connection: &Connection| connection.id)
}

/// All of the tenant's, at most as many as it may have.
pub(crate) fn all(db: &Db<'_>) -> Result<Vec<Connection>> {
    db.query(
        "SELECT id, name, base_id, base_name, permission_level, workspace_id, created_by, refused,
                version, created_at, updated_at
         FROM connections WHERE tenant_id = $tenant ORDER BY id LIMIT 10000",
        params![],
    )
}

pub(crate) fn get(db: &Db<'_>, id: Uuid) -> Result<Connection> {
    db.optional(
        "SELECT id, name, base_id, base_name, permission_level, workspace_id, created_by, refused,
                version, created_at, updated_at
         FROM connections WHERE tenant_id = $tenant AND id = $1",
        params![id],
    )?
    .ok_or_else(|| Error::not_found("the connection does not exist"))
}

pub(crate) fn count(db: &Db<'_>) -> Result<i64> {
    db.scalar("SELECT count(*) FROM connections WHERE tenant_id = $tenant", params![])
}

/// 409 for a base that is connected.
pub(crate) fn taken() -> Error {
    Error::conflict("the base is connected already").code_is("connection.exists")
}

pub(crate) fn insert(db: &Db<'_>, connection: &Connection) -> Result<()> {
    db.execute(
        "INSERT INTO connections (tenant_id, id, name, base_id, base_name, permission_level,
                                  workspace_id, created_by, refused, version, created_at,
                                  updated_at)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            connection.id,
            connection.name,
            connection.base_id,
            connection.base_name,
            connection.permission_level,
            connection.workspace_id,
            connection.created_by,
            connection.refused,
            connection.version,
            connection.created_at,
            connection.updated_at
        ],
    )
    .map_err(|error| error.when("sql.unique-violation", taken))?;
    Ok(())
}

/// Writes a connection over the one with the version before.
pub(crate) fn update(db: &Db<'_>, connection: &Connection) -> Result<()> {
    let rows = db.execute(
        "UPDATE connections SET name = $1, base_name = $2, permission_level = $3,
                workspace_id = $4, refused = $5, version = $6, updated_at = $7
         WHERE tenant_id = $tenant AND id = $8 AND version = $6 - 1",
        params![
            connection.name,
            connection.base_name,
            connection.permission_level,
            connection.workspace_id,
            connection.refused,
            connection.version,
            connection.updated_at,
            connection.id
        ],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

/// Keeps whether Airtable accepts the token.
pub(crate) fn set_refused(id: Uuid, refused: bool) -> Result<()> {
    sql::tenant()?.execute(
        "UPDATE connections SET refused = $1, version = version + 1, updated_at = $2
         WHERE tenant_id = $tenant AND id = $3",
        params![refused, Timestamp::now(), id],
    )?;
    changed();
    Ok(())
}

pub(crate) fn delete(db: &Db<'_>, id: Uuid) -> Result<()> {
    db.execute("DELETE FROM connections WHERE tenant_id = $tenant AND id = $1", params![id])?;
    Ok(())
}

/// Connections that somebody made.
pub(crate) fn made_by(db: &Db<'_>, subject: &str) -> Result<Vec<Connection>> {
    db.query(
        "SELECT id, name, base_id, base_name, permission_level, workspace_id, created_by, refused,
                version, created_at, updated_at
         FROM connections WHERE tenant_id = $tenant AND created_by = $1 ORDER BY id LIMIT 10000",
        params![subject],
    )
}

/// Forgets who made them.
pub(crate) fn forget_maker(db: &Db<'_>, subject: &str) -> Result<u64> {
    db.execute(
        "UPDATE connections SET created_by = NULL WHERE tenant_id = $tenant AND created_by = $1",
        params![subject],
    )
}
