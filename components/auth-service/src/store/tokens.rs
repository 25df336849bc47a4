//! Personal tokens and API keys.

use sdk::{
    Result, Row, Schema, Timestamp, Uuid,
    http::{Page, PageQuery},
    params,
    sql::{Db, Json},
};
use serde::Serialize;

use crate::domain::credential::TokenKind;

/// A long-lived token as its user sees it; the token itself is not kept.
#[derive(Clone, Debug, Serialize, Schema, Row)]
pub(crate) struct Token {
    /// Its id.
    pub(crate) id: Uuid,
    /// What it is for.
    pub(crate) kind: TokenKind,
    /// Its name.
    #[schema(example = "nightly import")]
    pub(crate) name: String,
    /// How it begins.
    #[schema(example = "patAbCdEfGhIjKlMn")]
    pub(crate) prefix: String,
    /// What it is limited to.
    #[row(json)]
    pub(crate) scopes: Vec<String>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it expires; null for never.
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub(crate) last_used_at: Option<Timestamp>,
}

/// A token with all that decides about it.
#[derive(Debug, Row)]
pub(crate) struct Known {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: String,
    pub(crate) user_id: Uuid,
    pub(crate) kind: TokenKind,
    pub(crate) token_hash: String,
    #[row(json)]
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) disabled: bool,
    pub(crate) verified_at: Option<Timestamp>,
    /// None if the user has left the tenant.
    pub(crate) role: Option<String>,
}

pub(crate) fn insert(
    db: &Db<'_>,
    token: &Token,
    hash: &str,
    user: Uuid,
    tenant: &str,
) -> Result<()> {
    db.execute(
        "INSERT INTO api_tokens (id, tenant_id, user_id, kind, name, prefix, token_hash, scopes,
                                 created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            token.id,
            tenant,
            user,
            token.kind,
            token.name,
            token.prefix,
            hash,
            Json(&token.scopes),
            token.created_at,
            token.expires_at
        ],
    )?;
    Ok(())
}

/// By the part that names it: who has the token is not known to be asking yet.
pub(crate) fn by_prefix(db: &Db<'_>, prefix: &str) -> Result<Option<Known>> {
    db.optional(
        "SELECT t.id AS id, t.tenant_id AS tenant_id, t.user_id AS user_id, t.kind AS kind,
                t.token_hash AS token_hash, t.scopes AS scopes, t.expires_at AS expires_at,
                t.last_used_at AS last_used_at, t.revoked_at AS revoked_at,
                u.disabled AS disabled, u.verified_at AS verified_at, m.role AS role
         FROM api_tokens t JOIN users u ON u.id = t.user_id
         LEFT JOIN memberships m ON m.user_id = t.user_id AND m.tenant_id = t.tenant_id
         WHERE t.prefix = $1",
        params![prefix],
    )
}

pub(crate) fn used(db: &Db<'_>, id: Uuid, now: Timestamp) -> Result<()> {
    db.execute("UPDATE api_tokens SET last_used_at = $1 WHERE id = $2", params![now, id])?;
    Ok(())
}

/// Live tokens of a user in the tenant.
pub(crate) fn count(db: &Db<'_>, user: Uuid) -> Result<i64> {
    db.scalar(
        "SELECT count(*) FROM api_tokens
         WHERE tenant_id = $tenant AND user_id = $1 AND revoked_at IS NULL",
        params![user],
    )
}

/// Whether a user has a live token of this name.
pub(crate) fn has(db: &Db<'_>, user: Uuid, name: &str, now: Timestamp) -> Result<bool> {
    let count: i64 = db.scalar(
        "SELECT count(*) FROM api_tokens
         WHERE tenant_id = $tenant AND user_id = $1 AND name = $2 AND revoked_at IS NULL
           AND (expires_at IS NULL OR expires_at > $3)",
        params![user, name, now],
    )?;
    Ok(count > 0)
}

/// A user's tokens in the tenant that were not revoked, newest first.
pub(crate) fn list(db: &Db<'_>, user: Uuid, page: &PageQuery) -> Result<Page<Token>> {
    let rows = db.query(
        "SELECT id, kind, name, prefix, scopes, created_at, expires_at, last_used_at
         FROM api_tokens
         WHERE tenant_id = $tenant AND user_id = $1 AND revoked_at IS NULL
           AND ($2 IS NULL OR id < $2)
         ORDER BY id DESC LIMIT $3",
        params![user, page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(rows, |token: &Token| token.id)
}

/// What is kept of a user's tokens in the tenant, revoked ones included, newest first.
pub(crate) fn of_user(db: &Db<'_>, user: Uuid) -> Result<Vec<Token>> {
    db.query(
        "SELECT id, kind, name, prefix, scopes, created_at, expires_at, last_used_at
         FROM api_tokens WHERE tenant_id = $tenant AND user_id = $1 ORDER BY id DESC LIMIT 5000",
        params![user],
    )
}

/// Revokes a token of the user in the tenant; answers whether it was alive.
pub(crate) fn revoke(db: &Db<'_>, user: Uuid, id: Uuid, now: Timestamp) -> Result<bool> {
    let rows = db.execute(
        "UPDATE api_tokens SET revoked_at = $1
         WHERE tenant_id = $tenant AND user_id = $2 AND id = $3 AND revoked_at IS NULL",
        params![now, user, id],
    )?;
    Ok(rows > 0)
}

/// Removes a user's tokens, in one tenant or in all; answers those that were alive.
pub(crate) fn delete_of_user(
    db: &Db<'_>,
    user: Uuid,
    tenant: Option<&str>,
) -> Result<Vec<(Uuid, String)>> {
    let gone: Vec<(Uuid, String, Option<Timestamp>)> = match tenant {
        Some(tenant) => db.query(
            "DELETE FROM api_tokens WHERE user_id = $1 AND tenant_id = $2
             RETURNING id, tenant_id, revoked_at",
            params![user, tenant],
        ),
        None => db.query(
            "DELETE FROM api_tokens WHERE user_id = $1 RETURNING id, tenant_id, revoked_at",
            params![user],
        ),
    }?;
    let alive = gone.into_iter().filter(|(_, _, revoked)| revoked.is_none());
    Ok(alive.map(|(id, tenant, _)| (id, tenant)).collect())
}
