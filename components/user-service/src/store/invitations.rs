//! Invitations that wait to be accepted. One that was accepted or withdrawn is removed.

use sdk::{
    Result, Row, Timestamp, Uuid,
    http::{Page, PageQuery},
    params,
    sql::Db,
};

use crate::domain::{Invitation, key, member::Role};

/// An invitation with what decides about its acceptance.
#[derive(Debug, Row)]
pub(crate) struct Known {
    pub(crate) tenant_id: String,
    pub(crate) email_key: String,
    pub(crate) role: Role,
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) token_hash: String,
    pub(crate) expires_at: Timestamp,
}

pub(crate) fn list(db: &Db<'_>, page: &PageQuery, now: Timestamp) -> Result<Page<Invitation>> {
    let rows = db.query(
        "SELECT id, email, role, workspace_id, invited_by, created_at, expires_at FROM invitations
         WHERE tenant_id = $tenant AND expires_at > $1 AND ($2 IS NULL OR id > $2)
         ORDER BY id LIMIT $3",
        params![now, page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(rows, |invitation: &Invitation| invitation.id)
}

/// How many wait in the tenant, how many of them for this address, and how many of the members
/// have it.
pub(crate) fn counts(db: &Db<'_>, email: &str, now: Timestamp) -> Result<(i64, i64, i64)> {
    db.one(
        "SELECT count(*), count(CASE WHEN email_key = $1 THEN 1 END),
                (SELECT count(*) FROM profiles p WHERE p.tenant_id = $tenant AND p.email_key = $1)
         FROM invitations WHERE tenant_id = $tenant AND expires_at > $2",
        params![key(email), now],
    )
}

pub(crate) fn insert(db: &Db<'_>, invitation: &Invitation, token_hash: &str) -> Result<()> {
    db.execute(
        "INSERT INTO invitations (tenant_id, id, email, email_key, role, workspace_id, token_hash,
                                  invited_by, created_at, expires_at)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            invitation.id,
            invitation.email,
            key(&invitation.email),
            invitation.role,
            invitation.workspace_id,
            token_hash,
            invitation.invited_by,
            invitation.created_at,
            invitation.expires_at
        ],
    )?;
    Ok(())
}

/// By the id in a token: whoever has it is in another tenant still.
pub(crate) fn known(db: &Db<'_>, id: Uuid) -> Result<Option<Known>> {
    db.optional(
        "SELECT tenant_id, email_key, role, workspace_id, token_hash, expires_at
         FROM invitations WHERE id = $1",
        params![id],
    )
}

/// Removes an invitation; answers whether it was there.
pub(crate) fn delete(db: &Db<'_>, id: Uuid) -> Result<bool> {
    let rows =
        db.execute("DELETE FROM invitations WHERE tenant_id = $tenant AND id = $1", params![id])?;
    Ok(rows > 0)
}

/// Invitations that the address got from the tenant.
pub(crate) fn to_address(db: &Db<'_>, email: &str) -> Result<Vec<Invitation>> {
    db.query(
        "SELECT id, email, role, workspace_id, invited_by, created_at, expires_at FROM invitations
         WHERE tenant_id = $tenant AND email_key = $1 ORDER BY id LIMIT 1000",
        params![key(email)],
    )
}

pub(crate) fn delete_to_address(db: &Db<'_>, email: &str) -> Result<u64> {
    db.execute(
        "DELETE FROM invitations WHERE tenant_id = $tenant AND email_key = $1",
        params![key(email)],
    )
}
