//! Roles, and who may give them to whom.

use sdk::{Row, Schema, Text, Timestamp, Uuid};
use serde::{Deserialize, Serialize};

/// What a member may do, from least to most.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema, Text,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Reads.
    Viewer,
    /// Reads and comments.
    Commenter,
    /// Changes data.
    Editor,
    /// Manages members.
    Admin,
    /// Everything.
    Owner,
}

impl Role {
    /// Whether members are managed with it.
    pub(crate) fn manages(self) -> bool {
        self >= Self::Admin
    }

    /// Whether somebody with this role may turn one role into another: none above their own, and
    /// nobody above them loses one.
    pub(crate) fn may_change(self, from: Option<Self>, to: Option<Self>) -> bool {
        self.manages() && from.is_none_or(|from| from <= self) && to.is_none_or(|to| to <= self)
    }
}

/// A member of a tenant or workspace.
#[derive(Clone, Debug, Serialize, Schema, Row)]
pub(crate) struct Member {
    /// The user.
    pub(crate) user_id: Uuid,
    /// The role.
    pub(crate) role: Role,
    /// What the user wants to be called.
    #[schema(example = "Ada")]
    pub(crate) display_name: String,
    /// The address.
    #[schema(example = "ada@example.com")]
    pub(crate) email: String,
    /// Since when.
    pub(crate) joined_at: Timestamp,
    /// Counts changes of the role.
    pub(crate) version: i64,
}

/// What somebody is in a tenant and, if that was asked, in one of its workspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row)]
pub(crate) struct Standing {
    pub(crate) tenant_role: Role,
    pub(crate) workspace_role: Option<Role>,
}

impl Standing {
    /// The role in the workspace: those who manage the tenant have theirs in all of its
    /// workspaces. None means that the workspace does not exist for them.
    pub(crate) fn in_workspace(self) -> Option<Role> {
        let inherited = Some(self.tenant_role).filter(|role| role.manages());
        self.workspace_role.max(inherited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_or_takes_more_than_they_have() {
        use Role::{Admin, Editor, Owner, Viewer};
        let rows = [
            (Owner, Some(Owner), None, true),
            (Owner, None, Some(Owner), true),
            (Admin, Some(Editor), Some(Admin), true),
            (Admin, Some(Owner), Some(Admin), false),
            (Admin, None, Some(Owner), false),
            (Admin, Some(Admin), None, true),
            (Editor, None, Some(Viewer), false),
            (Editor, Some(Viewer), None, false),
        ];
        for (role, from, to, expected) in rows {
            assert_eq!(role.may_change(from, to), expected, "{role}: {from:?} -> {to:?}");
        }
    }

    #[test]
    fn who_manages_the_tenant_manages_its_workspaces() {
        use Role::{Admin, Editor, Owner, Viewer};
        let rows = [
            (Viewer, None, None),
            (Viewer, Some(Owner), Some(Owner)),
            (Admin, None, Some(Admin)),
            (Admin, Some(Viewer), Some(Admin)),
            (Editor, None, None),
        ];
        for (tenant_role, workspace_role, expected) in rows {
            assert_eq!(Standing { tenant_role, workspace_role }.in_workspace(), expected);
        }
    }
}
