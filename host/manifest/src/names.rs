use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

/// A text does not follow the rule of its kind of name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: {rule}")]
pub struct InvalidName {
    text: String,
    kind: &'static str,
    rule: &'static str,
}

/// The topic of events, as `user.registered`: 1 to 128 characters of `a-z`, `0-9`, `_`, `.` and
/// `-`, beginning and ending with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Arc<str>);

/// The name of a service's database: 1 to 63 characters of `a-z`, `0-9` and `_` (what every
/// engine takes without quotes), beginning with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatabaseName(Arc<str>);

/// Which names of the vault are meant: one name, or with a trailing `*` all that begin so.
/// 1 to 256 bytes without spaces and control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretPattern(Arc<str>);

impl Topic {
    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only the host itself publishes on it.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        matches!(self.as_str(), "deployment.changed" | "policy.changed")
    }
}

impl DatabaseName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SecretPattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name of the vault is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == &*self.0,
        }
    }

    /// Whether every name that `other` means is meant by this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (_, None) => self.matches(&other.0),
            (Some(prefix), Some(longer)) => longer.starts_with(prefix),
            (None, Some(_)) => false,
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let valid = text.len() <= 128
            && text.bytes().all(inner)
            && edge(text.bytes().next())
            && edge(text.bytes().last());
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName {
                text: text.to_owned(),
                kind: "a topic",
                rule: "use 1 to 128 characters of a-z, 0-9, _, . and -, as in `user.registered`",
            })
        }
    }
}

impl FromStr for DatabaseName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName {
                text: text.to_owned(),
                kind: "a database name",
                rule: "use 1 to 63 characters of a-z, 0-9 and _, beginning with a letter, as in `auth_db`",
            })
        }
    }
}

impl FromStr for SecretPattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let valid = (1..=256).contains(&text.len())
            && !name.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control());
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName {
                text: text.to_owned(),
                kind: "a name of secrets",
                rule: "use 1 to 256 bytes without spaces, with a `*` only at the end, as in `connection/*`",
            })
        }
    }
}

/// What every name can: be text, be made from text.
macro_rules! name {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

name!(Topic, DatabaseName, SecretPattern);

impl Serialize for SecretPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_name_has_its_rule() {
        for good in ["user.registered", "a", "user.login_failed", "x-1.y"] {
            assert!(good.parse::<Topic>().is_ok(), "{good}");
        }
        for bad in ["", "User.registered", ".a", "a.", "a b", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
        for good in ["auth_db", "a1", &"a".repeat(63)] {
            assert!(good.parse::<DatabaseName>().is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", "auth-db", "A", "a\"; drop", &"a".repeat(64)] {
            assert!(bad.parse::<DatabaseName>().is_err(), "{bad}");
        }
        for bad in ["", "a*b", "a b", "a\nb", "**", &"a".repeat(257)] {
            assert!(bad.parse::<SecretPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_of_secrets_match_and_cover() {
        let pattern = |text: &str| text.parse::<SecretPattern>().unwrap();
        assert!(pattern("connection/*").matches("connection/app1"));
        assert!(!pattern("connection/*").matches("connections"));
        assert!(pattern("*").matches("anything"));
        for (outer, inner, covers) in [
            ("connection/*", "connection/*", true),
            ("connection/*", "connection/a/*", true),
            ("connection/*", "connection/a", true),
            ("connection/a", "connection/*", false),
            ("connection/a/*", "connection/*", false),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(pattern(outer).covers(&pattern(inner)), covers, "{outer} {inner}");
        }
    }
}
