//! Tenants.

use sdk::{
    Error, Result, Row, Schema, Uuid,
    http::{Page, PageQuery},
    params,
    sql::{self, Db, Json},
};
use serde::Serialize;

use crate::domain::{TenantInfo, member::Role};

/// A tenant of a user.
#[derive(Debug, Serialize, Schema, Row)]
pub(crate) struct OwnTenant {
    /// Its id.
    #[row(rename = "tenant_id")]
    pub(crate) id: String,
    /// Its name.
    #[schema(example = "Analytical Engines")]
    pub(crate) name: String,
    /// The user's role in it.
    pub(crate) role: Role,
    /// Whether it is the one the user is signed in to.
    #[row(default)]
    pub(crate) current: bool,
}

pub(crate) fn get(db: &Db<'_>) -> Result<TenantInfo> {
    db.optional(
        "SELECT tenant_id, name, preferences, created_at, version FROM tenants
         WHERE tenant_id = $tenant",
        params![],
    )?
    .ok_or_else(|| Error::not_found("the tenant does not exist"))
}

/// A user's tenants: the only question that goes across them, by the user's own id.
pub(crate) fn of_user(user: Uuid, page: &PageQuery) -> Result<Page<OwnTenant>> {
    let rows = sql::query(
        "SELECT t.tenant_id AS tenant_id, t.name AS name, m.role AS role
         FROM tenant_members m JOIN tenants t ON t.tenant_id = m.tenant_id
         WHERE m.user_id = $1 AND ($2 IS NULL OR m.tenant_id > $2)
         ORDER BY m.tenant_id LIMIT $3",
        params![user, page.after::<String>()?, page.fetch()],
    )?;
    page.of(rows, |tenant: &OwnTenant| tenant.id.clone())
}

/// Adds the tenant; answers whether it was not there.
pub(crate) fn insert(db: &Db<'_>, tenant: &TenantInfo) -> Result<bool> {
    let rows = db.execute(
        "INSERT INTO tenants (tenant_id, name, preferences, created_at, version)
         VALUES ($tenant, $1, $2, $3, $4) ON CONFLICT (tenant_id) DO NOTHING",
        params![tenant.name, Json(&tenant.preferences), tenant.created_at, tenant.version],
    )?;
    Ok(rows > 0)
}

/// Writes the tenant over the one with the version before.
pub(crate) fn update(db: &Db<'_>, tenant: &TenantInfo) -> Result<()> {
    let rows = db.execute(
        "UPDATE tenants SET name = $1, preferences = $2, version = $3
         WHERE tenant_id = $tenant AND version = $3 - 1",
        params![tenant.name, Json(&tenant.preferences), tenant.version],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

/// Removes the tenant, its workspaces and its invitations, once nobody is in it.
pub(crate) fn delete(db: &Db<'_>) -> Result<()> {
    db.execute("DELETE FROM invitations WHERE tenant_id = $tenant", params![])?;
    db.execute("DELETE FROM workspaces WHERE tenant_id = $tenant", params![])?;
    db.execute("DELETE FROM tenants WHERE tenant_id = $tenant", params![])?;
    Ok(())
}
