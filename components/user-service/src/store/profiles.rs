//! Profiles and preferences.

use sdk::{
    Error, Result, Row, Uuid, params,
    sql::{Db, Json},
};

use crate::domain::{
    key,
    profile::{PreferencesPatch, Profile},
};

pub(crate) fn get(db: &Db<'_>, user: Uuid) -> Result<Profile> {
    db.optional(
        "SELECT user_id, email, display_name, job_title, locale, time_zone, created_at, version
         FROM profiles WHERE tenant_id = $tenant AND user_id = $1",
        params![user],
    )?
    .ok_or_else(|| Error::not_found("there is no such user"))
}

/// Adds a profile; answers whether it was not there.
pub(crate) fn insert(db: &Db<'_>, profile: &Profile) -> Result<bool> {
    let rows = db.execute(
        "INSERT INTO profiles (tenant_id, user_id, email, email_key, display_name, job_title,
                               locale, time_zone, created_at, version)
         VALUES ($tenant, $1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, user_id) DO NOTHING",
        params![
            profile.id,
            profile.email,
            key(&profile.email),
            profile.display_name,
            profile.job_title,
            profile.locale,
            profile.time_zone,
            profile.created_at,
            profile.version
        ],
    )?;
    Ok(rows > 0)
}

/// Writes a profile over the one with the version before.
pub(crate) fn update(db: &Db<'_>, profile: &Profile) -> Result<()> {
    let rows = db.execute(
        "UPDATE profiles SET display_name = $1, job_title = $2, locale = $3, time_zone = $4,
                             version = $5
         WHERE tenant_id = $tenant AND user_id = $6 AND version = $5 - 1",
        params![
            profile.display_name,
            profile.job_title,
            profile.locale,
            profile.time_zone,
            profile.version,
            profile.id
        ],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete(db: &Db<'_>, user: Uuid) -> Result<u64> {
    db.execute("DELETE FROM profiles WHERE tenant_id = $tenant AND user_id = $1", params![user])
}

/// What a user has chosen, and what the tenant has for those who did not.
#[derive(Debug, Row)]
pub(crate) struct Preferences {
    #[row(json)]
    chosen_or_null: Option<PreferencesPatch>,
    #[row(default)]
    pub(crate) chosen: PreferencesPatch,
    /// 0 if the user has chosen nothing yet.
    pub(crate) version: i64,
    #[row(json)]
    pub(crate) defaults: PreferencesPatch,
    pub(crate) defaults_version: i64,
}

pub(crate) fn preferences(db: &Db<'_>, user: Uuid) -> Result<Preferences> {
    let mut found: Preferences = db
        .optional(
            "SELECT p.chosen AS chosen_or_null, coalesce(p.version, 0) AS version,
                    t.preferences AS defaults, t.version AS defaults_version
             FROM tenants t
             LEFT JOIN preferences p ON p.tenant_id = t.tenant_id AND p.user_id = $1
             WHERE t.tenant_id = $tenant",
            params![user],
        )?
        .ok_or_else(|| Error::not_found("there is no such user"))?;
    found.chosen = found.chosen_or_null.take().unwrap_or_default();
    Ok(found)
}

/// Writes preferences over those with the version before, 1 being the first.
pub(crate) fn choose(
    db: &Db<'_>,
    user: Uuid,
    chosen: &PreferencesPatch,
    version: i64,
) -> Result<()> {
    let rows = db.execute(
        "INSERT INTO preferences (tenant_id, user_id, chosen, version)
         VALUES ($tenant, $1, $2, $3)
         ON CONFLICT (tenant_id, user_id) DO UPDATE
             SET chosen = excluded.chosen, version = excluded.version
             WHERE preferences.version = excluded.version - 1",
        params![user, Json(chosen), version],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete_preferences(db: &Db<'_>, user: Uuid) -> Result<u64> {
    db.execute("DELETE FROM preferences WHERE tenant_id = $tenant AND user_id = $1", params![user])
}
