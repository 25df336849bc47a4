//! How users come and go, and their personal data.

use sdk::{
    Error, Result, Tenant, Uuid, config,
    events::Received,
    sql::{self, Db},
    subject::{Erasure, ExportPart},
};
use serde::Deserialize;

use super::{
    published::{self, Container},
    workspace,
};
use crate::{
    domain::{
        TenantInfo, Workspace,
        member::Role,
        profile::{PreferencesPatch, Profile, is_locale},
    },
    store::{invitations, members, profiles, tenants},
};

#[derive(Deserialize)]
pub(crate) struct UserRegistered {
    user_id: Uuid,
    tenant_id: String,
    email: String,
    display_name: Option<String>,
    locale: Option<String>,
}

/// Gives a new user a profile, a tenant of their own and a first workspace.
pub(crate) fn on_user_registered(event: Received<UserRegistered>, db: &Db<'_>) -> Result<()> {
    let new = event.data;
    // Who registers belongs to no tenant yet, so that the event's own is none.
    let db = db.for_tenant(Some(Tenant::new(new.tenant_id.clone())));
    let local = new.email.split('@').next().unwrap_or_default().to_owned();
    let name = new.display_name.filter(|name| !name.trim().is_empty()).unwrap_or(local);
    let locale = match new.locale.filter(|locale| is_locale(locale)) {
        Some(locale) => locale,
        None => config::get("default-locale")?,
    };
    let tenant = TenantInfo {
        id: new.tenant_id,
        name: name.clone(),
        preferences: PreferencesPatch::default(),
        created_at: event.time,
        version: 1,
    };
    let profile = Profile {
        id: new.user_id,
        email: new.email,
        display_name: name,
        job_title: String::new(),
        locale,
        time_zone: config::get("default-time-zone")?,
        created_at: event.time,
        version: 1,
    };
    if !tenants::insert(&db, &tenant)? || !profiles::insert(&db, &profile)? {
        return Ok(());
    }
    members::join(&db, profile.id, Role::Owner, event.time)?;
    published::created(&db, &profile)?;
    published::membership(&db, profile.id, Container::Tenant, None, Some(Role::Owner))?;
    let first = Workspace {
        id: Uuid::v7(),
        name: "Default".to_owned(),
        description: String::new(),
        created_by: profile.id,
        created_at: event.time,
        version: 1,
    };
    workspace::begin(&db, &first)
}

/// 409 if the tenant would be left with members and no owner.
pub(super) fn refuse_last_owner(db: &Db<'_>, user: Uuid) -> Result<()> {
    match members::others(db, user)? {
        (0, _) => Ok(()),
        _ => match members::standing(db, user, None)?.tenant_role {
            Role::Owner => refuse_last_owner_of_any(db, user),
            _ => Ok(()),
        },
    }
}

/// 409 if nobody else owns the tenant.
pub(super) fn refuse_last_owner_of_any(db: &Db<'_>, user: Uuid) -> Result<()> {
    match members::others(db, user)? {
        (_, 0) => Err(Error::conflict("the tenant would have no owner; make another one first")
            .code_is("tenant.last-owner")),
        _ => Ok(()),
    }
}

/// What was removed.
pub(super) struct Detached {
    profile: u64,
    preferences: u64,
    memberships: u64,
    invitations: u64,
}

/// Takes a user out of the tenant and says so: profile, preferences and memberships. To `erase`
/// is to remove what names them otherwise too, and the tenant if nobody else is in it; an owner
/// who is erased is followed by another member.
pub(super) fn detach(db: &Db<'_>, user: Uuid, reason: &str, erase: bool) -> Result<Detached> {
    let member = members::tenant_member(db, user)?;
    let mut memberships = 0;
    for (workspace, role) in members::leave_workspaces(db, user)? {
        let role = role.parse().ok();
        published::membership(db, user, Container::Workspace(workspace), role, None)?;
        memberships += 1;
    }
    if let Some(member) = &member {
        memberships += members::leave(db, user)?;
        published::membership(db, user, Container::Tenant, Some(member.role), None)?;
    }
    let invitations = match &member {
        Some(member) if erase => invitations::delete_to_address(db, &member.email)?,
        _ => 0,
    };
    let detached = Detached {
        profile: profiles::delete(db, user)?,
        preferences: profiles::delete_preferences(db, user)?,
        memberships,
        invitations,
    };
    if detached.profile > 0 {
        published::deleted(db, user, reason, erase)?;
    }
    if member.is_some_and(|member| erase && member.role == Role::Owner) {
        match members::others(db, user)? {
            (0, _) => tenants::delete(db)?,
            (_, 0) => inherit(db)?,
            _ => {}
        }
    }
    Ok(detached)
}

/// Makes the member with the highest role, and of those the oldest, an owner.
fn inherit(db: &Db<'_>) -> Result<()> {
    if let Some((heir, role, version)) = members::heir(db)? {
        members::set_role(db, heir, Role::Owner, version)?;
        let (from, to) = (role.parse().ok(), Some(Role::Owner));
        published::membership(db, heir, Container::Tenant, from, to)?;
    }
    Ok(())
}

fn the_subject(subject: &str) -> Result<Uuid> {
    subject.parse().map_err(|_| Error::not_found("there is no such user"))
}

pub(crate) fn export(subject: &str, _page: u32) -> Result<(Vec<ExportPart>, bool)> {
    let user = the_subject(subject)?;
    let db = sql::tenant()?;
    let mut parts = Vec::new();
    match profiles::get(&db, user) {
        Ok(profile) => {
            let invited = invitations::to_address(&db, &profile.email)?;
            parts.push(ExportPart::new("profile", &profile)?);
            parts.push(ExportPart::new("preferences", &profiles::preferences(&db, user)?.chosen)?);
            parts.push(ExportPart::new("invitations", &invited)?);
        }
        Err(error) if error.status() == 404 => {}
        Err(error) => return Err(error),
    }
    if let Some(member) = members::tenant_member(&db, user)? {
        parts.push(ExportPart::new("membership", &member)?);
    }
    let workspaces: Vec<_> = members::workspaces_of(&db, user)?
        .into_iter()
        .map(|(id, name, role)| serde_json::json!({"id": id, "name": name, "role": role}))
        .collect();
    parts.push(ExportPart::new("workspaces", &workspaces)?);
    Ok((parts, false))
}

pub(crate) fn erase(subject: &str) -> Result<Vec<Erasure>> {
    let user = the_subject(subject)?;
    let tx = sql::tenant()?.begin()?;
    let gone = detach(&tx, user, "erasure", true)?;
    tx.commit()?;
    let sections = [
        ("profile", gone.profile),
        ("preferences", gone.preferences),
        ("memberships", gone.memberships),
        ("invitations", gone.invitations),
    ];
    let erasure = |(section, erased): (&str, u64)| Erasure {
        section: section.to_owned(),
        erased,
        kept: 0,
        reason: None,
    };
    Ok(sections.into_iter().map(erasure).collect())
}
