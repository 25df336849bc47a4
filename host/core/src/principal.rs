use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Whose data it is. Every row, key, event and document has exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant with this id.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The verified end user of a call tree. Only the host makes one, from a token it has verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// `sub` of the token.
    pub subject: String,
    /// `iss` of the token.
    pub issuer: String,
    /// The tenant the subject acts in.
    pub tenant: Tenant,
    /// Roles in the tenant.
    pub roles: Vec<String>,
    /// What the token may be used for.
    pub scopes: Vec<String>,
    /// `sid`: the session the token belongs to, for revocation.
    pub session: Option<String>,
    /// Seconds since the epoch.
    pub expires_at: u64,
    /// Further claims as JSON texts by name.
    pub claims: Vec<(String, String)>,
}
