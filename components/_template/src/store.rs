//! Items in the database.

use sdk::{
    Error, Result, Timestamp, Uuid,
    http::{Page, PageQuery},
    params,
    sql::{Db, Json},
};

use crate::domain::Item;

pub(crate) fn list(db: &Db<'_>, page: &PageQuery) -> Result<Page<Item>> {
    let items = db.query(
        "SELECT id, name, state, tags, version, created_at, expires_at FROM items
         WHERE tenant_id = $tenant AND ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2",
        params![page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(items, |item: &Item| item.id)
}

pub(crate) fn count(db: &Db<'_>) -> Result<i64> {
    db.scalar("SELECT count(*) FROM items WHERE tenant_id = $tenant", params![])
}

pub(crate) fn get(db: &Db<'_>, id: Uuid) -> Result<Item> {
    db.optional(
        "SELECT id, name, state, tags, version, created_at, expires_at FROM items
         WHERE tenant_id = $tenant AND id = $1",
        params![id],
    )?
    .ok_or_else(|| Error::not_found("the item does not exist"))
}

pub(crate) fn insert(db: &Db<'_>, item: &Item) -> Result<()> {
    db.execute(
        "INSERT INTO items (tenant_id, id, name, state, tags, version, created_at, expires_at)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7)",
        params![
            item.id,
            item.name,
            item.state,
            Json(&item.tags),
            item.version,
            item.created_at,
            item.expires_at
        ],
    )
    .map_err(name_taken)?;
    Ok(())
}

/// Writes an item over the one with the version before.
pub(crate) fn update(db: &Db<'_>, item: &Item) -> Result<()> {
    let rows = db
        .execute(
            "UPDATE items SET name = $1, state = $2, tags = $3, version = $4, expires_at = $5
             WHERE tenant_id = $tenant AND id = $6 AND version = $4 - 1",
            params![
                item.name,
                item.state,
                Json(&item.tags),
                item.version,
                item.expires_at,
                item.id
            ],
        )
        .map_err(name_taken)?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete(db: &Db<'_>, id: Uuid) -> Result<()> {
    db.execute("DELETE FROM items WHERE tenant_id = $tenant AND id = $1", params![id])?;
    Ok(())
}

pub(crate) fn delete_expired(db: &Db<'_>, now: Timestamp) -> Result<u64> {
    db.execute("DELETE FROM items WHERE tenant_id = $tenant AND expires_at <= $1", params![now])
}

/// Tenants that have something to expire; the tick that asks belongs to none.
pub(crate) fn tenants_with_expired(db: &Db<'_>, now: Timestamp) -> Result<Vec<(String,)>> {
    db.query("SELECT DISTINCT tenant_id FROM items WHERE expires_at <= $1", params![now])
}

fn name_taken(error: Error) -> Error {
    error.when("sql.unique-violation", || {
        Error::conflict("another item has this name").code_is("item.name-taken")
    })
}
