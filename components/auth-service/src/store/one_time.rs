//! Tokens that were mailed and are good once.

use sdk::{Result, Row, Text, Timestamp, Uuid, params, sql::Db};
use serde::Serialize;

/// What a mailed token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    Verify,
    Reset,
}

#[derive(Debug, Row)]
pub(crate) struct OneTime {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) purpose: Purpose,
    pub(crate) token_hash: String,
    pub(crate) password_hash: Option<String>,
    pub(crate) expires_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
}

pub(crate) fn insert(
    db: &Db<'_>,
    token: &OneTime,
    tenant: &str,
    created_at: Timestamp,
) -> Result<()> {
    db.execute(
        "INSERT INTO one_time_tokens (id, tenant_id, user_id, purpose, token_hash, password_hash,
                                      created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            token.id,
            tenant,
            token.user_id,
            token.purpose,
            token.token_hash,
            token.password_hash,
            created_at,
            token.expires_at
        ],
    )?;
    Ok(())
}

pub(crate) fn get(db: &Db<'_>, id: Uuid) -> Result<Option<OneTime>> {
    db.optional(
        "SELECT id, user_id, purpose, token_hash, password_hash, expires_at, used_at
         FROM one_time_tokens WHERE id = $1",
        params![id],
    )
}

/// How many tokens of the user for this purpose could be used now.
pub(crate) fn pending(db: &Db<'_>, user: Uuid, purpose: Purpose, now: Timestamp) -> Result<i64> {
    db.scalar(
        "SELECT count(*) FROM one_time_tokens
         WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3",
        params![user, purpose, now],
    )
}

/// Uses a token, and with it all others of the user for the same purpose; answers whether this
/// one was unused. The passwords of registrations are not kept longer than that.
pub(crate) fn spend(db: &Db<'_>, token: &OneTime, now: Timestamp) -> Result<bool> {
    let rows = db.execute(
        "UPDATE one_time_tokens SET used_at = $1, password_hash = NULL
         WHERE id = $2 AND used_at IS NULL",
        params![now, token.id],
    )?;
    if rows > 0 {
        db.execute(
            "DELETE FROM one_time_tokens
             WHERE user_id = $1 AND purpose = $2 AND used_at IS NULL",
            params![token.user_id, token.purpose],
        )?;
    }
    Ok(rows > 0)
}

pub(crate) fn delete_of_user(db: &Db<'_>, user: Uuid) -> Result<u64> {
    db.execute("DELETE FROM one_time_tokens WHERE user_id = $1", params![user])
}
