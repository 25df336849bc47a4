//! Accounts, and which names and passwords they take.

use sdk::{Row, Schema, Timestamp, Uuid};
use serde::Serialize;

/// An account as it is stored.
#[derive(Clone, Debug, PartialEq, Row)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: String,
    pub(crate) email: String,
    pub(crate) email_key: String,
    pub(crate) name: Option<String>,
    pub(crate) password_hash: String,
    pub(crate) disabled: bool,
    pub(crate) verified_at: Option<Timestamp>,
    pub(crate) password_changed_at: Timestamp,
    pub(crate) mailed_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    /// Counts its events.
    pub(crate) version: i64,
}

impl User {
    /// Proven and not switched off.
    pub(crate) fn is_active(&self) -> bool {
        !self.disabled && self.verified_at.is_some()
    }
}

/// A tenant that an account may sign in to.
#[derive(Clone, Debug, PartialEq, Eq, Row)]
pub(crate) struct Membership {
    pub(crate) tenant_id: String,
    pub(crate) role: String,
}

/// An account as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Schema)]
pub(crate) struct Account {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its address.
    #[schema(format = "email", example = "ada@example.com")]
    pub(crate) email: String,
    /// What the user wants to be called.
    pub(crate) name: Option<String>,
    /// Whether the address was proven.
    pub(crate) email_verified: bool,
    /// The tenant the user is signed in to.
    pub(crate) tenant_id: String,
    /// The role there.
    #[schema(example = "owner")]
    pub(crate) role: String,
    /// When it was made.
    pub(crate) created_at: Timestamp,
}

impl Account {
    pub(crate) fn of(user: &User, membership: &Membership) -> Self {
        Self {
            id: user.id,
            email: user.email.clone(),
            name: user.name.clone(),
            email_verified: user.verified_at.is_some(),
            tenant_id: membership.tenant_id.clone(),
            role: membership.role.clone(),
            created_at: user.created_at,
        }
    }
}

/// The tenant to sign in to: the one that was asked for, else the account's own, else the first.
pub(crate) fn choose<'a>(
    memberships: &'a [Membership],
    asked: Option<&str>,
    own: &str,
) -> Option<&'a Membership> {
    let named = |tenant: &str| memberships.iter().find(|m| m.tenant_id == tenant);
    match asked {
        Some(tenant) => named(tenant),
        None => named(own).or_else(|| memberships.first()),
    }
}

/// What addresses are compared by: mail servers tell no capitals apart in practice.
pub(crate) fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Long enough for any minimum, and the first that are tried.
const COMMON: &[&str] = &[
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789012345",
    "1234567890123456",
    "1q2w3e4r5t6y",
    "administrator",
    "changemechangeme",
    "correcthorsebatterystaple",
    "iloveyouiloveyou",
    "passw0rdpassw0rd",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "qwertyqwerty",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdfgh",
    "zaq12wsxcde3",
];

/// Whether a password may be used (NIST SP 800-63B, section 5.1.1.2: length, no composition
/// rules, none that is known or the name itself).
pub(crate) fn check_password(password: &str, email: &str, min: usize) -> Result<(), String> {
    if password.len() > 1024 {
        return Err("must have at most 1024 bytes".to_owned());
    }
    if password.chars().count() < min {
        return Err(format!("must have at least {min} characters"));
    }
    let lower = password.to_lowercase();
    let first = lower.chars().next();
    let local = email.split('@').next().unwrap_or_default();
    if lower.chars().all(|c| Some(c) == first)
        || lower == email
        || lower == local
        || COMMON.contains(&lower.as_str())
    {
        return Err("is too easy to guess".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let rows = [
            ("a short one", false),
            ("long enough to be good", true),
            ("Password1234", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("Ada@Example.com", false),
            ("пароль-длинный", true),
            (&"x".repeat(1025), false),
        ];
        for (password, good) in rows {
            assert_eq!(check_password(password, "ada@example.com", 12).is_ok(), good, "{password}");
        }
        assert!(check_password("ada.lovelace1", "ada.lovelace1@example.com", 12).is_err());
    }

    #[test]
    fn the_tenant_that_was_asked_for_or_the_own() {
        let membership =
            |tenant: &str| Membership { tenant_id: tenant.to_owned(), role: "viewer".to_owned() };
        let all = [membership("a"), membership("b")];
        let tenant = |asked, own| choose(&all, asked, own).map(|m| m.tenant_id.as_str());
        assert_eq!(tenant(None, "b"), Some("b"));
        assert_eq!(tenant(None, "gone"), Some("a"));
        assert_eq!(tenant(Some("a"), "b"), Some("a"));
        assert_eq!(tenant(Some("c"), "b"), None);
        assert_eq!(choose(&[], None, "b"), None);
    }
}
