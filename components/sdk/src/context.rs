//! Who is asking: set by the host, not readable from headers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, bindings::pyairtable::context::call as wit, imports::call};

/// A tenant's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(String);

impl Tenant {
    /// From an id that was stored or came with an event or job.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
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
        f.pad(&self.0)
    }
}

/// The verified end user. As an argument of a handler it makes the route answer 401 to everyone
/// else; `Option<Principal>` takes both.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal(wit::Principal);

impl Principal {
    /// `sub` of the token.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        Tenant::new(self.0.tenant.clone())
    }

    /// The roles in the token.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// The scopes in the token.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// `sid` of the token.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// Seconds since the epoch at which the token expires.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.0.expires_at
    }

    /// A further claim, as JSON text.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.0.attrs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the token has a role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.iter().any(|r| r == role)
    }

    /// Whether the token has a scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scopes.iter().any(|s| s == scope)
    }

    /// 403 without one of the roles.
    ///
    /// # Errors
    /// `request.forbidden`.
    pub fn require_role(&self, any_of: &[&str]) -> Result<()> {
        if any_of.iter().any(|role| self.has_role(role)) {
            Ok(())
        } else {
            Err(Error::forbidden(format!("this needs the role {}", any_of.join(" or "))))
        }
    }

    /// 403 without the scope.
    ///
    /// # Errors
    /// `request.forbidden`.
    pub fn require_scope(&self, scope: &str) -> Result<()> {
        if self.has_scope(scope) {
            Ok(())
        } else {
            Err(Error::forbidden(format!("this needs the scope {scope}")))
        }
    }
}

impl From<wit::Principal> for Principal {
    fn from(principal: wit::Principal) -> Self {
        Self(principal)
    }
}

/// The verified user, if somebody proved who they are.
#[must_use]
pub fn principal() -> Option<Principal> {
    call::get_principal().map(Principal)
}

/// Makes a token's subject the principal of this call. Needs the grant `principal-assume`, which
/// the gateway has.
///
/// # Errors
/// `principal.denied`, `principal.invalid-token`, `principal.expired`, `principal.revoked`.
pub fn assume(jwt: &str) -> Result<Principal> {
    Ok(Principal(call::assume(jwt)?))
}

/// The tenant of the principal, event or job.
#[must_use]
pub fn tenant() -> Option<Tenant> {
    call::tenant().map(Tenant)
}

/// SPIFFE id of the calling service; none for a client at a public listener.
#[must_use]
pub fn caller() -> Option<String> {
    call::caller()
}

/// Name of the calling service: the last segment of its SPIFFE id.
#[must_use]
pub fn caller_service() -> Option<String> {
    call::caller().and_then(|id| id.rsplit('/').next().map(str::to_owned))
}

/// As in the response's `x-correlation-id`.
#[must_use]
pub fn correlation_id() -> String {
    call::correlation_id()
}

/// W3C trace context of the current span.
#[must_use]
pub fn traceparent() -> String {
    call::traceparent()
}

/// Time until the call is given up.
#[must_use]
pub fn remaining() -> std::time::Duration {
    std::time::Duration::from_millis(call::remaining_ms())
}

/// This service's name.
#[must_use]
pub fn service() -> String {
    call::service()
}

/// First 12 digits of this revision.
#[must_use]
pub fn revision() -> String {
    call::revision()
}
