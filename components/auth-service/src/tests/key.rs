//! The public keys, and their rotation.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sdk::crypto::{SignatureAlgorithm, verify_signature};
use serde_json::{Value, json};

use super::{EMAIL, PASSWORD, host, login, signed_in};

fn keys(host: &sdk::testing::Host) -> Vec<Value> {
    let answer = host.anonymous().get("/.well-known/jwks.json").send().expect(200);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    answer.value()["keys"].as_array().unwrap().clone()
}

/// The `kid` of a token that one of the keys has signed.
fn signer(token: &str, keys: &[Value]) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    let header: Value = serde_json::from_slice(&decode(input.split('.').next().unwrap())).unwrap();
    assert_eq!(header["alg"], "ES256");
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("a published key");
    let signature = decode(signature);
    assert_eq!(signature.len(), 64);
    let es256 = SignatureAlgorithm::Es256;
    assert!(verify_signature(es256, &key.to_string(), input.as_bytes(), &signature).unwrap());
    header["kid"].as_str().unwrap().to_owned()
}

#[test]
fn tokens_are_signed_by_a_published_key() {
    let host = host();
    let published = keys(&host);
    assert_eq!(published.len(), 1);
    assert_eq!(published[0]["kty"], "EC");
    assert_eq!(published[0]["use"], "sig");
    assert!(published[0].get("d").is_none());
    let tokens = signed_in(&host, EMAIL);
    signer(tokens["token"].as_str().unwrap(), &published);
    let about = host.anonymous().get("/.well-known/openid-configuration").send().expect(200);
    let about = about.value();
    assert_eq!(about["issuer"], "https://pyairtable.local");
    assert_eq!(about["jwks_uri"], "http://127.0.0.1:8000/.well-known/jwks.json");
    assert_eq!(about["id_token_signing_alg_values_supported"], json!(["ES256"]));
}

#[test]
fn a_new_key_is_published_before_it_signs_and_the_old_one_stays_for_its_tokens() {
    let host = host();
    let old = signed_in(&host, EMAIL);
    let first = signer(old["token"].as_str().unwrap(), &keys(&host));
    host.tick("rotate-signing-keys").unwrap();
    assert_eq!(keys(&host).len(), 1, "not yet");

    host.advance(Duration::from_secs(89 * 86_400 + 60));
    host.tick("rotate-signing-keys").unwrap();
    host.tick("rotate-signing-keys").unwrap();
    let both = keys(&host);
    assert_eq!(both.len(), 2);
    let token = login(&host, EMAIL, PASSWORD).expect(200).value();
    assert_eq!(signer(token["token"].as_str().unwrap(), &both), first, "still the old one");

    host.advance(Duration::from_secs(86_400));
    let token = login(&host, EMAIL, PASSWORD).expect(200).value();
    let second = signer(token["token"].as_str().unwrap(), &keys(&host));
    assert_ne!(second, first);
    host.tick("rotate-signing-keys").unwrap();
    assert_eq!(keys(&host).len(), 2, "its last tokens live");
    host.advance(Duration::from_secs(3600));
    host.tick("rotate-signing-keys").unwrap();
    let left = keys(&host);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["kid"], second.as_str());
}
