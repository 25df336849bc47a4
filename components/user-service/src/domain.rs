//! Roles, profiles, preferences and workspaces. Nothing here knows of requests or tables.

pub(crate) mod member;
pub(crate) mod profile;

use sdk::{Row, Schema, Timestamp, Uuid};
use serde::Serialize;

use member::Role;
use profile::PreferencesPatch;

/// A tenant.
#[derive(Clone, Debug, Serialize, Schema, Row)]
pub(crate) struct TenantInfo {
    /// Its id.
    #[row(rename = "tenant_id")]
    pub(crate) id: String,
    /// Its name.
    #[schema(example = "Analytical Engines")]
    pub(crate) name: String,
    /// What members' preferences are unless they choose.
    #[row(json)]
    pub(crate) preferences: PreferencesPatch,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// Counts its changes.
    pub(crate) version: i64,
}

/// A workspace.
#[derive(Clone, Debug, Serialize, Schema, Row)]
pub(crate) struct Workspace {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its name, one of a kind in its tenant.
    #[schema(example = "Default")]
    pub(crate) name: String,
    /// What it is for.
    pub(crate) description: String,
    /// Who made it.
    pub(crate) created_by: Uuid,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// Counts its changes.
    pub(crate) version: i64,
}

/// An invitation that waits to be accepted.
#[derive(Clone, Debug, Serialize, Schema, Row)]
pub(crate) struct Invitation {
    /// Its id.
    pub(crate) id: Uuid,
    /// Who is invited.
    #[schema(example = "grace@example.com")]
    pub(crate) email: String,
    /// The role in the tenant.
    pub(crate) role: Role,
    /// A workspace to join with the same role.
    pub(crate) workspace_id: Option<Uuid>,
    /// Who invited.
    pub(crate) invited_by: Uuid,
    /// When.
    pub(crate) created_at: Timestamp,
    /// Until when it can be accepted.
    pub(crate) expires_at: Timestamp,
}

/// What names and addresses are compared by.
pub(crate) fn key(text: &str) -> String {
    text.trim().to_lowercase()
}
