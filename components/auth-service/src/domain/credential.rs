//! The tokens that users, clients and mails carry: how they are written, and which part of them
//! names the row that has the hash of the whole.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sdk::{Schema, Text, Uuid};
use serde::{Deserialize, Serialize};

/// Of refresh tokens.
pub(crate) const REFRESH: &str = "rt_";
/// Of tokens in mails.
pub(crate) const MAILED: &str = "ot_";

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token that begins with its row's id: refresh tokens, tokens in mails.
pub(crate) fn opaque(prefix: &str, id: Uuid, secret: &[u8; 32]) -> String {
    let bytes = [id.as_bytes().as_slice(), secret].concat();
    format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The row's id; none for what is no such token.
pub(crate) fn opaque_id(prefix: &str, token: &str) -> Option<Uuid> {
    let text = token.strip_prefix(prefix).filter(|text| text.len() == 64)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Uuid::from_bytes(*bytes.first_chunk()?))
}

/// What a long-lived token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenKind {
    /// For a person's own programs; written as Airtable writes its personal tokens.
    Personal,
    /// For a service or an integration.
    ApiKey,
}

/// A personal token: `pat`, 14 characters, a dot, 64 hexadecimal digits.
pub(crate) fn personal(name: [u8; 14], secret: &[u8; 32]) -> String {
    let mut token = String::with_capacity(82);
    token.push_str("pat");
    token.extend(name.iter().map(|n| char::from(BASE62[usize::from(*n) % 62])));
    token.push('.');
    token.push_str(&sdk::crypto::hex(secret));
    token
}

/// An API key: `pak_` and 43 URL-safe characters.
pub(crate) fn api_key(secret: &[u8; 32]) -> String {
    format!("pak_{}", BASE64_URL_SAFE_NO_PAD.encode(secret))
}

/// The part that a token is looked up by; none for what is no such token. What is left is 256
/// bits of a personal token, 160 of an API key.
pub(crate) fn prefix(token: &str) -> Option<&str> {
    if !token.is_ascii() {
        return None;
    }
    if let Some(key) = token.strip_prefix("pak_") {
        let url_safe = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        return (key.len() == 43 && key.bytes().all(url_safe)).then(|| &token[..20]);
    }
    let (name, secret) = token.strip_prefix("pat")?.split_once('.')?;
    let good = name.len() == 14
        && name.bytes().all(|c| c.is_ascii_alphanumeric())
        && secret.len() == 64
        && secret.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    good.then(|| &token[..17])
}

/// All that the user may do.
pub(crate) const EVERYTHING: &str = "*";

/// What a token can be limited to: Airtable's scopes, for the programs that exist, and all.
pub(crate) const SCOPES: &[&str] = &[
    EVERYTHING,
    "data.records:read",
    "data.records:write",
    "data.recordComments:read",
    "data.recordComments:write",
    "schema.bases:read",
    "schema.bases:write",
    "user.email:read",
    "webhook:manage",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_tokens_name_their_row() {
        let id: Uuid = "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap();
        let token = opaque(REFRESH, id, &[7; 32]);
        assert_eq!(token.len(), 67);
        assert_eq!(opaque_id(REFRESH, &token), Some(id));
        assert_eq!(opaque_id(MAILED, &token), None);
        for bad in ["", "rt_", "rt_é", &token[..66], &format!("{token}A")] {
            assert_eq!(opaque_id(REFRESH, bad), None, "{bad}");
        }
    }

    #[test]
    fn long_lived_tokens_are_found_by_their_beginning() {
        let token = personal([61; 14], &[0xab; 32]);
        assert_eq!(token, format!("patzzzzzzzzzzzzzz.{}", "ab".repeat(32)));
        assert_eq!(prefix(&token), Some("patzzzzzzzzzzzzzz"));
        let key = api_key(&[255; 32]);
        assert_eq!(key.len(), 47);
        assert_eq!(prefix(&key), Some(&key[..20]));
        let upper = token.to_uppercase();
        for bad in ["", "pat", "pak_", "pat.", &token[..81], &key[..46], &upper, "eyJ.eyJ.x"] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
    }
}
