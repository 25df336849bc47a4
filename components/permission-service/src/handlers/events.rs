//! What memberships, deleted users and time change, and personal data.

use sdk::{
    Error, Result, Tenant, Timestamp, Uuid,
    events::Received,
    sql::{self, Db},
    subject::{Erasure, ExportPage, ExportPart},
};
use serde::{Deserialize, Serialize};

use super::{
    access,
    changes::{self, Change},
    roles,
};
use crate::{
    domain::{Effect, ResourceRef, SubjectKind, SubjectRef},
    store::{
        bindings::{self, Binding, Source},
        tree,
    },
};

/// `membership.changed`.
#[derive(Deserialize)]
pub(crate) struct MembershipChanged {
    tenant_id: String,
    member_id: String,
    member_type: SubjectKind,
    container_id: String,
    container_type: Container,
    change: MembershipChange,
    actor: Option<String>,
    role: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Container {
    Tenant,
    Workspace,
    Group,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MembershipChange {
    Added,
    Updated,
    Removed,
}

/// A member of a tenant or workspace has its role there; a member of a group, what the group has.
/// Who leaves the tenant has nothing any more.
pub(crate) fn on_membership_changed(event: Received<MembershipChanged>, db: &Db<'_>) -> Result<()> {
    let MembershipChanged { tenant_id, member_id, member_type, .. } = &event.data;
    let db = &db.for_tenant(Some(Tenant::new(tenant_id)));
    let member = SubjectRef { kind: *member_type, id: member_id.clone() };
    let removed = event.data.change == MembershipChange::Removed;
    let operation = match event.data.change {
        MembershipChange::Added => "created",
        MembershipChange::Updated => "updated",
        MembershipChange::Removed => "deleted",
    };
    let container = match event.data.container_type {
        Container::Tenant => ResourceRef::tenant(&event.data.container_id),
        Container::Workspace => ResourceRef::new("workspace", &event.data.container_id),
        Container::Group => {
            if removed {
                tree::leave_group(db, &member, &event.data.container_id)?;
            } else {
                tree::join_group(db, &member, &event.data.container_id)?;
            }
            return record(db, &event, operation, &member, None);
        }
    };
    if container.is_foreign(tenant_id) {
        return Err(Error::new(422, "membership.tenant", "the container is another tenant"));
    }
    if removed && event.data.container_type == Container::Tenant {
        bindings::delete_subject(db, &member)?;
        tree::leave_all(db, &member)?;
    } else {
        bindings::delete_membership(db, &member, &container)?;
    }
    if let Some(role) = event.data.role.as_ref().filter(|_| !removed) {
        if roles::find(db, role)?.is_none() {
            let message = format!("the role {role} does not exist");
            return Err(Error::new(422, "membership.role", message));
        }
        let binding = Binding {
            id: Uuid::v7(),
            subject: member.clone(),
            role: role.clone(),
            resource: container.clone(),
            effect: Effect::Allow,
            condition: None,
            expires_at: None,
            source: Source::Membership,
            version: 1,
            created_by: event.data.actor.clone(),
            created_at: Timestamp::now(),
        };
        bindings::insert(db, &binding)?;
    }
    record(db, &event, operation, &member, Some(&container))
}

fn record(
    db: &Db<'_>,
    event: &Received<MembershipChanged>,
    operation: &'static str,
    member: &SubjectRef,
    resource: Option<&ResourceRef>,
) -> Result<()> {
    let change = Change {
        what: "binding",
        operation,
        id: &event.data.member_id,
        resource,
        subject: Some(member).filter(|member| member.kind == SubjectKind::User),
        actor: event.data.actor.as_deref(),
    };
    changes::record(db, change).map(drop)
}

/// `user.deleted`.
#[derive(Deserialize)]
pub(crate) struct UserDeleted {
    user_id: String,
    tenant_id: String,
    erase: bool,
    actor: Option<String>,
}

pub(crate) fn on_user_deleted(event: Received<UserDeleted>, db: &Db<'_>) -> Result<()> {
    let UserDeleted { user_id, tenant_id, erase, actor } = &event.data;
    let db = &db.for_tenant(Some(Tenant::new(tenant_id)));
    let user = SubjectRef::user(user_id);
    remove(db, &user, *erase, actor.as_deref()).map(drop)
}

/// Removes what a subject has; answers how many rows that were.
fn remove(db: &Db<'_>, user: &SubjectRef, erase: bool, actor: Option<&str>) -> Result<u64> {
    let mut rows = bindings::delete_subject(db, user)? + tree::leave_all(db, user)?;
    if rows > 0 {
        let change = Change {
            what: "binding",
            operation: "deleted",
            id: &user.id,
            resource: None,
            subject: Some(user),
            actor,
        };
        changes::record(db, change)?;
    }
    if erase {
        rows += bindings::forget_author(db, &user.id)?;
    }
    Ok(rows)
}

/// `permission.changed`, as far as it matters here.
#[derive(Deserialize)]
pub(crate) struct PermissionChanged {
    tenant_id: String,
}

/// The change is durable now: whatever was read before is dropped, also on other nodes.
pub(crate) fn on_permission_changed(event: Received<PermissionChanged>) -> Result<()> {
    access::forget(&event.data.tenant_id);
    Ok(())
}

/// Decisions look at the clock themselves; others are told here.
pub(crate) fn expire_bindings(_due: Timestamp) -> Result<()> {
    const AT_ONCE: i64 = 200;
    loop {
        let tx = sql::begin()?;
        let expired = bindings::take_expired(&tx, Timestamp::now(), AT_ONCE)?;
        for binding in &expired {
            let resource = ResourceRef::new(&binding.resource_kind, &binding.resource_id);
            let subject = SubjectRef { kind: binding.subject_kind, id: binding.subject_id.clone() };
            let change = Change {
                what: "binding",
                operation: "expired",
                id: &binding.id.to_string(),
                resource: Some(&resource),
                subject: Some(&subject).filter(|subject| subject.kind == SubjectKind::User),
                actor: None,
            };
            let tenant = Tenant::new(&binding.tenant_id);
            changes::record(&tx.for_tenant(Some(tenant)), change)?;
        }
        tx.commit()?;
        if !expired.is_empty() {
            sdk::info!(bindings = expired.len(), "told of expired bindings");
        }
        if i64::try_from(expired.len()).unwrap_or(i64::MAX) < AT_ONCE {
            return Ok(());
        }
    }
}

/// What is held about a person.
#[derive(Serialize)]
struct Held {
    bindings: Vec<Binding>,
    groups: Vec<String>,
}

pub(crate) fn export_subject(subject: &str, _page: u32) -> Result<ExportPage> {
    let db = sql::tenant()?;
    let user = SubjectRef::user(subject);
    let held =
        Held { bindings: bindings::of_subject(&db, &user)?, groups: tree::groups_of(&db, &user)? };
    Ok((vec![ExportPart::new("permissions", &held)?], false))
}

pub(crate) fn erase_subject(subject: &str) -> Result<Vec<Erasure>> {
    let tx = sql::tenant()?.begin()?;
    let rows = remove(&tx, &SubjectRef::user(subject), true, None)?;
    tx.commit()?;
    let section = "permissions".to_owned();
    Ok(vec![Erasure { section, erased: rows, kept: 0, reason: None }])
}
