//! Claims of a verified token.

use serde_json::Value;

/// What policies look at of a token that was verified. Nothing here verifies one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// `iss`; empty when absent.
    pub issuer: String,
    /// `sub`; empty when absent.
    pub subject: String,
    /// `aud`, which is one string or several.
    pub audiences: Vec<String>,
    /// `azp`.
    pub presenter: Option<String>,
    /// All of them, an object.
    pub json: Value,
}

impl Claims {
    /// Takes the named ones out of a token's payload.
    #[must_use]
    pub fn new(json: Value) -> Self {
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        let audiences = match json.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => {
                several.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Self {
            issuer: text("iss").unwrap_or_default(),
            subject: text("sub").unwrap_or_default(),
            audiences,
            presenter: text("azp"),
            json,
        }
    }

    /// Whether the claim at this path is, or has in its list, a string that passes the test.
    /// `scope` and `permission` are lists written with spaces (Istio: `spaceDelimitedClaims`).
    pub(crate) fn any(&self, path: &[Box<str>], test: impl Fn(&str) -> bool) -> bool {
        let mut value = &self.json;
        for name in path {
            let Some(inner) = value.get(name.as_ref()) else { return false };
            value = inner;
        }
        match value {
            Value::String(text) => match path {
                [name] if matches!(name.as_ref(), "scope" | "permission") => {
                    text.split_ascii_whitespace().any(test)
                }
                _ => test(text),
            },
            Value::Array(list) => list.iter().filter_map(Value::as_str).any(test),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(claims: &Claims, path: &[&str], text: &str) -> bool {
        let path: Vec<Box<str>> = path.iter().map(|&name| name.into()).collect();
        claims.any(&path, |value| value == text)
    }

    #[test]
    fn the_registered_claims_are_taken_out() {
        let claims = Claims::new(serde_json::json!({
            "iss": "https://i", "sub": "s", "aud": ["a", 1, "b"], "azp": "p", "n": 1
        }));
        assert_eq!((claims.issuer.as_str(), claims.subject.as_str()), ("https://i", "s"));
        assert_eq!(claims.audiences, ["a", "b"]);
        assert_eq!(claims.presenter.as_deref(), Some("p"));
        assert_eq!(Claims::new(serde_json::json!({"aud": "a"})).audiences, ["a"]);
        assert_eq!(Claims::new(serde_json::json!(null)).issuer, "");
    }

    #[test]
    fn claims_are_strings_and_lists_of_strings_at_any_depth() {
        let claims = Claims::new(serde_json::json!({
            "role": "admin", "groups": ["a", "b c"], "scope": "read write", "a": {"b": ["x"]},
            "number": 7, "flag": true, "https://e/x": "y", "nested": {"scope": "r w"}
        }));
        for (path, text, expect) in [
            (&["role"][..], "admin", true),
            (&["role"], "adm", false),
            (&["groups"], "b c", true),
            (&["groups"], "b", false),
            (&["scope"], "write", true),
            (&["scope"], "read write", false),
            (&["nested", "scope"], "r w", true),
            (&["a", "b"], "x", true),
            (&["a"], "b", false),
            (&["a", "b", "c"], "x", false),
            (&["number"], "7", false),
            (&["flag"], "true", false),
            (&["https://e/x"], "y", true),
            (&["none"], "", false),
        ] {
            assert_eq!(has(&claims, path, text), expect, "{path:?} {text}");
        }
    }
}
