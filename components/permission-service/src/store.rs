//! Roles, bindings and the tree in the database.

pub(crate) mod bindings;
pub(crate) mod grants;
pub(crate) mod roles;
pub(crate) mod tree;

use sdk::{Result, params, sql::Db};

/// Counts a change of the tenant: whoever has read this revision has seen the change.
pub(crate) fn next_revision(db: &Db<'_>) -> Result<i64> {
    db.scalar(
        "INSERT INTO revisions (tenant_id, revision) VALUES ($tenant, 1)
         ON CONFLICT (tenant_id) DO UPDATE SET revision = revisions.revision + 1
         RETURNING revision",
        params![],
    )
}

/// The revision now.
pub(crate) fn revision(db: &Db<'_>) -> Result<i64> {
    let found: Option<(i64,)> =
        db.optional("SELECT revision FROM revisions WHERE tenant_id = $tenant", params![])?;
    Ok(found.map_or(0, |(revision,)| revision))
}
