//! What must not reach a log: values of fields that are named after secrets, and credentials that
//! ended up in a text.

use std::borrow::Cow;

use serde_json::Value;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Words that make a field's value a secret, wherever they are in its name.
const WORDS: [&str; 15] = [
    "authorization",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "pwd",
    "secret",
    "secrets",
    "token",
    "tokens",
];
/// Names of several words that do, without what is between the words.
const NAMES: [&str; 4] = ["apikey", "privatekey", "signingkey", "setcookie"];

/// Whether a field of this name holds a secret: `set-cookie`, `accessToken`, `DB_PASSWORD`,
/// `x-api-key`. Numbers and truth values are never hidden, so that `max_tokens` can be counted.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let mut joined = String::with_capacity(name.len());
    let mut word = String::new();
    let mut lower_before = false;
    for c in name.chars() {
        let boundary = !c.is_ascii_alphanumeric() || (lower_before && c.is_ascii_uppercase());
        if boundary {
            if WORDS.contains(&word.as_str()) {
                return true;
            }
            word.clear();
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
            joined.push(c.to_ascii_lowercase());
        }
    }
    WORDS.contains(&word.as_str()) || NAMES.iter().any(|name| joined.contains(name))
}

/// The text without credentials: what follows `Bearer ` and `Basic `, and what looks like a JWT.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    // Nearly every text ends here.
    if !text.contains("earer ") && !text.contains("asic ") && !text.contains("eyJ") {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut hide_next = false;
    let mut hidden = false;
    for piece in text.split_inclusive([' ', '"', ',', '=', '\n']) {
        let word = piece.trim_end_matches([' ', '"', ',', '=', '\n']);
        let jwt = word.starts_with("eyJ") && word.bytes().filter(|b| *b == b'.').count() >= 2;
        let padding = hidden && word.is_empty();
        hidden = !word.is_empty() && (hide_next || jwt);
        if hidden {
            clean.push_str(REDACTED);
        } else {
            clean.push_str(word);
        }
        // Base64 may end in `=`, which belongs to what is hidden.
        let rest = &piece[word.len()..];
        clean.push_str(if hidden || padding { rest.trim_start_matches('=') } else { rest });
        hidden |= padding;
        let scheme = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        hide_next = scheme && piece.ends_with(' ');
    }
    Cow::Owned(clean)
}

/// Hides the secrets in a JSON value, at any depth.
pub fn value(name: &str, value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(content) => {
            if is_secret(name) {
                REDACTED.clone_into(content);
            } else if let Cow::Owned(clean) = text(content) {
                *content = clean;
            }
        }
        Value::Array(_) | Value::Object(_) if is_secret(name) => {
            *value = Value::String(REDACTED.to_owned());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| self::value(name, item)),
        Value::Object(members) => {
            for (name, member) in members {
                self::value(name, member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_secrets_are_known_in_every_spelling() {
        for secret in [
            "authorization",
            "Proxy-Authorization",
            "cookie",
            "set-cookie",
            "password",
            "newPassword",
            "DB_PASSWORD",
            "token",
            "access_token",
            "refreshToken",
            "client.secret",
            "x-api-key",
            "apiKey",
            "private_key",
            "id_tokens",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in ["key", "author", "tokenizer", "secretary", "status", "passed", "", "ä"] {
            assert!(!is_secret(plain), "{plain}");
        }
    }

    #[test]
    fn credentials_in_texts_are_cut_out() {
        for (dirty, clean) in [
            ("nothing here", "nothing here"),
            ("a bearer of news", "a bearer [redacted] news"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
            ("got \"Basic dXNlcg==\" today", "got \"Basic [redacted]\" today"),
            ("jwt=eyJhbGciOi.eyJzdWIi.sig, next", "jwt=[redacted], next"),
            ("eyJust a word", "eyJust a word"),
            ("basic ", "basic "),
        ] {
            assert_eq!(text(dirty), clean, "{dirty}");
        }
    }

    #[test]
    fn values_are_cleaned_at_any_depth() {
        let mut dirty = json!({
            "headers": { "Authorization": "x", "accept": "y" },
            "list": [{ "token": ["a"] }, "Bearer z"],
            "max_tokens": 5,
        });
        value("request", &mut dirty);
        let clean = json!({
            "headers": { "Authorization": REDACTED, "accept": "y" },
            "list": [{ "token": REDACTED }, "Bearer [redacted]"],
            "max_tokens": 5,
        });
        assert_eq!(dirty, clean);
    }
}
