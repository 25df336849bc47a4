//! What hangs under what, and who is in which group.

use sdk::{Error, Result, Row, params, sql::Db};

use crate::domain::{ResourceRef, SubjectKind, SubjectRef};

/// A resource that was put into the tree.
#[derive(Row)]
pub(crate) struct Placed {
    pub(crate) parent_kind: String,
    pub(crate) parent_id: String,
    pub(crate) version: i64,
}

pub(crate) fn find(db: &Db<'_>, resource: &ResourceRef) -> Result<Option<Placed>> {
    db.optional(
        "SELECT parent_kind, parent_id, version FROM resources
         WHERE tenant_id = $tenant AND kind = $1 AND id = $2",
        params![resource.kind, resource.id],
    )
}

/// Puts a resource under a parent; `version` is the one after the present one.
pub(crate) fn put(
    db: &Db<'_>,
    resource: &ResourceRef,
    parent: &ResourceRef,
    version: i64,
) -> Result<()> {
    let rows = db.execute(
        "INSERT INTO resources (tenant_id, kind, id, parent_kind, parent_id, version)
         VALUES ($tenant, $1, $2, $3, $4, $5)
         ON CONFLICT (tenant_id, kind, id) DO UPDATE
         SET parent_kind = excluded.parent_kind, parent_id = excluded.parent_id,
             version = excluded.version
         WHERE resources.version = excluded.version - 1",
        params![resource.kind, resource.id, parent.kind, parent.id, version],
    )?;
    if rows == 0 { Err(Error::precondition_failed()) } else { Ok(()) }
}

pub(crate) fn delete(db: &Db<'_>, resource: &ResourceRef) -> Result<()> {
    db.execute(
        "DELETE FROM resources WHERE tenant_id = $tenant AND kind = $1 AND id = $2",
        params![resource.kind, resource.id],
    )?;
    Ok(())
}

/// Resources of a kind that are in the tree or have bindings, after an id.
pub(crate) fn of_kind(
    db: &Db<'_>,
    kind: &str,
    after: Option<&str>,
    most: i64,
) -> Result<Vec<ResourceRef>> {
    let rows = db.query::<(String,)>(
        "SELECT id FROM resources WHERE tenant_id = $tenant AND kind = $1 AND ($2 IS NULL OR id > $2)
         UNION
         SELECT resource_id FROM role_bindings
         WHERE tenant_id = $tenant AND resource_kind = $1 AND ($2 IS NULL OR resource_id > $2)
         ORDER BY 1 LIMIT $3",
        params![kind, after, most],
    )?;
    Ok(rows.into_iter().map(|(id,)| ResourceRef::new(kind, id)).collect())
}

pub(crate) fn join_group(db: &Db<'_>, member: &SubjectRef, group: &str) -> Result<()> {
    db.execute(
        "INSERT INTO group_members (tenant_id, member_kind, member_id, group_id)
         VALUES ($tenant, $1, $2, $3) ON CONFLICT DO NOTHING",
        params![member.kind, member.id, group],
    )?;
    Ok(())
}

pub(crate) fn leave_group(db: &Db<'_>, member: &SubjectRef, group: &str) -> Result<()> {
    db.execute(
        "DELETE FROM group_members WHERE tenant_id = $tenant AND member_kind = $1
         AND member_id = $2 AND group_id = $3",
        params![member.kind, member.id, group],
    )?;
    Ok(())
}

/// Takes a member out of all groups; a group that is left is emptied too.
pub(crate) fn leave_all(db: &Db<'_>, member: &SubjectRef) -> Result<u64> {
    let emptied = match member.kind {
        SubjectKind::Group => member.id.as_str(),
        SubjectKind::User | SubjectKind::Service => "",
    };
    db.execute(
        "DELETE FROM group_members WHERE tenant_id = $tenant
         AND ((member_kind = $1 AND member_id = $2) OR group_id = $3)",
        params![member.kind, member.id, emptied],
    )
}

/// The groups a member is in directly.
pub(crate) fn groups_of(db: &Db<'_>, member: &SubjectRef) -> Result<Vec<String>> {
    let rows = db.query::<(String,)>(
        "SELECT group_id FROM group_members
         WHERE tenant_id = $tenant AND member_kind = $1 AND member_id = $2 ORDER BY group_id",
        params![member.kind, member.id],
    )?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
