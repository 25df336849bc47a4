//! `auth_events`: what happened, in streams whose versions have no gaps and no doubles.

use sdk::{Error, Result, Timestamp, Uuid, params, sql::Db};
use serde::Serialize;
use serde_json::Value;

/// An event of a stream. Its data holds no secret, address or name.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// `user` or `session`.
    pub(crate) stream: &'a str,
    pub(crate) id: Uuid,
    /// The version the stream has with it.
    pub(crate) version: i64,
    pub(crate) tenant: &'a str,
    pub(crate) user: Uuid,
    pub(crate) kind: &'a str,
    pub(crate) data: Value,
}

pub(crate) fn append(db: &Db<'_>, entry: &Entry<'_>) -> Result<()> {
    db.execute(
        "INSERT INTO auth_events (stream, version, tenant_id, user_id, kind, data, recorded_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            format!("{}-{}", entry.stream, entry.id),
            entry.version,
            entry.tenant,
            entry.user,
            entry.kind,
            entry.data,
            Timestamp::now()
        ],
    )
    .map_err(|error| error.when("sql.unique-violation", changed))?;
    Ok(())
}

/// Another writer was first.
pub(crate) fn changed() -> Error {
    Error::conflict("the account was changed at the same moment; try again").code_is("auth.changed")
}

/// An event as a person gets it in an export.
#[derive(Debug, Serialize, sdk::Row)]
pub(crate) struct Recorded {
    pub(crate) kind: String,
    #[row(json)]
    pub(crate) data: Value,
    pub(crate) recorded_at: Timestamp,
}

/// A page of what happened to a user in the tenant, oldest first.
pub(crate) fn of_user(db: &Db<'_>, user: Uuid, offset: i64, limit: i64) -> Result<Vec<Recorded>> {
    db.query(
        "SELECT kind, data, recorded_at FROM auth_events
         WHERE tenant_id = $tenant AND user_id = $1
         ORDER BY recorded_at, stream, version LIMIT $2 OFFSET $3",
        params![user, limit, offset],
    )
}

pub(crate) fn count(db: &Db<'_>, user: Uuid) -> Result<u64> {
    db.scalar(
        "SELECT count(*) FROM auth_events WHERE tenant_id = $tenant AND user_id = $1",
        params![user],
    )
}
