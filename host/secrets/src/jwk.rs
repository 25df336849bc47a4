//! Public keys as JWK (RFC 7517), with the thumbprint (RFC 7638) as `kid`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde_json::json;

/// An Ed25519 key (RFC 8037).
pub(crate) fn ed25519(key: &[u8]) -> String {
    let x = encode(key);
    let kid = thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
    json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig", "kid": kid })
        .to_string()
}

/// A point of P-256, uncompressed (65 bytes).
pub(crate) fn p256(point: &[u8]) -> String {
    let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
    let kid = thumbprint(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
    json!({
        "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": kid
    })
    .to_string()
}

/// An RSA key.
pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> String {
    let (n, e) = (encode(modulus), encode(exponent));
    let kid = thumbprint(&format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#));
    json!({ "kty": "RSA", "n": n, "e": e, "alg": "RS256", "use": "sig", "kid": kid }).to_string()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn thumbprint(required_members: &str) -> String {
    encode(digest::digest(&digest::SHA256, required_members.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_those_of_the_rfcs() {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let kid = |jwk: String| {
            let jwk: serde_json::Value = serde_json::from_str(&jwk).unwrap();
            jwk["kid"].as_str().unwrap().to_owned()
        };
        // RFC 8037, appendix A.3.
        let key = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(kid(ed25519(&key)), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // RFC 7638, section 3.1.
        let modulus = decode(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        );
        let jwk = rsa(&modulus, &decode("AQAB"));
        assert_eq!(kid(jwk), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}
