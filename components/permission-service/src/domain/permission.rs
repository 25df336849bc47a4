//! What can be permitted, and the roles that exist without being made.

use serde::{Deserialize, Serialize};

/// The built-in roles, each with all that the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BuiltIn {
    Viewer,
    Commenter,
    Editor,
    Admin,
    Owner,
}

/// Something that can be permitted.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// The first built-in role that has it.
    since: BuiltIn,
}

const fn entry(name: &'static str, since: BuiltIn, description: &'static str) -> Entry {
    Entry { name, description, since }
}

use BuiltIn::{Admin, Commenter, Editor, Owner, Viewer};

/// All permissions. A place in the list is a bit of [`PermissionSet`]; sets are kept by name in
/// the database, so that the order may change.
pub(crate) static CATALOGUE: [Entry; 54] = [
    entry("record.read", Viewer, "Read records."),
    entry("record.create", Editor, "Make records."),
    entry("record.update", Editor, "Change records."),
    entry("record.delete", Editor, "Delete records."),
    entry("comment.read", Viewer, "Read comments."),
    entry("comment.create", Commenter, "Write comments, change and delete one's own."),
    entry("comment.delete", Editor, "Delete comments of others."),
    entry("schema.read", Viewer, "Read tables, fields and views."),
    entry("schema.update", Admin, "Make and change tables and fields."),
    entry("base.read", Viewer, "See that a base is there."),
    entry("base.connect", Admin, "Connect and disconnect bases."),
    entry("webhook.read", Editor, "See webhooks and their deliveries."),
    entry("webhook.manage", Admin, "Make, change and delete webhooks."),
    entry("sync.read", Viewer, "See syncs and their state."),
    entry("sync.run", Editor, "Start and stop syncs."),
    entry("sync.manage", Admin, "Make, change and delete syncs."),
    entry("file.read", Viewer, "Read files."),
    entry("file.create", Editor, "Upload files."),
    entry("file.update", Editor, "Change and move files."),
    entry("file.delete", Editor, "Delete files."),
    entry("file.share", Editor, "Make links to files for others."),
    entry("conversation.read", Viewer, "Read conversations."),
    entry("conversation.create", Commenter, "Begin conversations and write in them."),
    entry("conversation.delete", Editor, "Delete conversations."),
    entry("llm.use", Commenter, "Ask language models."),
    entry("llm.manage", Admin, "Choose models and budgets."),
    entry("search.use", Viewer, "Search."),
    entry("search.manage", Admin, "Manage indexes and synonyms."),
    entry("workflow.read", Viewer, "See workflows and their runs."),
    entry("workflow.run", Editor, "Start, pause and cancel workflows."),
    entry("workflow.manage", Admin, "Make, change and delete workflows."),
    entry("schedule.read", Viewer, "See schedules."),
    entry("schedule.manage", Editor, "Make, change and delete schedules."),
    entry("event.read", Editor, "Read recorded events."),
    entry("event.manage", Admin, "Make rules for events, replay dead letters."),
    entry("analytics.read", Viewer, "Read analytics."),
    entry("analytics.manage", Editor, "Make dashboards and alerts."),
    entry("audit.read", Admin, "Read the audit log."),
    entry("audit.manage", Owner, "Set legal holds and export the audit log."),
    entry("notification.read", Viewer, "Read one's notifications."),
    entry("notification.manage", Admin, "Change templates and channels."),
    entry("limit.read", Editor, "See limits and what is used."),
    entry("limit.manage", Admin, "Change limits within what the plan grants."),
    entry("token.manage", Admin, "Revoke tokens of others."),
    entry("workspace.read", Viewer, "See a workspace."),
    entry("workspace.create", Editor, "Make workspaces."),
    entry("workspace.manage", Admin, "Change and delete workspaces, move what is in them."),
    entry("member.read", Viewer, "See who is a member."),
    entry("member.invite", Editor, "Invite members."),
    entry("member.manage", Admin, "Change and remove members."),
    entry("role.read", Admin, "See roles and who has them."),
    entry("role.manage", Admin, "Make roles and give them, as far as one's own go."),
    entry("tenant.read", Viewer, "See the tenant."),
    entry("tenant.manage", Owner, "Change, hand over and delete the tenant."),
];

impl BuiltIn {
    pub(crate) const ALL: [Self; 5] = [Owner, Admin, Editor, Commenter, Viewer];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Viewer => "viewer",
            Commenter => "commenter",
            Editor => "editor",
            Admin => "admin",
            Owner => "owner",
        }
    }

    pub(crate) const fn description(self) -> &'static str {
        match self {
            Viewer => "Reads.",
            Commenter => "Reads and comments.",
            Editor => "Changes data.",
            Admin => "Changes schemas, members and settings.",
            Owner => "May do everything, and cannot be locked out.",
        }
    }

    pub(crate) const fn permissions(self) -> PermissionSet {
        // Computed by the compiler.
        const SETS: [u128; 5] =
            [set_of(Viewer), set_of(Commenter), set_of(Editor), set_of(Admin), set_of(Owner)];
        PermissionSet::from_bits(SETS[self as usize])
    }
}

const fn set_of(role: BuiltIn) -> u128 {
    let (mut bits, mut at) = (0, 0);
    while at < CATALOGUE.len() {
        if CATALOGUE[at].since as u8 <= role as u8 {
            bits |= 1 << at;
        }
        at += 1;
    }
    bits
}

/// The built-in role of a name.
pub(crate) fn built_in(name: &str) -> Option<BuiltIn> {
    BuiltIn::ALL.into_iter().find(|role| role.as_str() == name)
}

/// A permission of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permission(usize);

impl Permission {
    pub(crate) const ROLE_READ: Self = Self(position("role.read"));
    pub(crate) const ROLE_MANAGE: Self = Self(position("role.manage"));
    pub(crate) const WORKSPACE_MANAGE: Self = Self(position("workspace.manage"));

    pub(crate) fn named(name: &str) -> Option<Self> {
        CATALOGUE.iter().position(|entry| entry.name == name).map(Self)
    }

    pub(crate) fn name(self) -> &'static str {
        CATALOGUE[self.0].name
    }
}

const fn position(name: &str) -> usize {
    let mut at = 0;
    while !same(CATALOGUE[at].name.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Some permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PermissionSet(u64, u64);

impl PermissionSet {
    const fn from_bits(bits: u128) -> Self {
        Self((bits >> 64) as u64, bits as u64)
    }

    const fn bits(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }

    /// From names and patterns (`record.*`, `*`). Answers the index of the first that names
    /// nothing.
    pub(crate) fn parse<T: AsRef<str>>(patterns: &[T]) -> Result<Self, usize> {
        patterns.iter().enumerate().try_fold(Self::default(), |set, (index, pattern)| {
            let found = Self::matching(pattern.as_ref());
            if found == Self::default() { Err(index) } else { Ok(set.union(found)) }
        })
    }

    /// As [`parse`](Self::parse), leaving out what names nothing any more.
    pub(crate) fn parse_known<T: AsRef<str>>(patterns: &[T]) -> Self {
        patterns.iter().fold(Self::default(), |set, p| set.union(Self::matching(p.as_ref())))
    }

    fn matching(pattern: &str) -> Self {
        let area = pattern.strip_suffix('*');
        let bits = CATALOGUE.iter().enumerate().filter(|(_, entry)| match area {
            Some("") => true,
            Some(area) => area.ends_with('.') && entry.name.starts_with(area),
            None => entry.name == pattern,
        });
        Self::from_bits(bits.fold(0, |bits, (at, _)| bits | 1 << at))
    }

    pub(crate) const fn contains(self, permission: Permission) -> bool {
        self.bits() >> permission.0 & 1 == 1
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self::from_bits(self.bits() | other.bits())
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self::from_bits(self.bits() & other.bits())
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self::from_bits(self.bits() & !other.bits())
    }

    pub(crate) fn is_subset_of(self, other: Self) -> bool {
        self.without(other) == Self::default()
    }

    pub(crate) fn names(self) -> Vec<String> {
        let names = CATALOGUE.iter().enumerate().filter(|(at, _)| self.contains(Permission(*at)));
        names.map(|(_, entry)| entry.name.to_owned()).collect()
    }
}

/// Airtable's scopes of tokens (https://airtable.com/developers/web/api/scopes) as permissions.
/// Those without any are here too: they are scopes of data, of which the token has none.
const AIRTABLE_SCOPES: &[(&str, &[&str])] = &[
    ("data.records:read", &["record.read", "base.read"]),
    ("data.records:write", &["record.create", "record.update", "record.delete"]),
    ("data.recordComments:read", &["comment.read"]),
    ("data.recordComments:write", &["comment.create", "comment.delete"]),
    ("schema.bases:read", &["schema.read", "base.read"]),
    ("schema.bases:write", &["schema.update"]),
    ("webhook:manage", &["webhook.*"]),
    ("workspacesAndBases:read", &["workspace.read", "base.read"]),
    ("workspacesAndBases:write", &["workspace.*"]),
    ("block:manage", &[]),
    ("user.email:read", &[]),
];

/// What the scopes of a token leave of its owner's permissions: none if they do not speak of
/// permissions at all, as those of a login.
pub(crate) fn scope_permissions<T: AsRef<str>>(scopes: &[T]) -> Option<PermissionSet> {
    let mut restricted = None::<PermissionSet>;
    for scope in scopes {
        let scope = scope.as_ref();
        let airtable = AIRTABLE_SCOPES.iter().find(|(name, _)| *name == scope);
        let set = match airtable {
            Some((_, permissions)) => PermissionSet::parse_known(permissions),
            None => match PermissionSet::matching(scope) {
                set if set == PermissionSet::default() => continue,
                set => set,
            },
        };
        restricted = Some(restricted.unwrap_or_default().union(set));
    }
    restricted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(set: PermissionSet, name: &str) -> bool {
        set.contains(Permission::named(name).unwrap())
    }

    #[test]
    fn the_catalogue_is_well_formed() {
        for (at, entry) in CATALOGUE.iter().enumerate() {
            assert_eq!(Permission::named(entry.name), Some(Permission(at)), "{}", entry.name);
            assert_eq!(entry.name.split('.').count(), 2, "{}", entry.name);
        }
    }

    #[test]
    fn built_in_roles_grow() {
        let rows = [
            ("viewer", "record.read", true),
            ("viewer", "comment.create", false),
            ("commenter", "comment.create", true),
            ("commenter", "record.update", false),
            ("editor", "record.delete", true),
            ("editor", "role.manage", false),
            ("admin", "role.manage", true),
            ("admin", "tenant.manage", false),
            ("owner", "tenant.manage", true),
        ];
        for (role, name, expected) in rows {
            assert_eq!(has(built_in(role).unwrap().permissions(), name), expected, "{role} {name}");
        }
        assert_eq!(Owner.permissions(), PermissionSet::parse(&["*"]).unwrap());
        assert!(built_in("root").is_none());
    }

    #[test]
    fn patterns() {
        let set = PermissionSet::parse(&["record.*", "schema.read"]).unwrap();
        assert!(has(set, "record.delete") && has(set, "schema.read"));
        assert!(!has(set, "schema.update"));
        for bad in ["", "record", "record.fly", "rec*", ".*", "record.*.x"] {
            assert_eq!(PermissionSet::parse(&["*", bad]), Err(1), "{bad}");
        }
        assert_eq!(set.names().len(), 5);
    }

    #[test]
    fn scopes_restrict_only_if_they_speak_of_permissions() {
        assert_eq!(scope_permissions::<&str>(&[]), None);
        assert_eq!(scope_permissions(&["openid", "profile"]), None);
        let read = scope_permissions(&["openid", "data.records:read"]).unwrap();
        assert!(has(read, "record.read") && !has(read, "record.update"));
        assert_eq!(scope_permissions(&["user.email:read"]), Some(PermissionSet::default()));
        assert!(has(scope_permissions(&["webhook.*"]).unwrap(), "webhook.manage"));
    }
}
