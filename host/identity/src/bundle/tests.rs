use proptest::prelude::*;
use x509_parser::prelude::FromDer;

use super::*;
use crate::testing::{TestAuthority, domain, id, leaf};

fn two() -> (TestAuthority, TestAuthority, TrustBundle) {
    let (a, b) = (TestAuthority::new(), TestAuthority::new());
    let roots = [a.certificate.clone(), b.certificate.clone(), a.certificate.clone()];
    let bundle = TrustBundle::new(domain(), roots, 7).unwrap();
    (a, b, bundle)
}

#[test]
fn a_bundle_comes_back_from_its_texts() {
    let (a, b, bundle) = two();
    assert_eq!(bundle.roots().len(), 2);
    assert!(bundle.contains(Fingerprint::of(&a.certificate)));
    assert!(!bundle.contains(Fingerprint::of(&TestAuthority::new().certificate)));
    let json = TrustBundle::from_json(domain(), &bundle.to_json()).unwrap();
    assert_eq!((json.clone(), json.sequence()), (bundle.clone(), 7));
    let pem = TrustBundle::from_pem(domain(), bundle.to_pem().as_bytes(), 1).unwrap();
    assert_eq!(pem, bundle);
    assert_ne!(a.bundle(), b.bundle());
}

#[test]
fn the_json_is_a_spiffe_bundle() {
    let (.., bundle) = two();
    let set: Value = serde_json::from_str(&bundle.to_json()).unwrap();
    assert_eq!(set["spiffe_sequence"], 7);
    assert_eq!(set["spiffe_refresh_hint"], 300);
    for (key, root) in set["keys"].as_array().unwrap().iter().zip(bundle.roots()) {
        assert_eq!(
            (&key["use"], &key["kty"], &key["crv"]),
            (&json!("x509-svid"), &json!("EC"), &json!("P-256"))
        );
        assert_eq!(key["x5c"], json!([STANDARD.encode(root.certificate())]));
        assert_eq!(key.get("kid"), None);
        let (_, parsed) = X509Certificate::from_der(root.certificate()).unwrap();
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let (x, y) = (key["x"].as_str().unwrap(), key["y"].as_str().unwrap());
        let point = [vec![4], url.decode(x).unwrap(), url.decode(y).unwrap()].concat();
        assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), point);
    }
}

#[test]
fn only_authorities_are_roots() {
    let authority = TestAuthority::new();
    let service = authority.sign(&leaf(id("a").as_str()));
    let refused =
        |roots: Vec<CertificateDer<'static>>| TrustBundle::new(domain(), roots, 0).unwrap_err();
    assert_eq!(refused(service.chain.clone()), BundleError::NotAnAuthority);
    assert_eq!(refused(vec![vec![1, 2, 3].into()]), BundleError::Certificate(SvidError::Malformed));
    assert_eq!(refused(Vec::new()), BundleError::Size);
    assert_eq!(
        refused((0..=MAX_ROOTS).map(|_| TestAuthority::new().certificate).collect()),
        BundleError::Size
    );
    let pem = |text: &str| TrustBundle::from_pem(domain(), text.as_bytes(), 0).unwrap_err();
    assert_eq!(pem(""), BundleError::Format("PEM"));
    assert_eq!(pem(&" ".repeat(MAX_TEXT + 1)), BundleError::Size);
}

#[test]
fn other_uses_are_passed_over_and_other_forms_refused() {
    let root = STANDARD.encode(&TestAuthority::new().certificate);
    let read = |keys: Value| TrustBundle::from_json(domain(), &json!({ "keys": keys }).to_string());
    let good = json!({ "use": "x509-svid", "x5c": [root] });
    let jwt = json!({ "use": "jwt-svid", "kid": "a" });
    assert_eq!(read(json!([good, jwt])).unwrap().roots().len(), 1);
    assert_eq!(read(json!([good])).unwrap().sequence(), 0);
    let format = BundleError::Format("a SPIFFE bundle");
    for (keys, error) in [
        (json!([jwt]), BundleError::Size),
        (json!([]), BundleError::Size),
        (json!("x"), format.clone()),
        (json!([{ "use": "x509-svid" }]), format.clone()),
        (json!([{ "use": "x509-svid", "x5c": [] }]), format.clone()),
        (json!([{ "use": "x509-svid", "x5c": [root, root] }]), format.clone()),
        (json!([{ "use": "x509-svid", "x5c": [1] }]), format.clone()),
        (json!([{ "use": "x509-svid", "x5c": ["%"] }]), format.clone()),
    ] {
        assert_eq!(read(keys.clone()).unwrap_err(), error, "{keys}");
    }
    assert_eq!(TrustBundle::from_json(domain(), "[").unwrap_err(), format);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in ".{0,200}") {
        prop_assert!(TrustBundle::from_json(domain(), &text).is_err());
        prop_assert!(TrustBundle::from_pem(domain(), text.as_bytes(), 0).is_err());
    }

    #[test]
    fn fingerprints_come_back_from_their_texts(bytes in any::<[u8; 32]>()) {
        let text = hex::encode(bytes);
        prop_assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
    }
}
