use airhost_core::{Principal, Result, Tenant};
use serde_json::{Map, Value};

use super::invalid;

/// Claims that have a place of their own in a principal, or said their part in the verification.
const KNOWN: [&str; 13] = [
    "iss", "aud", "sub", "exp", "nbf", "iat", "sid", "tid", "tenant", "roles", "scope", "scopes",
    "scp",
];

/// The principal that verified claims describe.
pub(super) fn principal(mut claims: Map<String, Value>) -> Result<Principal> {
    let subject = text(&claims, "sub")?.ok_or_else(|| invalid("the token has no subject"))?;
    let issuer = text(&claims, "iss")?.ok_or_else(|| invalid("the token has no issuer"))?;
    // Where both are, they must agree: another reader might take the other one.
    let tenant = match (text(&claims, "tid")?, text(&claims, "tenant")?) {
        (Some(a), Some(b)) if a != b => return Err(invalid("the token names two tenants")),
        (Some(tenant), _) | (None, Some(tenant)) => Tenant::new(&tenant),
        (None, None) => return Err(invalid("the token names no tenant")),
    };
    let session = text(&claims, "sid")?;
    let expires_at = match claims.get("exp") {
        Some(Value::Number(number)) => number
            .as_u64()
            .or_else(|| number.as_f64().map(|seconds| seconds as u64))
            .ok_or_else(|| invalid("the token's `exp` is not a time"))?,
        _ => return Err(invalid("the token's `exp` is not a time")),
    };
    let roles = texts(claims.get("roles"), "roles")?;
    let mut scopes = texts(claims.get("scope"), "scope")?;
    for name in ["scopes", "scp"] {
        for scope in texts(claims.get(name), name)? {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
    }
    claims.retain(|name, _| !KNOWN.contains(&name.as_str()));
    let claims = claims.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    Ok(Principal { subject, issuer, tenant, roles, scopes, session, expires_at, claims })
}

/// A text that is not empty; null counts as absent.
fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(invalid(format!("the token's `{name}` is not a text"))),
    }
}

/// A list of texts, or one text of words (RFC 8693, section 4.2).
fn texts(value: Option<&Value>, name: &str) -> Result<Vec<String>> {
    let refuse = || invalid(format!("the token's `{name}` is not a list of texts"));
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(words)) => {
            Ok(words.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(refuse)).collect()
        }
        Some(_) => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use airhost_core::codes;
    use serde_json::json;

    use super::*;

    fn read(claims: Value) -> Result<Principal> {
        let Value::Object(claims) = claims else { panic!("an object") };
        principal(claims)
    }

    #[test]
    fn claims_become_a_principal() {
        let principal = read(json!({
            "iss": "i", "aud": "a", "sub": "u1", "exp": 100.7, "iat": 1, "sid": "s1",
            "tenant": "t1", "roles": ["admin", "editor"], "scope": "read  write",
            "scopes": ["write", "delete"], "email_verified": true, "act": {"sub": "x"},
        }))
        .unwrap();
        assert_eq!(principal.subject, "u1");
        assert_eq!(principal.tenant, Tenant::new("t1"));
        assert_eq!(principal.expires_at, 100);
        assert_eq!(principal.session.as_deref(), Some("s1"));
        assert_eq!(principal.roles, ["admin", "editor"]);
        assert_eq!(principal.scopes, ["read", "write", "delete"]);
        let claims = [("email_verified", "true"), ("act", r#"{"sub":"x"}"#)];
        assert_eq!(principal.claims, claims.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn claims_of_other_types_are_refused() {
        let good = json!({ "iss": "i", "sub": "u", "exp": 1, "tid": "t" });
        assert!(read(good.clone()).is_ok());
        for (name, value) in [
            ("sub", json!("")),
            ("sub", json!(7)),
            ("iss", json!(["i"])),
            ("tid", json!(null)),
            ("tid", json!("")),
            ("tid", json!(1)),
            ("tenant", json!("other")),
            ("exp", json!("1")),
            ("sid", json!(1)),
            ("roles", json!({ "admin": true })),
            ("roles", json!([1])),
            ("scope", json!(1)),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            let error = read(bad.clone()).unwrap_err();
            assert!(codes::PRINCIPAL_INVALID_TOKEN.is(&error), "{bad}");
        }
    }
}
