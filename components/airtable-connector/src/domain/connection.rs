//! Connections: a tenant's ways to its bases.

use sdk::{Row, Schema, Timestamp, Uuid};
use serde::{Deserialize, Deserializer, Serialize};

use super::operation::is_base;

/// A tenant's way to one base. The token is in the vault and never shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema, Row)]
pub(crate) struct Connection {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its name.
    #[schema(example = "Sales")]
    pub(crate) name: String,
    /// The base.
    #[schema(example = "appAbCdEfGhIjKlMn")]
    pub(crate) base_id: String,
    /// The base's name at Airtable when it was connected.
    pub(crate) base_name: String,
    /// What the token may do with the base, in Airtable's words.
    #[schema(example = "create")]
    pub(crate) permission_level: String,
    /// The workspace that the base is in.
    pub(crate) workspace_id: Option<String>,
    /// Who connected it.
    pub(crate) created_by: Option<String>,
    /// Whether Airtable has refused the token; it takes a new one then.
    pub(crate) refused: bool,
    /// Counts its changes.
    pub(crate) version: i64,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it was changed last.
    pub(crate) updated_at: Timestamp,
}

/// What a connection is made with.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConnection {
    /// Its name.
    #[schema(not_blank, max_length = 200, example = "Sales")]
    pub(crate) name: String,
    /// The base.
    #[schema(check = base, example = "appAbCdEfGhIjKlMn")]
    pub(crate) base_id: String,
    /// A personal access token of Airtable's with the scopes that are to be used, and at least
    /// `schema.bases:read`.
    #[schema(min_length = 1, max_length = 500, check = token, example = "patAbCdEfGhIjKlMn.0123")]
    pub(crate) token: String,
    /// The workspace that the base is to be in; the tenant itself if absent.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) workspace_id: Option<String>,
}

/// What is changed of a connection; what is absent stays.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionChange {
    /// A new name.
    #[schema(not_blank, max_length = 200)]
    pub(crate) name: Option<String>,
    /// A new token for the same base.
    #[schema(min_length = 1, max_length = 500, check = token)]
    pub(crate) token: Option<String>,
    /// Another workspace; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(max_length = 200)]
    pub(crate) workspace_id: Option<Option<String>>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

fn base(id: &str) -> Result<(), &'static str> {
    if is_base(id) { Ok(()) } else { Err("must be the id of a base: app and 14 characters") }
}

/// It becomes part of a header field.
fn token(token: &str) -> Result<(), &'static str> {
    let good = token.bytes().all(|c| c.is_ascii_graphic());
    if good { Ok(()) } else { Err("must be a token as Airtable shows it") }
}

/// A user's id in the form of Airtable's, for clients that check it.
pub(crate) fn airtable_user(digest: &[u8]) -> String {
    const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = String::from("usr");
    id.extend(digest.iter().take(14).map(|byte| char::from(BASE62[usize::from(*byte) % 62])));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_absent() {
        let read = |text: &str| serde_json::from_str::<ConnectionChange>(text).unwrap();
        assert_eq!(read("{}").workspace_id, None);
        assert_eq!(read(r#"{"workspace_id":null}"#).workspace_id, Some(None));
        assert_eq!(read(r#"{"workspace_id":"w"}"#).workspace_id, Some(Some("w".to_owned())));
    }

    #[test]
    fn ids_look_like_airtables() {
        let id = airtable_user(&[255; 32]);
        assert_eq!(id.len(), 17);
        assert!(id.starts_with("usr") && id.bytes().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(id, airtable_user(&[1; 32]));
    }
}
