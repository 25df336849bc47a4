//! Sessions and the refresh tokens that belong to them.

use sdk::{
    Result, Row, Schema, Timestamp, Uuid,
    http::{Page, PageQuery},
    params,
    sql::Db,
};
use serde::Serialize;

/// A session as its user sees it.
#[derive(Clone, Debug, Serialize, Schema, Row)]
pub(crate) struct Session {
    /// Its id.
    pub(crate) id: Uuid,
    /// When it began.
    pub(crate) created_at: Timestamp,
    /// When its tokens were made anew.
    pub(crate) last_used_at: Timestamp,
    /// When it ends if it is not used.
    pub(crate) expires_at: Timestamp,
    /// Where it was begun from.
    #[schema(example = "192.0.2.1")]
    pub(crate) ip: String,
    /// What it was begun with.
    pub(crate) user_agent: String,
    /// Whether it is the one that asks.
    #[row(default)]
    pub(crate) current: bool,
}

/// A refresh token with all that decides about it.
#[derive(Debug, Row)]
pub(crate) struct Refresh {
    pub(crate) token_hash: String,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
    pub(crate) session_id: Uuid,
    pub(crate) tenant_id: String,
    pub(crate) user_id: Uuid,
    pub(crate) began_at: Timestamp,
    pub(crate) revoked_at: Option<Timestamp>,
}

pub(crate) fn insert(db: &Db<'_>, session: &Session, user: Uuid, tenant: &str) -> Result<()> {
    db.execute(
        "INSERT INTO sessions (id, tenant_id, user_id, created_at, last_used_at, expires_at,
                               ip, user_agent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            session.id,
            tenant,
            user,
            session.created_at,
            session.last_used_at,
            session.expires_at,
            session.ip,
            session.user_agent
        ],
    )?;
    Ok(())
}

pub(crate) fn insert_refresh(
    db: &Db<'_>,
    (id, hash): (Uuid, &str),
    session: Uuid,
    tenant: &str,
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<()> {
    db.execute(
        "INSERT INTO refresh_tokens (id, tenant_id, session_id, token_hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![id, tenant, session, hash, now, expires_at],
    )?;
    Ok(())
}

pub(crate) fn refresh(db: &Db<'_>, id: Uuid) -> Result<Option<Refresh>> {
    db.optional(
        "SELECT r.token_hash AS token_hash, r.used_at AS used_at, r.expires_at AS expires_at,
                s.id AS session_id, s.tenant_id AS tenant_id, s.user_id AS user_id,
                s.created_at AS began_at, s.revoked_at AS revoked_at
         FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id
         WHERE r.id = $1",
        params![id],
    )
}

/// Uses a refresh token; answers whether nobody was first.
pub(crate) fn spend_refresh(db: &Db<'_>, id: Uuid, now: Timestamp) -> Result<bool> {
    let rows = db.execute(
        "UPDATE refresh_tokens SET used_at = $1 WHERE id = $2 AND used_at IS NULL",
        params![now, id],
    )?;
    Ok(rows > 0)
}

/// Prolongs a session; answers whether it is alive.
pub(crate) fn touch(db: &Db<'_>, id: Uuid, now: Timestamp, expires_at: Timestamp) -> Result<bool> {
    let rows = db.execute(
        "UPDATE sessions SET last_used_at = $1, expires_at = $2
         WHERE id = $3 AND revoked_at IS NULL",
        params![now, expires_at, id],
    )?;
    Ok(rows > 0)
}

/// A user's live sessions in the tenant, newest first.
pub(crate) fn list(
    db: &Db<'_>,
    user: Uuid,
    page: &PageQuery,
    now: Timestamp,
) -> Result<Page<Session>> {
    let rows = db.query(
        "SELECT id, created_at, last_used_at, expires_at, ip, user_agent FROM sessions
         WHERE tenant_id = $tenant AND user_id = $1 AND revoked_at IS NULL AND expires_at > $2
           AND ($3 IS NULL OR id < $3)
         ORDER BY id DESC LIMIT $4",
        params![user, now, page.after::<Uuid>()?, page.fetch()],
    )?;
    page.of(rows, |session: &Session| session.id)
}

/// What is kept of a user's sessions in the tenant, ended ones included, newest first.
pub(crate) fn of_user(db: &Db<'_>, user: Uuid) -> Result<Vec<Session>> {
    db.query(
        "SELECT id, created_at, last_used_at, expires_at, ip, user_agent FROM sessions
         WHERE tenant_id = $tenant AND user_id = $1 ORDER BY id DESC LIMIT 5000",
        params![user],
    )
}

/// Which sessions to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// This one of the user.
    One(Uuid),
    /// All of the user but this one.
    AllBut(Option<Uuid>),
    /// All of the user in a tenant.
    Of(&'a str),
}

/// Ends sessions; answers those that were alive, with their tenants.
pub(crate) fn revoke(
    db: &Db<'_>,
    user: Uuid,
    which: Which<'_>,
    now: Timestamp,
) -> Result<Vec<(Uuid, String)>> {
    match which {
        Which::One(id) => db.query(
            "UPDATE sessions SET revoked_at = $1
             WHERE user_id = $2 AND id = $3 AND revoked_at IS NULL RETURNING id, tenant_id",
            params![now, user, id],
        ),
        Which::AllBut(kept) => db.query(
            "UPDATE sessions SET revoked_at = $1
             WHERE user_id = $2 AND id <> $3 AND revoked_at IS NULL RETURNING id, tenant_id",
            params![now, user, kept.unwrap_or(Uuid::NIL)],
        ),
        Which::Of(tenant) => db.query(
            "UPDATE sessions SET revoked_at = $1
             WHERE user_id = $2 AND tenant_id = $3 AND revoked_at IS NULL RETURNING id, tenant_id",
            params![now, user, tenant],
        ),
    }
}

/// Removes a user's sessions, in one tenant or in all, with their refresh tokens.
pub(crate) fn delete_of_user(db: &Db<'_>, user: Uuid, tenant: Option<&str>) -> Result<u64> {
    match tenant {
        Some(tenant) => {
            db.execute(
                "DELETE FROM refresh_tokens WHERE session_id IN
                     (SELECT id FROM sessions WHERE user_id = $1 AND tenant_id = $2)",
                params![user, tenant],
            )?;
            db.execute(
                "DELETE FROM sessions WHERE user_id = $1 AND tenant_id = $2",
                params![user, tenant],
            )
        }
        None => {
            db.execute(
                "DELETE FROM refresh_tokens WHERE session_id IN
                     (SELECT id FROM sessions WHERE user_id = $1)",
                params![user],
            )?;
            db.execute("DELETE FROM sessions WHERE user_id = $1", params![user])
        }
    }
}
