//! Accounts and their memberships.

use sdk::{Result, Timestamp, Uuid, params, sql::Db};
use serde_json::Value;

use super::history;
use crate::domain::account::{Membership, User};

pub(crate) fn by_email(db: &Db<'_>, key: &str) -> Result<Option<User>> {
    db.optional(
        "SELECT id, tenant_id, email, email_key, name, password_hash, disabled, verified_at,
                password_changed_at, mailed_at, created_at, version
         FROM users WHERE email_key = $1",
        params![key],
    )
}

pub(crate) fn get(db: &Db<'_>, id: Uuid) -> Result<Option<User>> {
    db.optional(
        "SELECT id, tenant_id, email, email_key, name, password_hash, disabled, verified_at,
                password_changed_at, mailed_at, created_at, version
         FROM users WHERE id = $1",
        params![id],
    )
}

/// Adds an account with its own tenant, and says so in its history.
pub(crate) fn insert(db: &Db<'_>, user: &User, data: Value) -> Result<()> {
    db.execute(
        "INSERT INTO users (id, tenant_id, email, email_key, name, password_hash, disabled,
                            verified_at, password_changed_at, mailed_at, created_at, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        params![
            user.id,
            user.tenant_id,
            user.email,
            user.email_key,
            user.name,
            user.password_hash,
            user.disabled,
            user.verified_at,
            user.password_changed_at,
            user.mailed_at,
            user.created_at,
            user.version
        ],
    )?;
    join(db, user.id, &user.tenant_id, "owner")?;
    record(db, user, "user.registered", data)
}

/// Writes an account over the version before it, and appends what happened.
pub(crate) fn save(db: &Db<'_>, user: &mut User, kind: &str, data: Value) -> Result<()> {
    let rows = db.execute(
        "UPDATE users SET password_hash = $1, verified_at = $2, password_changed_at = $3,
                          mailed_at = $4, version = version + 1
         WHERE id = $5 AND version = $6",
        params![
            user.password_hash,
            user.verified_at,
            user.password_changed_at,
            user.mailed_at,
            user.id,
            user.version
        ],
    )?;
    if rows == 0 {
        return Err(history::changed());
    }
    user.version += 1;
    record(db, user, kind, data)
}

fn record(db: &Db<'_>, user: &User, kind: &str, data: Value) -> Result<()> {
    let entry = history::Entry {
        stream: "user",
        id: user.id,
        version: user.version,
        tenant: &user.tenant_id,
        user: user.id,
        kind,
        data,
    };
    history::append(db, &entry)
}

/// Notes when a mail was sent last: no event, since it says nothing of the account.
pub(crate) fn mailed(db: &Db<'_>, id: Uuid, now: Timestamp) -> Result<()> {
    db.execute("UPDATE users SET mailed_at = $1 WHERE id = $2", params![now, id])?;
    Ok(())
}

/// A hash of today's kind for the same password.
pub(crate) fn rehash(db: &Db<'_>, id: Uuid, hash: &str) -> Result<()> {
    db.execute("UPDATE users SET password_hash = $1 WHERE id = $2", params![hash, id])?;
    Ok(())
}

pub(crate) fn memberships(db: &Db<'_>, user: Uuid) -> Result<Vec<Membership>> {
    db.query(
        "SELECT tenant_id, role FROM memberships WHERE user_id = $1 ORDER BY tenant_id",
        params![user],
    )
}

pub(crate) fn membership(db: &Db<'_>, user: Uuid, tenant: &str) -> Result<Option<Membership>> {
    db.optional(
        "SELECT tenant_id, role FROM memberships WHERE user_id = $1 AND tenant_id = $2",
        params![user, tenant],
    )
}

pub(crate) fn join(db: &Db<'_>, user: Uuid, tenant: &str, role: &str) -> Result<()> {
    db.execute(
        "INSERT INTO memberships (user_id, tenant_id, role) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, tenant_id) DO UPDATE SET role = excluded.role",
        params![user, tenant, role],
    )?;
    Ok(())
}

pub(crate) fn leave(db: &Db<'_>, user: Uuid, tenant: &str) -> Result<u64> {
    db.execute(
        "DELETE FROM memberships WHERE user_id = $1 AND tenant_id = $2",
        params![user, tenant],
    )
}

/// Removes an account that began with this tenant; answers whether there was one.
pub(crate) fn delete(db: &Db<'_>, user: Uuid, tenant: &str) -> Result<u64> {
    let rows =
        db.execute("DELETE FROM users WHERE id = $1 AND tenant_id = $2", params![user, tenant])?;
    if rows > 0 {
        db.execute("DELETE FROM memberships WHERE user_id = $1", params![user])?;
    }
    Ok(rows)
}
