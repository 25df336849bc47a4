//! The tenants' policies and their versions.

use std::fmt::Write as _;

use sdk::{
    Error, Result, Row, Schema, Timestamp,
    http::PageQuery,
    params,
    sql::{Db, Json, ToValue},
};
use serde::{Deserialize, Serialize};

use crate::domain::{Policy, PolicyInput};

/// A policy of a tenant.
#[derive(Row)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) version: i64,
    #[row(json)]
    pub(crate) rule: PolicyInput,
}

impl Stored {
    pub(crate) fn into_policy(self) -> Policy {
        Policy { version: self.version, rule: self.rule }
    }
}

/// A version of a policy.
#[derive(Serialize, Deserialize, Schema, Row)]
pub(crate) struct Version {
    /// Its number.
    pub(crate) version: i64,
    /// Its rule.
    #[row(json)]
    pub(crate) rule: PolicyInput,
    /// When it was made.
    pub(crate) made_at: Timestamp,
    /// Who made it.
    pub(crate) made_by: Option<String>,
    /// When another took its place, or it was deleted.
    pub(crate) replaced_at: Option<Timestamp>,
}

/// The tenant's policies of these names (at least one).
pub(crate) fn named(db: &Db<'_>, names: &[&str]) -> Result<Vec<Stored>> {
    let mut list = String::new();
    let mut params = Vec::with_capacity(names.len() + 1);
    for name in names {
        params.push(name.to_value());
        let separator = if list.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        if write!(list, "{separator}${}", params.len()).is_err() {
            break;
        }
    }
    let statement = format!(
        "SELECT name, version, rule FROM policies WHERE tenant_id = $tenant AND name IN ({list})"
    );
    db.query(&statement, params)
}

pub(crate) fn find(db: &Db<'_>, name: &str) -> Result<Option<Stored>> {
    Ok(named(db, &[name])?.pop())
}

pub(crate) fn list(db: &Db<'_>, page: &PageQuery) -> Result<Vec<Stored>> {
    db.query(
        "SELECT name, version, rule FROM policies
         WHERE tenant_id = $tenant AND ($1 IS NULL OR name > $1) ORDER BY name LIMIT $2",
        params![page.after::<String>()?, page.fetch()],
    )
}

pub(crate) fn count(db: &Db<'_>) -> Result<i64> {
    db.scalar("SELECT count(*) FROM policies WHERE tenant_id = $tenant", params![])
}

/// The last version that there ever was; 0 for none.
pub(crate) fn last_version(db: &Db<'_>, name: &str) -> Result<i64> {
    db.scalar(
        "SELECT coalesce(max(version), 0) FROM policy_versions
         WHERE tenant_id = $tenant AND name = $1",
        params![name],
    )
}

/// Puts a policy in force, as the version after `last`.
pub(crate) fn put(
    db: &Db<'_>,
    name: &str,
    policy: &Policy,
    by: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    replace(db, name, now)?;
    let values = params![name, policy.version, Json(&policy.rule), now, by];
    db.execute(
        "INSERT INTO policies (tenant_id, name, version, rule, updated_at, updated_by)
         VALUES ($tenant, $1, $2, $3, $4, $5)
         ON CONFLICT (tenant_id, name) DO UPDATE
         SET version = excluded.version, rule = excluded.rule, updated_at = excluded.updated_at,
             updated_by = excluded.updated_by",
        values.clone(),
    )?;
    db.execute(
        "INSERT INTO policy_versions (tenant_id, name, version, rule, made_at, made_by)
         VALUES ($tenant, $1, $2, $3, $4, $5)",
        values,
    )
    .map_err(|error| error.when("sql.unique-violation", Error::precondition_failed))?;
    Ok(())
}

/// Ends the version in force.
fn replace(db: &Db<'_>, name: &str, now: Timestamp) -> Result<()> {
    db.execute(
        "UPDATE policy_versions SET replaced_at = $2
         WHERE tenant_id = $tenant AND name = $1 AND replaced_at IS NULL",
        params![name, now],
    )?;
    Ok(())
}

pub(crate) fn delete(db: &Db<'_>, name: &str, now: Timestamp) -> Result<()> {
    replace(db, name, now)?;
    db.execute("DELETE FROM policies WHERE tenant_id = $tenant AND name = $1", params![name])?;
    Ok(())
}

pub(crate) fn versions(db: &Db<'_>, name: &str, page: &PageQuery) -> Result<Vec<Version>> {
    db.query(
        "SELECT version, rule, made_at, made_by, replaced_at FROM policy_versions
         WHERE tenant_id = $tenant AND name = $1 AND ($2 IS NULL OR version < $2)
         ORDER BY version DESC LIMIT $3",
        params![name, page.after::<i64>()?, page.fetch()],
    )
}
