use proptest::prelude::*;

use super::*;
use crate::testing::{LEAVES, START, Shown, TestAuthority, id, leaf};

#[test]
fn a_leaf_is_somebody_by_every_rule_or_nobody() {
    let authority = TestAuthority::new();
    for (name, change, refused) in LEAVES {
        let mut params = leaf("spiffe://cluster.local/ns/pyairtable/sa/a");
        change(&mut params);
        let shown = authority.sign(&params);
        match (peer_id(&shown.chain), refused) {
            (Ok(found), None) => assert_eq!(found, id("a"), "{name}"),
            (Err(error), Some(code)) => assert_eq!(error.code(), *code, "{name}: {error}"),
            (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
        }
        let svid = Svid::new(shown.chain.clone(), shown.key());
        assert_eq!(svid.is_ok(), refused.is_none(), "{name}");
    }
    assert_eq!(peer_id(&[]), Err(SvidError::Chain));
}

#[test]
fn an_svid_tells_what_its_leaf_says_and_never_its_key() {
    let shown = TestAuthority::new().sign(&leaf(id("a").as_str()));
    let svid = Svid::from_pem(shown.chain_pem().as_bytes(), shown.key_pem().as_bytes()).unwrap();
    assert_eq!(svid.id(), &id("a"));
    assert_eq!(svid.chain(), shown.chain);
    assert_eq!(svid.validity(), Validity { not_before: START - 60, not_after: START + 86_400 });
    assert!(svid.serial().len() >= 30, "{}", svid.serial());
    assert!(!format!("{svid:?}").to_lowercase().contains("key"));
}

#[test]
fn chain_and_key_belong_together() {
    let authority = TestAuthority::new();
    let (a, b) = (authority.sign(&leaf(id("a").as_str())), authority.sign(&leaf(id("a").as_str())));
    let error = |chain: &Shown, key: &Shown| {
        Svid::from_pem(chain.chain_pem().as_bytes(), key.key_pem().as_bytes()).unwrap_err()
    };
    assert_eq!(error(&a, &b), SvidError::Key);
    for (chain, key, expected) in [
        (String::new(), a.key_pem(), SvidError::Malformed),
        ("text".to_owned(), a.key_pem(), SvidError::Malformed),
        (a.chain_pem(), String::new(), SvidError::Key),
        (a.chain_pem(), a.chain_pem(), SvidError::Key),
        (a.key_pem(), a.key_pem(), SvidError::Malformed),
    ] {
        assert_eq!(Svid::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err(), expected);
    }
    let long = vec![a.chain[0].clone(); MAX_CHAIN + 1];
    assert_eq!(Svid::new(long, a.key()).unwrap_err(), SvidError::Chain);
}

#[test]
fn an_answer_has_to_be_for_the_key_and_the_id_that_were_asked_for() {
    let request = SvidRequest::new(id("a")).unwrap();
    let authority = TestAuthority::new();
    let foreign = authority.sign(&leaf(id("a").as_str())).chain;
    assert_eq!(request.complete(foreign).unwrap_err(), SvidError::Key);
    let other = authority.certify(&leaf(id("b").as_str()), request.key());
    let expected = SvidError::Unexpected { found: id("b"), expected: vec![id("a")] };
    assert_eq!(request.complete(vec![other]).unwrap_err(), expected);
    let own = authority.certify(&leaf(id("a").as_str()), request.key());
    assert_eq!(request.complete(vec![own]).unwrap().id(), &id("a"));
    assert_eq!(request.complete(Vec::new()).unwrap_err(), SvidError::Chain);
    assert!(!format!("{request:?}").contains(&format!("{:?}", request.key().pkcs8())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever bytes come, the answer is an id or an error.
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(peer_id(&[CertificateDer::from(bytes)]).is_err());
    }

    /// A changed byte never makes another identity out of a certificate without being a valid one
    /// of it: whatever is read is a SPIFFE id.
    #[test]
    fn a_changed_byte_is_an_error_or_still_an_id(at in 0usize..500, bit in 0u8..8) {
        let shown = TestAuthority::new().sign(&leaf(id("a").as_str()));
        let mut der = shown.chain[0].to_vec();
        let at = at % der.len();
        der[at] ^= 1 << bit;
        if let Ok(found) = peer_id(&[CertificateDer::from(der)]) {
            prop_assert_eq!(SpiffeId::parse(found.as_str()), Ok(found));
        }
    }
}
