//! What is published; the payloads fit `wit/events/schemas`.
//!
//! `tenant_id` in the data is the tenant that is meant: who accepts an invitation is signed in to
//! another one, and who just registered to none.

use sdk::{Error, Result, Timestamp, Uuid, context, events::Event, sql::Db};
use serde::Serialize;

use crate::domain::{member::Role, profile::Profile};

fn actor() -> Option<String> {
    context::principal().map(|principal| principal.subject().to_owned())
}

fn tenant_of<'a>(db: &'a Db<'_>) -> Result<&'a str> {
    db.tenant()
        .map(sdk::Tenant::as_str)
        .ok_or_else(|| Error::internal("an event about a tenant was published for none"))
}

#[derive(Serialize)]
struct UserCreated<'a> {
    user_id: Uuid,
    tenant_id: &'a str,
    status: &'a str,
    actor: Option<String>,
    at: Timestamp,
    locale: &'a str,
    time_zone: &'a str,
}

impl Event for UserCreated<'_> {
    const TOPIC: &'static str = "user.created";

    fn subject(&self) -> String {
        self.user_id.to_string()
    }
}

pub(super) fn created(db: &Db<'_>, profile: &Profile) -> Result<()> {
    db.publish(&UserCreated {
        user_id: profile.id,
        tenant_id: tenant_of(db)?,
        status: "active",
        actor: actor(),
        at: profile.created_at,
        locale: &profile.locale,
        time_zone: &profile.time_zone,
    })?;
    Ok(())
}

#[derive(Serialize)]
struct UserUpdated<'a> {
    user_id: Uuid,
    tenant_id: &'a str,
    changed: &'a [&'a str],
    version: i64,
    actor: Option<String>,
    at: Timestamp,
}

impl Event for UserUpdated<'_> {
    const TOPIC: &'static str = "user.updated";

    fn subject(&self) -> String {
        self.user_id.to_string()
    }
}

pub(super) fn updated(db: &Db<'_>, user: Uuid, changed: &[&str], version: i64) -> Result<()> {
    db.publish(&UserUpdated {
        user_id: user,
        tenant_id: tenant_of(db)?,
        changed,
        version,
        actor: actor(),
        at: Timestamp::now(),
    })?;
    Ok(())
}

#[derive(Serialize)]
struct UserDeleted<'a> {
    user_id: Uuid,
    tenant_id: &'a str,
    reason: &'a str,
    erase: bool,
    actor: Option<String>,
    at: Timestamp,
}

impl Event for UserDeleted<'_> {
    const TOPIC: &'static str = "user.deleted";

    fn subject(&self) -> String {
        self.user_id.to_string()
    }
}

pub(super) fn deleted(db: &Db<'_>, user: Uuid, reason: &str, erase: bool) -> Result<()> {
    let tenant_id = tenant_of(db)?;
    let (actor, at) = (actor(), Timestamp::now());
    db.publish(&UserDeleted { user_id: user, tenant_id, reason, erase, actor, at })?;
    Ok(())
}

/// What somebody is a member of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Container {
    Tenant,
    Workspace(Uuid),
}

#[derive(Serialize)]
struct MembershipChanged<'a> {
    tenant_id: &'a str,
    member_id: Uuid,
    member_type: &'a str,
    container_id: String,
    container_type: &'a str,
    change: &'a str,
    actor: Option<String>,
    at: Timestamp,
    role: Option<Role>,
    previous_role: Option<Role>,
}

impl Event for MembershipChanged<'_> {
    const TOPIC: &'static str = "membership.changed";

    fn subject(&self) -> String {
        self.member_id.to_string()
    }
}

/// Tells that a user's role in the tenant or in a workspace of it changed from one to another.
pub(super) fn membership(
    db: &Db<'_>,
    member: Uuid,
    container: Container,
    previous_role: Option<Role>,
    role: Option<Role>,
) -> Result<()> {
    let tenant_id = tenant_of(db)?;
    let (container_type, container_id) = match container {
        Container::Tenant => ("tenant", tenant_id.to_owned()),
        Container::Workspace(id) => ("workspace", id.to_string()),
    };
    let change = match (previous_role, role) {
        (None, _) => "added",
        (Some(_), Some(_)) => "updated",
        (Some(_), None) => "removed",
    };
    db.publish(&MembershipChanged {
        tenant_id,
        member_id: member,
        member_type: "user",
        container_id,
        container_type,
        change,
        actor: actor(),
        at: Timestamp::now(),
        role,
        previous_role,
    })?;
    Ok(())
}
