//! Sets of public keys (JWKS, RFC 7517, section 5).

use std::collections::HashMap;

use airhost_crypto::signature::{Algorithm as KeyAlgorithm, PublicKey};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use serde_json::Value;

/// Largest set that is read, in bytes.
pub const MAX_SET: u64 = 256 << 10;
/// Most keys of a set.
const MAX_KEYS: usize = 100;

/// Public keys by their `kid`, each for one algorithm: Ed25519 (`EdDSA`), P-256 (`ES256`) or RSA
/// (`RS256`).
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: HashMap<String, Key>,
    /// The only key, for tokens without a `kid`.
    single: Option<Key>,
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
}

/// The text is not a set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is not JSON with an array `keys`.
    Format,
    /// It has more than 100 keys.
    TooMany,
}

impl std::fmt::Display for KeySetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Format => "a key set is a JSON object with an array `keys`",
            Self::TooMany => "a key set has at most 100 keys",
        })
    }
}

impl std::error::Error for KeySetError {}

impl KeySet {
    /// Reads a set. Keys of other types, uses and algorithms are passed over, as RFC 7517 wants
    /// it.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let set: Value = serde_json::from_slice(json).map_err(|_| KeySetError::Format)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Format)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let read: Vec<_> = keys.iter().filter_map(|jwk| Some((jwk, Key::read(jwk)?))).collect();
        let single = match &read[..] {
            [(_, key)] => Some(key.clone()),
            _ => None,
        };
        let named = read.into_iter().filter_map(|(jwk, key)| {
            let kid = jwk.get("kid").and_then(Value::as_str)?;
            Some((kid.to_owned(), key))
        });
        Ok(Self { keys: named.collect(), single })
    }

    /// Whether there is no key in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.single.is_none()
    }

    pub(crate) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match kid {
            Some(kid) => self.keys.get(kid),
            None => self.single.as_ref(),
        }
    }

    /// Whether a key of the other set is not in this one, or not the same.
    pub(crate) fn lacks_one_of(&self, other: &Self) -> bool {
        let same =
            |kid: &String, key: &Key| self.keys.get(kid).is_some_and(|mine| mine.same_as(key));
        let unnamed = other.single.as_ref().is_some_and(|key| {
            !self.keys.values().chain(&self.single).any(|mine| mine.same_as(key))
        });
        unnamed || !other.keys.iter().all(|(kid, key)| same(kid, key))
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        let (key_algorithm, algorithm) = match jwk.get("kty")?.as_str()? {
            "OKP" => (KeyAlgorithm::Ed25519, Algorithm::EdDSA),
            "EC" => (KeyAlgorithm::Es256, Algorithm::ES256),
            "RSA" => (KeyAlgorithm::Rs256, Algorithm::RS256),
            _ => return None,
        };
        // Checks curve, sizes, use and algorithm, which `jsonwebtoken` leaves to its caller.
        PublicKey::from_jwk(key_algorithm, &jwk.to_string()).ok()?;
        let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
        Some(Self { algorithm, decoding: DecodingKey::from_jwk(&jwk).ok()? })
    }

    fn same_as(&self, other: &Self) -> bool {
        use jsonwebtoken::DecodingKeyKind as Kind;
        self.algorithm == other.algorithm
            && match (self.decoding.kind(), other.decoding.kind()) {
                (Kind::SecretOrDer(a), Kind::SecretOrDer(b)) => a == b,
                (
                    Kind::RsaModulusExponent { n, e },
                    Kind::RsaModulusExponent { n: other_n, e: other_e },
                ) => n == other_n && e == other_e,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kid":"a","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn unknown_keys_are_passed_over() {
        let set = format!(
            r#"{{"keys":[{ED},{{"kty":"oct","kid":"m","k":"c2VjcmV0"}},{{"kty":"new"}},7,
            {{"kid":"e","kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        );
        let set = KeySet::parse(set.as_bytes()).unwrap();
        assert!(set.find(Some("a")).is_some() && set.find(None).is_some());
        for other in ["m", "e", "b"] {
            assert!(set.find(Some(other)).is_none(), "{other}");
        }
        let empty = KeySet::parse(br#"{"keys":[]}"#).unwrap();
        assert!(empty.is_empty());
        assert!(empty.lacks_one_of(&set) && !set.lacks_one_of(&empty) && !set.lacks_one_of(&set));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert_eq!(KeySet::parse(bad.as_bytes()).unwrap_err(), KeySetError::Format, "{bad}");
        }
        let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 101].join(","));
        assert_eq!(KeySet::parse(many.as_bytes()).unwrap_err(), KeySetError::TooMany);
    }
}
