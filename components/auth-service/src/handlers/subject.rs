//! What other services say of users, and their personal data.

use sdk::{
    Error, Result, Tenant, Timestamp, Uuid, context,
    events::Received,
    sql::{self, Db},
    subject::{Erasure, ExportPart},
};
use serde::Deserialize;

use super::{published, session};
use crate::store::{
    history, one_time,
    sessions::{self, Which},
    tokens, users,
};

#[derive(Deserialize)]
pub(crate) struct MembershipChanged {
    tenant_id: String,
    member_id: Uuid,
    member_type: String,
    container_type: String,
    change: String,
    role: Option<String>,
}

/// Keeps which tenants a user may sign in to. Who leaves one is signed out of it.
pub(crate) fn on_membership_changed(event: Received<MembershipChanged>, db: &Db<'_>) -> Result<()> {
    let change = event.data;
    if change.member_type != "user" || change.container_type != "tenant" {
        return Ok(());
    }
    let db = db.for_tenant(None);
    match (change.change.as_str(), &change.role) {
        ("removed", _) | (_, None) => {
            users::leave(&db, change.member_id, &change.tenant_id)?;
            sign_out(&db, change.member_id, &change.tenant_id, "administrator")
        }
        (_, Some(role)) => users::join(&db, change.member_id, &change.tenant_id, role),
    }
}

/// Ends a user's sessions in a tenant, and removes the long-lived tokens for it.
fn sign_out(db: &Db<'_>, user: Uuid, tenant: &str, reason: &str) -> Result<()> {
    let now = Timestamp::now();
    session::finish(db, user, Which::Of(tenant), reason, now)?;
    let tokens = tokens::delete_of_user(db, user, Some(tenant))?;
    published::revoked(db, user, &tokens, reason, now)
}

#[derive(Deserialize)]
pub(crate) struct UserDeleted {
    user_id: Uuid,
    tenant_id: String,
    erase: bool,
}

pub(crate) fn on_user_deleted(event: Received<UserDeleted>, db: &Db<'_>) -> Result<()> {
    let gone = event.data;
    let db = db.for_tenant(None);
    users::leave(&db, gone.user_id, &gone.tenant_id)?;
    sign_out(&db, gone.user_id, &gone.tenant_id, "user-deleted")?;
    if gone.erase {
        remove(&db, gone.user_id, &gone.tenant_id)?;
    }
    Ok(())
}

/// What was removed: the account (or the membership in a tenant that is not its own), sessions
/// and tokens.
struct Removed {
    account: u64,
    sessions: u64,
    tokens: u64,
}

/// Removes what is held about a user in a tenant; everything if the account began with it.
fn remove(db: &Db<'_>, user: Uuid, tenant: &str) -> Result<Removed> {
    let now = Timestamp::now();
    let own = users::delete(db, user, tenant)? > 0;
    let (which, scope) =
        if own { (Which::AllBut(None), None) } else { (Which::Of(tenant), Some(tenant)) };
    session::finish(db, user, which, "user-deleted", now)?;
    let sessions = sessions::delete_of_user(db, user, scope)?;
    let tokens = tokens::delete_of_user(db, user, scope)?;
    published::revoked(db, user, &tokens, "user-deleted", now)?;
    let account = if own {
        one_time::delete_of_user(db, user)?;
        1
    } else {
        users::leave(db, user, tenant)?
    };
    Ok(Removed { account, sessions, tokens: u64::try_from(tokens.len()).unwrap_or(u64::MAX) })
}

fn the_subject(subject: &str) -> Result<(Uuid, Tenant)> {
    let user = subject.parse().map_err(|_| Error::not_found("there is no such user"))?;
    let tenant = context::tenant().ok_or_else(|| Error::unauthorized("this needs a tenant"))?;
    Ok((user, tenant))
}

const HISTORY_PAGE: i64 = 500;

pub(crate) fn export(subject: &str, page: u32) -> Result<(Vec<ExportPart>, bool)> {
    let (user, tenant) = the_subject(subject)?;
    let db = sql::tenant_of(tenant.clone());
    let mut parts = Vec::new();
    if page == 0 {
        let account = users::get(&sql::shared(), user)?.filter(|u| u.tenant_id == tenant.as_str());
        if let Some(found) = account {
            parts.push(ExportPart::new(
                "account",
                &serde_json::json!({
                    "id": found.id,
                    "email": found.email,
                    "name": found.name,
                    "created_at": found.created_at,
                    "verified_at": found.verified_at,
                    "password_changed_at": found.password_changed_at,
                }),
            )?);
        }
        parts.push(ExportPart::new("sessions", &sessions::of_user(&db, user)?)?);
        parts.push(ExportPart::new("tokens", &tokens::of_user(&db, user)?)?);
    }
    let rows = history::of_user(&db, user, i64::from(page) * HISTORY_PAGE, HISTORY_PAGE)?;
    let more = i64::try_from(rows.len()).unwrap_or(0) == HISTORY_PAGE;
    parts.push(ExportPart::new("history", &rows)?);
    Ok((parts, more))
}

pub(crate) fn erase(subject: &str) -> Result<Vec<Erasure>> {
    let (user, tenant) = the_subject(subject)?;
    let tx = sql::begin()?;
    let removed = remove(&tx, user, tenant.as_str())?;
    let kept = history::count(&tx.for_tenant(Some(tenant)), user)?;
    tx.commit()?;
    let section =
        |name: &str, erased| Erasure { section: name.to_owned(), erased, kept: 0, reason: None };
    Ok(vec![
        section("account", removed.account),
        section("sessions", removed.sessions),
        section("tokens", removed.tokens),
        Erasure {
            section: "history".to_owned(),
            erased: 0,
            kept,
            reason: Some(
                "security history under an id that names nobody any more (GDPR, article 17(3)(e))"
                    .to_owned(),
            ),
        },
    ])
}
