//! Keys that are written into a policy.

use serde_json::Value;

/// What is wrong with a JWK set (RFC 7517), if something is. The sentence never has key material
/// in it.
pub(super) fn problem(text: &str) -> Option<String> {
    let Ok(set) = serde_json::from_str::<Value>(text) else {
        return Some("`jwks` is not JSON".to_owned());
    };
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        return Some("`jwks` is not a JWK set: `{\"keys\": [...]}`".to_owned());
    };
    if keys.is_empty() {
        return Some("`jwks` has no keys".to_owned());
    }
    keys.iter().enumerate().find_map(|(position, key)| {
        key_problem(key).map(|problem| format!("key {position} of `jwks` {problem}"))
    })
}

fn key_problem(key: &Value) -> Option<String> {
    let needed: &[&str] = match key.get("kty").and_then(Value::as_str) {
        Some("RSA") => &["n", "e"],
        Some("EC") => &["crv", "x", "y"],
        Some("OKP") => &["crv", "x"],
        Some("oct") => {
            return Some(
                "is a shared secret: whoever can verify could sign; use a public key".into(),
            );
        }
        Some(other) => return Some(format!("has a `kty` that is not known: `{other}`")),
        None => return Some("has no `kty`".to_owned()),
    };
    // RFC 7518, sections 6.2.2 and 6.3.2.
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth"];
    if private.into_iter().any(|member| key.get(member).is_some()) {
        return Some(
            "is a private key: leave out all but the public members, and replace it".into(),
        );
    }
    let missing = needed.iter().find(|member| key.get(member).and_then(Value::as_str).is_none())?;
    Some(format!("has no `{missing}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sets_are_checked() {
        for (text, expect) in [
            (r#"{"keys":[{"kty":"RSA","n":"x","e":"AQAB"}]}"#, None),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"x","y":"y"}]}"#, None),
            (r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"x"}]}"#, None),
            ("{", Some("not JSON")),
            ("[]", Some("not a JWK set")),
            (r#"{"keys":[]}"#, Some("no keys")),
            (r#"{"keys":[{"kty":"RSA","n":"x"}]}"#, Some("key 0 of `jwks` has no `e`")),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"x"}]}"#, Some("has no `y`")),
            (r#"{"keys":[{"kty":"oct","k":"secret"}]}"#, Some("shared secret")),
            (r#"{"keys":[{"kty":"RSA","n":"x","e":"e","d":"secret"}]}"#, Some("private key")),
            (r#"{"keys":[{"kty":"x"}]}"#, Some("not known: `x`")),
            (r#"{"keys":[{}]}"#, Some("has no `kty`")),
        ] {
            let found = problem(text);
            match expect {
                None => assert_eq!(found, None, "{text}"),
                Some(part) => {
                    let found = found.unwrap();
                    assert!(found.contains(part) && !found.contains("secret\""), "{found}");
                }
            }
        }
    }
}
