//! What is published; the payloads fit `wit/events/schemas`.

use sdk::{Result, Timestamp, Uuid, config, events::Event, sql::Db};
use serde::Serialize;

use crate::domain::account::User;

#[derive(Serialize)]
pub(super) struct UserRegistered<'a> {
    user_id: Uuid,
    tenant_id: &'a str,
    email: &'a str,
    email_verified: bool,
    method: &'a str,
    at: Timestamp,
    display_name: Option<&'a str>,
}

impl<'a> UserRegistered<'a> {
    pub(super) fn of(user: &'a User, method: &'a str) -> Self {
        Self {
            user_id: user.id,
            tenant_id: &user.tenant_id,
            email: &user.email,
            email_verified: user.verified_at.is_some(),
            method,
            at: user.created_at,
            display_name: user.name.as_deref(),
        }
    }
}

impl Event for UserRegistered<'_> {
    const TOPIC: &'static str = "user.registered";

    fn subject(&self) -> String {
        self.user_id.to_string()
    }
}

#[derive(Serialize)]
pub(super) struct UserAuthenticated<'a> {
    pub(super) user_id: Uuid,
    pub(super) tenant_id: &'a str,
    pub(super) session_id: Uuid,
    pub(super) methods: &'a [&'a str],
    pub(super) at: Timestamp,
}

impl Event for UserAuthenticated<'_> {
    const TOPIC: &'static str = "user.authenticated";

    fn subject(&self) -> String {
        self.user_id.to_string()
    }
}

#[derive(Serialize)]
pub(super) struct LoginFailed<'a> {
    pub(super) tenant_id: Option<&'a str>,
    pub(super) user_id: Option<Uuid>,
    pub(super) login_hash: &'a str,
    pub(super) reason: &'a str,
    pub(super) failures: i64,
    pub(super) at: Timestamp,
    pub(super) locked_until: Option<Timestamp>,
}

impl Event for LoginFailed<'_> {
    const TOPIC: &'static str = "user.login_failed";

    fn subject(&self) -> String {
        self.login_hash.to_owned()
    }
}

#[derive(Serialize)]
struct SessionRevoked<'a> {
    session_id: Uuid,
    user_id: Uuid,
    tenant_id: &'a str,
    reason: &'a str,
    expires_at: Timestamp,
    actor: Option<String>,
    at: Timestamp,
}

impl Event for SessionRevoked<'_> {
    const TOPIC: &'static str = "session.revoked";

    fn subject(&self) -> String {
        self.session_id.to_string()
    }
}

/// Tells every node to refuse what was issued for these sessions or long-lived tokens.
pub(super) fn revoked(
    db: &Db<'_>,
    user: Uuid,
    sessions: &[(Uuid, String)],
    reason: &str,
    now: Timestamp,
) -> Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    let longest = config::get::<u64>("access-token-seconds")?
        .max(config::get::<u64>("exchange-token-seconds")?);
    let expires_at = now + std::time::Duration::from_secs(longest + 60);
    let actor = sdk::context::principal().map(|principal| principal.subject().to_owned());
    for (session_id, tenant_id) in sessions {
        db.publish(&SessionRevoked {
            session_id: *session_id,
            user_id: user,
            tenant_id,
            reason,
            expires_at,
            actor: actor.clone(),
            at: now,
        })?;
    }
    Ok(())
}
