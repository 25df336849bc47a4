//! A root as a JSON web key (RFC 7517, 7518 and 8037).

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value};
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_SIG_ED25519, public_key::PublicKey,
};

use crate::svid;

/// The key's members where its kind is known, and always `use` and `x5c`, which are what an
/// X.509-SVID validator reads.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Value {
    let mut key = Map::new();
    key.insert("use".to_owned(), "x509-svid".into());
    if let Ok(parsed) = svid::parse(certificate) {
        for (name, value) in parameters(&parsed) {
            key.insert(name.to_owned(), value.into());
        }
    }
    key.insert("x5c".to_owned(), vec![STANDARD.encode(certificate)].into());
    Value::Object(key)
}

fn parameters(certificate: &X509Certificate<'_>) -> Vec<(&'static str, String)> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = certificate.public_key();
    if public.algorithm.algorithm == OID_SIG_ED25519 {
        let x = text(&public.subject_public_key.data);
        return vec![("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", x)];
    }
    match public.parsed() {
        Ok(PublicKey::EC(point)) => {
            // An uncompressed point is 4, x and y (SEC 1, section 2.3.3).
            let Some((4, coordinates)) = point.data().split_first() else { return Vec::new() };
            let curve = match coordinates.len() {
                64 => "P-256",
                96 => "P-384",
                132 => "P-521",
                _ => return Vec::new(),
            };
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            vec![
                ("kty", "EC".to_owned()),
                ("crv", curve.to_owned()),
                ("x", text(x)),
                ("y", text(y)),
            ]
        }
        Ok(PublicKey::RSA(key)) => {
            let number = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                text(&bytes[zeros..])
            };
            vec![("kty", "RSA".to_owned()), ("n", number(key.modulus)), ("e", number(key.exponent))]
        }
        _ => Vec::new(),
    }
}
