//! Profiles and preferences.

use sdk::{
    Principal, Result, Uuid,
    http::{ETag, IfMatch, Json, NoContent, Path, Routes, WithEtag},
    sql::Db,
};

use super::{published, subject, user_of, writer_of};
use crate::{
    domain::profile::{Preferences, PreferencesPatch, Profile, ProfilePatch},
    store::profiles::{self, Preferences as Found},
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "users";
    /// The profile of the user who asks.
    GET "/api/v1/users/me" => me;
    /// Changes it; what is absent stays.
    PATCH "/api/v1/users/me" => change_me;
    /// Erases the user from the tenant, and the account if it began with it.
    ///
    /// The last owner of a tenant with other members makes somebody else an owner first.
    DELETE "/api/v1/users/me" => erase_me, errors [409];
    /// The preferences of the user who asks: chosen, else the tenant's, else everybody's.
    GET "/api/v1/users/me/preferences" => preferences;
    /// Chooses preferences; what is absent stays.
    PATCH "/api/v1/users/me/preferences" => choose;
    /// The profile of a user of the same tenant.
    GET "/api/v1/users/{id}" => user;
};

fn answer(profile: Profile) -> WithEtag<Json<Profile>> {
    WithEtag(ETag::version(profile.version), Json(profile))
}

fn me(principal: Principal, db: Db<'static>) -> Result<WithEtag<Json<Profile>>> {
    profiles::get(&db, user_of(&principal)?).map(answer)
}

fn user(Path(id): Path<Uuid>, db: Db<'static>) -> Result<WithEtag<Json<Profile>>> {
    profiles::get(&db, id).map(answer)
}

fn change_me(
    principal: Principal,
    if_match: IfMatch,
    db: Db<'static>,
    Json(patch): Json<ProfilePatch>,
) -> Result<WithEtag<Json<Profile>>> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    let mut profile = profiles::get(&tx, user)?;
    if_match.check(&ETag::version(profile.version))?;
    let changed = profile.change(patch);
    if !changed.is_empty() {
        profile.version += 1;
        profiles::update(&tx, &profile)?;
        published::updated(&tx, user, &changed, profile.version)?;
        tx.commit()?;
    }
    Ok(answer(profile))
}

fn erase_me(principal: Principal, db: Db<'static>) -> Result<NoContent> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    subject::refuse_last_owner(&tx, user)?;
    subject::detach(&tx, user, "erasure", true)?;
    tx.commit()?;
    Ok(NoContent)
}

fn preferences(principal: Principal, db: Db<'static>) -> Result<WithEtag<Json<Preferences>>> {
    Ok(shown(profiles::preferences(&db, user_of(&principal)?)?))
}

/// Names both what was chosen and the defaults, which are part of what is shown.
fn tag(found: &Found) -> ETag {
    ETag::opaque(&format!("{}-{}", found.version, found.defaults_version))
}

fn shown(found: Found) -> WithEtag<Json<Preferences>> {
    let tag = tag(&found);
    WithEtag(tag, Json(found.chosen.or(found.defaults).complete()))
}

fn choose(
    principal: Principal,
    if_match: IfMatch,
    db: Db<'static>,
    Json(patch): Json<PreferencesPatch>,
) -> Result<WithEtag<Json<Preferences>>> {
    let user = writer_of(&principal)?;
    let tx = db.begin()?;
    let mut found = profiles::preferences(&tx, user)?;
    if_match.check(&tag(&found))?;
    let next = patch.or(found.chosen.clone());
    if next != found.chosen {
        profiles::get(&tx, user)?;
        found.version += 1;
        profiles::choose(&tx, user, &next, found.version)?;
        published::updated(&tx, user, &["preferences"], found.version)?;
        tx.commit()?;
        found.chosen = next;
    }
    Ok(shown(found))
}
