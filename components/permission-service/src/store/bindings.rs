//! Who has which role where.

use sdk::{
    Error, Result, Row, Schema, Text, Timestamp, Uuid,
    http::PageQuery,
    params,
    sql::{Db, Json},
};
use serde::{Deserialize, Serialize};

use crate::domain::{Condition, Effect, ResourceRef, SubjectKind, SubjectRef};

/// Where a binding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// It was made here.
    Api,
    /// It follows a membership and goes with it.
    Membership,
}

/// A role given to, or denied, a subject on a resource and all that is under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
pub(crate) struct Binding {
    /// Its id.
    pub(crate) id: Uuid,
    /// Who.
    pub(crate) subject: SubjectRef,
    /// Name of a built-in role, or id of a role.
    pub(crate) role: String,
    /// On what.
    pub(crate) resource: ResourceRef,
    /// Gives or takes.
    pub(crate) effect: Effect,
    /// What must hold besides.
    pub(crate) condition: Option<Condition>,
    /// Until when.
    pub(crate) expires_at: Option<Timestamp>,
    /// Where it comes from.
    pub(crate) source: Source,
    /// Counts its changes.
    pub(crate) version: i64,
    /// Who made it; null for the platform.
    pub(crate) created_by: Option<String>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
}

#[derive(Row)]
struct Stored {
    id: Uuid,
    subject_kind: SubjectKind,
    subject_id: String,
    role: String,
    resource_kind: String,
    resource_id: String,
    effect: Effect,
    condition: Option<Json<Condition>>,
    expires_at: Option<Timestamp>,
    source: Source,
    version: i64,
    created_by: Option<String>,
    created_at: Timestamp,
}

impl From<Stored> for Binding {
    fn from(row: Stored) -> Self {
        Self {
            id: row.id,
            subject: SubjectRef { kind: row.subject_kind, id: row.subject_id },
            role: row.role,
            resource: ResourceRef::new(row.resource_kind, row.resource_id),
            effect: row.effect,
            condition: row.condition.map(|Json(condition)| condition),
            expires_at: row.expires_at,
            source: row.source,
            version: row.version,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}

/// Which bindings are listed.
#[derive(Clone, Debug, Default, Deserialize, Schema)]
pub(crate) struct Filter {
    /// Of subjects of this type.
    pub(crate) subject_type: Option<SubjectKind>,
    /// Of this subject.
    #[schema(max_length = 200)]
    pub(crate) subject_id: Option<String>,
    /// On resources of this type.
    #[schema(max_length = 40)]
    pub(crate) resource_type: Option<String>,
    /// On this resource.
    #[schema(max_length = 200)]
    pub(crate) resource_id: Option<String>,
    /// Of this role.
    #[schema(max_length = 200)]
    pub(crate) role: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, subject_kind, subject_id, role, resource_kind, resource_id, effect,
             condition, expires_at, source, version, created_by, created_at FROM role_bindings
             WHERE tenant_id = $tenant ",
            $rest
        )
    };
}

pub(crate) fn list(db: &Db<'_>, filter: &Filter, page: &PageQuery) -> Result<Vec<Binding>> {
    let rows = db.query::<Stored>(
        select!(
            "AND ($1 IS NULL OR id > $1) AND ($2 IS NULL OR subject_kind = $2)
             AND ($3 IS NULL OR subject_id = $3) AND ($4 IS NULL OR resource_kind = $4)
             AND ($5 IS NULL OR resource_id = $5) AND ($6 IS NULL OR role = $6)
             ORDER BY id LIMIT $7"
        ),
        params![
            page.after::<Uuid>()?,
            filter.subject_type,
            filter.subject_id,
            filter.resource_type,
            filter.resource_id,
            filter.role,
            page.fetch()
        ],
    )?;
    Ok(rows.into_iter().map(Binding::from).collect())
}

/// All of a subject, at most 10 000.
pub(crate) fn of_subject(db: &Db<'_>, subject: &SubjectRef) -> Result<Vec<Binding>> {
    let rows = db.query::<Stored>(
        select!("AND subject_kind = $1 AND subject_id = $2 ORDER BY id LIMIT 10000"),
        params![subject.kind, subject.id],
    )?;
    Ok(rows.into_iter().map(Binding::from).collect())
}

pub(crate) fn get(db: &Db<'_>, id: Uuid) -> Result<Binding> {
    db.optional::<Stored>(select!("AND id = $1"), params![id])?
        .map(Binding::from)
        .ok_or_else(|| Error::not_found("the binding does not exist"))
}

pub(crate) fn insert(db: &Db<'_>, binding: &Binding) -> Result<()> {
    db.execute(
        "INSERT INTO role_bindings (tenant_id, id, subject_kind, subject_id, role, resource_kind,
             resource_id, effect, condition, expires_at, source, version, created_by, created_at,
             expiry_told)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        params![
            binding.id,
            binding.subject.kind,
            binding.subject.id,
            binding.role,
            binding.resource.kind,
            binding.resource.id,
            binding.effect,
            binding.condition.as_ref().map(Json),
            binding.expires_at,
            binding.source,
            binding.version,
            binding.created_by,
            binding.created_at,
            false
        ],
    )
    .map_err(|error| {
        error.when("sql.unique-violation", || {
            Error::conflict("the subject is bound to the role there already")
                .code_is("binding.exists")
        })
    })?;
    Ok(())
}

/// Writes condition and expiry over the binding with the version before.
pub(crate) fn update(db: &Db<'_>, binding: &Binding) -> Result<()> {
    let rows = db.execute(
        "UPDATE role_bindings SET condition = $1, expires_at = $2, version = $3, expiry_told = $4
         WHERE tenant_id = $tenant AND id = $5 AND version = $6",
        params![
            binding.condition.as_ref().map(Json),
            binding.expires_at,
            binding.version,
            false,
            binding.id,
            binding.version - 1
        ],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete(db: &Db<'_>, id: Uuid) -> Result<()> {
    db.execute("DELETE FROM role_bindings WHERE tenant_id = $tenant AND id = $1", params![id])?;
    Ok(())
}

/// Whether the tenant has an owner for good besides this binding.
pub(crate) fn has_other_owner(db: &Db<'_>, id: Uuid) -> Result<bool> {
    let others: i64 = db.scalar(
        "SELECT count(*) FROM role_bindings WHERE tenant_id = $tenant AND resource_kind = 'tenant'
         AND role = 'owner' AND effect = 'allow' AND expires_at IS NULL AND condition IS NULL
         AND id <> $1",
        params![id],
    )?;
    Ok(others > 0)
}

pub(crate) fn count_of_role(db: &Db<'_>, role: &str) -> Result<i64> {
    db.scalar(
        "SELECT count(*) FROM role_bindings WHERE tenant_id = $tenant AND role = $1",
        params![role],
    )
}

/// Removes what a membership gave; answers whether there was something.
pub(crate) fn delete_membership(
    db: &Db<'_>,
    subject: &SubjectRef,
    container: &ResourceRef,
) -> Result<bool> {
    let rows = db.execute(
        "DELETE FROM role_bindings WHERE tenant_id = $tenant AND source = 'membership'
         AND subject_kind = $1 AND subject_id = $2 AND resource_kind = $3 AND resource_id = $4",
        params![subject.kind, subject.id, container.kind, container.id],
    )?;
    Ok(rows > 0)
}

/// Removes all that a subject has; answers how much.
pub(crate) fn delete_subject(db: &Db<'_>, subject: &SubjectRef) -> Result<u64> {
    db.execute(
        "DELETE FROM role_bindings
         WHERE tenant_id = $tenant AND subject_kind = $1 AND subject_id = $2",
        params![subject.kind, subject.id],
    )
}

/// Takes a subject's name off what it made.
pub(crate) fn forget_author(db: &Db<'_>, author: &str) -> Result<u64> {
    db.execute(
        "UPDATE role_bindings SET created_by = NULL WHERE tenant_id = $tenant AND created_by = $1",
        params![author],
    )
}

/// A binding that has expired and of which nobody was told.
#[derive(Row)]
pub(crate) struct Expired {
    pub(crate) tenant_id: String,
    pub(crate) id: Uuid,
    pub(crate) subject_kind: SubjectKind,
    pub(crate) subject_id: String,
    pub(crate) resource_kind: String,
    pub(crate) resource_id: String,
}

/// Across tenants, for a tick: some that have expired, which are from now on counted as told.
pub(crate) fn take_expired(db: &Db<'_>, now: Timestamp, most: i64) -> Result<Vec<Expired>> {
    db.query(
        "UPDATE role_bindings SET expiry_told = $1 WHERE id IN (
             SELECT id FROM role_bindings WHERE expiry_told = $2 AND expires_at <= $3
             ORDER BY expires_at, id LIMIT $4)
         RETURNING tenant_id, id, subject_kind, subject_id, resource_kind, resource_id",
        params![true, false, now, most],
    )
}
