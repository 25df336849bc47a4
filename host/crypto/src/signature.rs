//! Verification of signatures with public keys given as JWK (RFC 7517, RFC 7518, RFC 8037).

use airhost_core::{Result, codes};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032); `EdDSA` in JOSE.
    Ed25519,
    /// ECDSA on P-256 with SHA-256; signatures are `r || s` of 64 bytes, as in JOSE.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2 048 to 8 192 bits.
    Rs256,
}

impl Algorithm {
    /// The name in JOSE's `alg`.
    #[must_use]
    pub fn jose(self) -> &'static str {
        match self {
            Self::Ed25519 => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A public key that was checked to fit its algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Key);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Ed25519([u8; 32]),
    /// The uncompressed point (SEC 1, section 2.3.3).
    P256([u8; 65]),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// The members of a JWK that matter here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    d: Option<serde::de::IgnoredAny>,
}

/// Longest JWK that is read: an RSA key of 8 192 bits with a certificate chain.
const MAX_JWK: usize = 64 << 10;

impl PublicKey {
    /// Reads a JWK for use with an algorithm. `signature.key` if it is for another key type, curve,
    /// algorithm or use, or holds a private key.
    pub fn from_jwk(algorithm: Algorithm, jwk: &str) -> Result<Self> {
        if jwk.len() > MAX_JWK {
            return Err(codes::SIGNATURE_KEY.error("the JWK is larger than 64 KiB"));
        }
        let jwk: Jwk = serde_json::from_str(jwk)
            .map_err(|_| codes::SIGNATURE_KEY.error("the key is not a JWK"))?;
        let fits = jwk.alg.as_deref().is_none_or(|alg| {
            alg == algorithm.jose() || (alg == "Ed25519" && algorithm == Algorithm::Ed25519)
        });
        let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !fits || !for_signatures {
            return Err(codes::SIGNATURE_KEY.error(format!(
                "the JWK's alg, use or key_ops do not allow verifying {}",
                algorithm.jose()
            )));
        }
        if jwk.d.is_some() {
            return Err(codes::SIGNATURE_KEY.error("the JWK holds a private key"));
        }
        let key = match (algorithm, jwk.kty.as_str(), jwk.crv.as_deref()) {
            (Algorithm::Ed25519, "OKP", Some("Ed25519")) => {
                Key::Ed25519(exact("x", jwk.x.as_deref())?)
            }
            (Algorithm::Es256, "EC", Some("P-256")) => {
                let (x, y): ([u8; 32], [u8; 32]) =
                    (exact("x", jwk.x.as_deref())?, exact("y", jwk.y.as_deref())?);
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&x);
                point[33..].copy_from_slice(&y);
                Key::P256(point)
            }
            (Algorithm::Rs256, "RSA", _) => {
                let (n, e) = (member("n", jwk.n.as_deref())?, member("e", jwk.e.as_deref())?);
                let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
                if !(256..=1024).contains(&n.len()) {
                    return Err(codes::SIGNATURE_KEY.error("an RSA key has 2048 to 8192 bits"));
                }
                Key::Rsa { n, e }
            }
            _ => {
                return Err(codes::SIGNATURE_KEY
                    .error(format!("the JWK's kty and crv do not fit {}", algorithm.jose())));
            }
        };
        Ok(Self(key))
    }

    /// The algorithm it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Key::Ed25519(_) => Algorithm::Ed25519,
            Key::P256(_) => Algorithm::Es256,
            Key::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Whether the signature is of this message by this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.0 {
            Key::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Key::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Key::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.is_ok()
    }
}

/// Verifies one signature; for many by one key, keep the [`PublicKey`].
pub fn verify(algorithm: Algorithm, jwk: &str, message: &[u8], signature: &[u8]) -> Result<bool> {
    Ok(PublicKey::from_jwk(algorithm, jwk)?.verify(message, signature))
}

fn member(name: &str, value: Option<&str>) -> Result<Vec<u8>> {
    value
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| {
            codes::SIGNATURE_KEY.error(format!("the JWK's `{name}` is missing or not base64url"))
        })
}

fn exact<const N: usize>(name: &str, value: Option<&str>) -> Result<[u8; N]> {
    member(name, value)?.try_into().map_err(|_| {
        codes::SIGNATURE_KEY.error(format!("the JWK's `{name}` does not have {N} bytes"))
    })
}

#[cfg(test)]
mod tests;
