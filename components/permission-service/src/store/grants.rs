//! What decides on a resource, in one statement.

use std::fmt::Write as _;

use sdk::{
    Result, Row, Timestamp, Uuid, params,
    sql::{Db, Json, ToValue, Value},
};

use crate::domain::{
    Condition, Effect, Grant, Grants, PermissionSet, ResourceRef, SubjectKind, SubjectRef, built_in,
};

/// The tenant is above everything.
const ROOT_DEPTH: i64 = 100;

#[derive(Row)]
struct Bound {
    root_kind: String,
    root_id: String,
    depth: i64,
    id: Uuid,
    role: String,
    effect: Effect,
    resource_kind: String,
    condition: Option<Json<Condition>>,
    expires_at: Option<Timestamp>,
    permissions: Option<Json<Vec<String>>>,
}

impl Bound {
    fn into_grant(self) -> Grant {
        let permissions = match (built_in(&self.role), &self.permissions) {
            (Some(role), _) => role.permissions(),
            (None, Some(Json(names))) => PermissionSet::parse_known(names),
            (None, None) => PermissionSet::default(),
        };
        Grant {
            binding: self.id,
            owner: self.role == "owner"
                && self.resource_kind == "tenant"
                && self.effect == Effect::Allow,
            role: self.role,
            effect: self.effect,
            permissions,
            depth: self.depth,
            expires_at: self.expires_at,
            condition: self.condition.map(|Json(condition)| condition),
        }
    }
}

/// The bindings that reach a subject, itself and through groups, on each of the resources and
/// what is above them. `now` leaves out what has expired.
pub(crate) fn load(
    db: &Db<'_>,
    subject: &SubjectRef,
    resources: &[ResourceRef],
    now: Timestamp,
) -> Result<Vec<Grants>> {
    // First, so that the revision is never later than what was read.
    let revision = super::revision(db)?;
    let mut params = params![subject.kind, subject.id, now];
    let seed = seed(resources, &mut params);
    let statement = format!(
        "WITH RECURSIVE seed (kind, id) AS ({seed}),
         chain (root_kind, root_id, kind, id, depth) AS (
             SELECT kind, id, kind, id, 0 FROM seed
             UNION
             SELECT c.root_kind, c.root_id, r.parent_kind, r.parent_id, c.depth + 1 FROM chain c
             JOIN resources r ON r.tenant_id = $tenant AND r.kind = c.kind AND r.id = c.id
             WHERE c.depth < 8
         ),
         levels (root_kind, root_id, kind, id, depth) AS (
             SELECT root_kind, root_id, kind, id, depth FROM chain WHERE kind <> 'tenant'
             UNION
             SELECT kind, id, 'tenant', $tenant, {ROOT_DEPTH} FROM seed
         ),
         subjects (kind, id) AS (
             SELECT $1, $2
             UNION
             SELECT 'group', g.group_id FROM subjects s
             JOIN group_members g
                 ON g.tenant_id = $tenant AND g.member_kind = s.kind AND g.member_id = s.id
         )
         SELECT l.root_kind, l.root_id, l.depth, b.id, b.role, b.effect, b.resource_kind,
             b.condition, b.expires_at, o.permissions
         FROM subjects s
         CROSS JOIN levels l
         JOIN role_bindings b ON b.tenant_id = $tenant AND b.subject_kind = s.kind
             AND b.subject_id = s.id AND b.resource_kind = l.kind AND b.resource_id = l.id
         LEFT JOIN roles o ON o.tenant_id = $tenant AND o.id = b.role
         WHERE b.expires_at IS NULL OR b.expires_at > $3"
    );
    let mut all: Vec<Grants> =
        resources.iter().map(|_| Grants { revision, grants: Vec::new() }).collect();
    for bound in db.query::<Bound>(&statement, params)? {
        let at = resources
            .iter()
            .position(|r| r.kind == bound.root_kind && r.id == bound.root_id)
            .and_then(|at| all.get_mut(at));
        if let Some(grants) = at {
            grants.grants.push(bound.into_grant());
        }
    }
    Ok(all)
}

/// `VALUES` of the resources, filled up to a power of two with the last one so that there are few
/// texts of the statement.
fn seed(resources: &[ResourceRef], params: &mut Vec<Value>) -> String {
    let mut text = String::from("VALUES ");
    let Some(last) = resources.last() else { return text };
    let padding = resources.len().next_power_of_two() - resources.len();
    for (index, resource) in resources.iter().chain(std::iter::repeat_n(last, padding)).enumerate()
    {
        params.extend([resource.kind.to_value(), resource.id.to_value()]);
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        if write!(text, "{separator}(${}, ${})", params.len() - 1, params.len()).is_err() {
            break;
        }
    }
    text
}

/// A subject and the bindings that reach it on one resource.
pub(crate) type Reached = (SubjectRef, Grants);

#[derive(Row)]
struct BoundTo {
    subject_kind: SubjectKind,
    subject_id: String,
    depth: i64,
    id: Uuid,
    role: String,
    effect: Effect,
    resource_kind: String,
    condition: Option<Json<Condition>>,
    expires_at: Option<Timestamp>,
    permissions: Option<Json<Vec<String>>>,
}

/// Every user and service that a binding reaches on a resource, groups taken apart, in order.
pub(crate) fn reached(db: &Db<'_>, resource: &ResourceRef, now: Timestamp) -> Result<Vec<Reached>> {
    let statement = format!(
        "WITH RECURSIVE chain (kind, id, depth) AS (
             SELECT $1, $2, 0
             UNION
             SELECT r.parent_kind, r.parent_id, c.depth + 1 FROM chain c
             JOIN resources r ON r.tenant_id = $tenant AND r.kind = c.kind AND r.id = c.id
             WHERE c.depth < 8
         ),
         levels (kind, id, depth) AS (
             SELECT kind, id, depth FROM chain WHERE kind <> 'tenant'
             UNION
             SELECT 'tenant', $tenant, {ROOT_DEPTH}
         ),
         bound (subject_kind, subject_id, binding, depth) AS (
             SELECT b.subject_kind, b.subject_id, b.id, l.depth FROM levels l
             JOIN role_bindings b ON b.tenant_id = $tenant
                 AND b.resource_kind = l.kind AND b.resource_id = l.id
             WHERE b.expires_at IS NULL OR b.expires_at > $3
             UNION
             SELECT g.member_kind, g.member_id, p.binding, p.depth FROM bound p
             JOIN group_members g ON g.tenant_id = $tenant AND g.group_id = p.subject_id
             WHERE p.subject_kind = 'group'
         )
         SELECT p.subject_kind, p.subject_id, p.depth, b.id, b.role, b.effect, b.resource_kind,
             b.condition, b.expires_at, o.permissions
         FROM bound p
         JOIN role_bindings b ON b.tenant_id = $tenant AND b.id = p.binding
         LEFT JOIN roles o ON o.tenant_id = $tenant AND o.id = b.role
         WHERE p.subject_kind <> 'group'
         ORDER BY p.subject_kind, p.subject_id"
    );
    let mut all: Vec<Reached> = Vec::new();
    for row in db.query::<BoundTo>(&statement, params![resource.kind, resource.id, now])? {
        let subject = SubjectRef { kind: row.subject_kind, id: row.subject_id };
        if all.last().is_none_or(|(last, _)| *last != subject) {
            all.push((subject, Grants::default()));
        }
        let bound = Bound {
            root_kind: String::new(),
            root_id: String::new(),
            depth: row.depth,
            id: row.id,
            role: row.role,
            effect: row.effect,
            resource_kind: row.resource_kind,
            condition: row.condition,
            expires_at: row.expires_at,
            permissions: row.permissions,
        };
        if let Some((_, grants)) = all.last_mut() {
            grants.grants.push(bound.into_grant());
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}
