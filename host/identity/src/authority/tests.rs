use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DistinguishedName, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use x509_parser::{extensions::ParsedExtension, prelude::FromDer};

use super::*;
use crate::{
    svid::{Svid, SvidRequest, parse, peer_id, validity},
    testing::{START, Wall, domain, id},
    tls::Identities,
};

const DAY_LONG: Duration = Duration::from_secs(DAY as u64);

struct Fixture {
    folder: TempDir,
    wall: Wall,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), wall: Wall::new() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    fn open(&self) -> Authority {
        self.try_open(None).unwrap()
    }

    fn try_open(&self, key: Option<u8>) -> Result<Authority, AuthorityError> {
        let key = key.map(|byte| AtRestKey::from_bytes(&[byte; 32]));
        Authority::open(self.folder.path(), Config::new(domain()), key, self.wall.clock())
    }

    fn trusts(&self, bundle: &TrustBundle, chain: &[CertificateDer<'_>]) -> bool {
        Identities::new(bundle.clone(), Vec::new(), self.wall.clock()).still_trusted(chain)
    }
}

fn sign(authority: &Authority, service: &str) -> Svid {
    let request = SvidRequest::new(id(service)).unwrap();
    request.complete(authority.sign(request.csr(), &id(service), DAY_LONG).unwrap()).unwrap()
}

fn root(authority: &Authority) -> String {
    let roots = authority.status().roots;
    assert_eq!(roots.len(), 1);
    roots[0].fingerprint.clone()
}

#[test]
fn a_leaf_is_an_svid_by_every_rule() {
    let fixture = Fixture::new();
    let authority = fixture.open();
    let svid = sign(&authority, "a");
    assert!(fixture.trusts(&authority.bundle().unwrap(), svid.chain()));
    assert_eq!(svid.chain().len(), 2);
    assert_eq!(svid.validity(), Validity { not_before: START - 60, not_after: START + DAY });
    let leaf = parse(&svid.chain()[0]).unwrap();
    let mut seen = Vec::new();
    for extension in leaf.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                assert!(extension.critical && names.general_names.len() == 1);
                seen.push("names");
            }
            ParsedExtension::KeyUsage(usage) => {
                assert!(extension.critical && usage.flags == 1, "digitalSignature alone");
                seen.push("usage");
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.server_auth && usage.client_auth && !usage.any);
                seen.push("extended");
            }
            ParsedExtension::BasicConstraints(constraints) => {
                assert!(extension.critical && !constraints.ca);
                seen.push("constraints");
            }
            ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_) => {}
            other => panic!("{other:?}"),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["constraints", "extended", "names", "usage"]);
    assert_eq!(leaf.subject().iter().count(), 0);
    let serials = (0..50).map(|_| sign(&authority, "a").serial().to_owned());
    let serials = serials.collect::<HashSet<_>>();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().map(String::len).max().unwrap() == 32, "128 bits");
}

#[test]
fn the_authorities_certificates_can_sign_and_never_be_somebody() {
    let authority = Fixture::new().open();
    let chain = sign(&authority, "a").chain().to_vec();
    let bundle = authority.bundle().unwrap();
    for (certificate, path, life) in
        [(&chain[1], Some(0), 365 * DAY), (bundle.roots()[0].certificate(), None, 3652 * DAY)]
    {
        let parsed = parse(certificate).unwrap();
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, path);
        assert_eq!(
            validity(&parsed),
            Validity { not_before: START - HOUR, not_after: START + life }
        );
        assert!(peer_id(std::slice::from_ref(certificate)).is_err());
    }
}

#[test]
fn the_same_authority_is_there_after_a_restart() {
    for key in [None, Some(1)] {
        let fixture = Fixture::new();
        let first = fixture.try_open(key).unwrap();
        let svid = sign(&first, "a");
        let again = fixture.try_open(key).unwrap();
        assert_eq!(again.bundle().unwrap(), first.bundle().unwrap());
        assert_eq!(again.status(), first.status());
        assert!(fixture.trusts(&again.bundle().unwrap(), svid.chain()));
        assert_eq!(sign(&again, "a").chain()[1], svid.chain()[1], "the same intermediate");
        let mode = fs::metadata(fixture.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn keys_are_encrypted_if_there_is_a_key_and_from_then_on() {
    let fixture = Fixture::new();
    let visible = || {
        let file = fs::read(fixture.file()).unwrap();
        file.windows(11).any(|window| window == b"PRIVATE KEY")
    };
    let first = root(&fixture.open());
    assert!(visible());
    assert_eq!(root(&fixture.try_open(Some(1)).unwrap()), first);
    assert!(!visible());
    let error = |key| {
        let before = fs::read(fixture.file()).unwrap();
        let error = fixture.try_open(key).unwrap_err();
        assert_eq!(fs::read(fixture.file()).unwrap(), before, "it is left as it is");
        assert!(error.to_string().contains(&fixture.file().display().to_string()), "{error}");
        error
    };
    assert!(matches!(error(None), AuthorityError::File(FileError::KeyMissing { .. })));
    assert!(matches!(error(Some(2)), AuthorityError::File(FileError::WrongKey { .. })));
    assert_eq!(root(&fixture.try_open(Some(1)).unwrap()), first);
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_and_left_as_it_is() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let whole = fs::read_to_string(fixture.file()).unwrap();
    let other = Fixture::new();
    drop(other.open());
    let other = fs::read_to_string(other.file()).unwrap();
    let content = |file: &str| -> serde_json::Value {
        serde_json::from_str(file.split_once('\n').unwrap().1).unwrap()
    };
    // With the digest of what it says now: only what is in it is wrong.
    let sealed = |value: &serde_json::Value| {
        let body = serde_json::to_string(value).unwrap();
        let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, body.as_bytes()));
        format!("airhost-authority 1 plain {digest}\n{body}")
    };
    let mixed = |path: &[&str]| {
        let (mut mine, theirs) = (content(&whole), content(&other));
        let pointer = format!("/{}", path.join("/"));
        *mine.pointer_mut(&pointer).unwrap() = theirs.pointer(&pointer).unwrap().clone();
        sealed(&mine)
    };
    let without = |path: &str, value: serde_json::Value| {
        let mut mine = content(&whole);
        *mine.pointer_mut(path).unwrap() = value;
        sealed(&mine)
    };
    let both = |names: &[&str]| {
        let (mut mine, theirs) = (content(&whole), content(&other));
        for name in names {
            mine["intermediate"][name] = theirs["intermediate"][name].clone();
        }
        sealed(&mine)
    };
    let as_root = {
        let mut mine = content(&whole);
        for name in ["certificate", "key"] {
            mine["roots"][0][name] = mine["intermediate"][name].clone();
        }
        sealed(&mine)
    };
    let cases = [
        (String::new(), "it has no header"),
        (whole[..whole.len() / 2].to_owned(), "digest"),
        (whole.replacen("signs_from", "signs_Form", 1), "digest"),
        (whole.replacen("authority 1", "authority 2", 1), "header"),
        (sealed(&serde_json::json!({})), "not an authority"),
        (mixed(&["roots", "0", "key"]), "a root's key is not that of its certificate"),
        (mixed(&["roots", "0", "certificate"]), "a root's key is not that of its certificate"),
        (mixed(&["roots", "0"]), "the intermediate's root is missing"),
        (mixed(&["intermediate", "key"]), "the intermediate's key is not that"),
        (mixed(&["intermediate", "root"]), "the intermediate's root is missing"),
        (mixed(&["intermediate"]), "the intermediate's root is missing"),
        (both(&["certificate", "key"]), "the intermediate is not signed by its root"),
        (as_root, "a root is not signed by itself"),
        (without("/roots/0/key", "x".into()), "a root's key is not one"),
        (without("/roots/0/key", serde_json::Value::Null), "no root has a key"),
        (without("/roots", serde_json::json!([])), "the intermediate's root is missing"),
        (without("/intermediate/certificate", "x".into()), "a certificate is not PEM"),
    ];
    for (text, expected) in cases {
        fs::write(fixture.file(), &text).unwrap();
        let error = fixture.try_open(None).unwrap_err();
        assert!(matches!(error, AuthorityError::File(FileError::Damaged { .. })), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("restore it from a backup"), "{error}");
        assert_eq!(fs::read_to_string(fixture.file()).unwrap(), text);
    }
    fs::write(fixture.file(), &whole).unwrap();
    fixture.open();
    let config = Config::new("other.org".parse().unwrap());
    let error = Authority::open(fixture.folder.path(), config, None, fixture.wall.clock());
    let error = error.unwrap_err();
    assert!(matches!(error, AuthorityError::File(FileError::TrustDomain { .. })), "{error}");
}

/// A request for a key of P-384 whose signature is over SHA-256, as for P-256; by `openssl req`.
const P384_WITH_SHA256: &str = "MIH3MH8CAQAwADB2MBAGByqGSM49AgEGBSuBBAAiA2IABMIsBlB4cC2kOqS08t2I\
    sNRWd80WuwscOiUeir+QrSlXnFLdrWMlHIIkYjMzXVvJNRQvsUtBV7Ft/zhqXHZbhos7LzSPzJGPiw2w/qBBdjuYFuBo\
    /bEMqi7LhwbFycYKI6AAMAoGCCqGSM49BAMCA2gAMGUCMD4q+6MEi5M0RdxMqY7XwcgwRsUpFW/iu/1tSVXfKLxwOqEg\
    OlWtpb4FxsUK7sR0qwIxALDIsUZYxfTDct7NP1n2H1I6/t76oYy1jV/mVwpXdTsoEP+r+K0by70waiYAm6PY7g==";

fn request(change: impl FnOnce(&mut CertificateParams), key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn only_honest_requests_are_signed() {
    let authority = Fixture::new().open();
    let key = KeyPair::generate().unwrap();
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let good = request(|params| params.subject_alt_names = vec![uri(id("a").as_str())], &key);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let other = |algorithm| request(|_| {}, &KeyPair::generate_for(algorithm).unwrap());
    let name = "spiffe://cluster.local/ns/pyairtable/sa/b";
    for (what, csr, accepted) in [
        ("named", good.clone(), true),
        ("unnamed", request(|_| {}, &key), true),
        ("empty", Vec::new(), false),
        ("noise", vec![0x30; 200], false),
        ("cut", good[..good.len() - 1].to_vec(), false),
        ("signed by another key", forged, false),
        ("huge", [good, vec![0; 17 << 10]].concat(), false),
        (
            "named as another",
            request(|params| params.subject_alt_names = vec![uri(name)], &key),
            false,
        ),
        (
            "named twice",
            request(|p| p.subject_alt_names = vec![uri(id("a").as_str()), uri(name)], &key),
            false,
        ),
        (
            "with a DNS name",
            request(
                |p| p.subject_alt_names = vec![SanType::DnsName("a".try_into().unwrap())],
                &key,
            ),
            false,
        ),
        (
            "for an authority",
            request(|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained), &key),
            false,
        ),
        ("of P-384 under the name of P-256", STANDARD.decode(P384_WITH_SHA256).unwrap(), false),
        ("of P-384", other(&rcgen::PKCS_ECDSA_P384_SHA384), false),
        ("of Ed25519", other(&rcgen::PKCS_ED25519), false),
    ] {
        let signed = authority.sign(&csr.into(), &id("a"), DAY_LONG);
        match signed {
            Ok(chain) => {
                assert!(accepted, "{what}");
                assert_eq!(peer_id(&chain), Ok(id("a")), "{what}");
            }
            Err(error) => {
                assert!(!accepted && matches!(error, IssueError::Request(_)), "{what}: {error}")
            }
        }
    }
}

#[test]
fn identities_and_lives_have_bounds() {
    let authority = Fixture::new().open();
    let sign = |id: &str, ttl| {
        let csr = Key::generate().unwrap().request(&id.parse().unwrap()).unwrap();
        authority.sign(&csr, &id.parse().unwrap(), Duration::from_secs(ttl))
    };
    for (id, ttl, good) in [
        (id("a").as_str(), 60, true),
        (id("a").as_str(), 7 * 86_400, true),
        (id("a").as_str(), 59, false),
        (id("a").as_str(), 7 * 86_400 + 1, false),
        (id("a").as_str(), u64::MAX, false),
        ("spiffe://other.org/ns/pyairtable/sa/a", 3600, false),
        ("spiffe://cluster.local", 3600, false),
        ("spiffe://cluster.local/anything", 3600, true),
    ] {
        match sign(id, ttl) {
            Ok(_) => assert!(good, "{id} {ttl}"),
            Err(error) => assert!(!good && matches!(error, IssueError::Refused(_)), "{id} {ttl}"),
        }
    }
    for ttl in [0, 59, 8 * 86_400] {
        let config = Config { leaf_ttl: Duration::from_secs(ttl), ..Config::new(domain()) };
        let folder = tempfile::tempdir().unwrap();
        let opened = Authority::open(folder.path(), config, None, Wall::new().clock());
        assert!(matches!(opened, Err(AuthorityError::Ttl)));
    }
}

#[test]
fn the_intermediate_is_replaced_and_what_it_signed_stays_valid() {
    let fixture = Fixture::new();
    let authority = fixture.open();
    let first = sign(&authority, "a").chain()[1].clone();
    let week = |authority: &Authority| {
        let request = SvidRequest::new(id("a")).unwrap();
        request.complete(authority.sign(request.csr(), &id("a"), MAX_TTL).unwrap()).unwrap()
    };
    fixture.wall.advance(240 * DAY);
    let old = week(&authority);
    assert_eq!(old.chain()[1], first, "two thirds of its life are not over");
    fixture.wall.advance(4 * DAY);
    let new = week(&authority);
    assert_ne!(new.chain()[1], first);
    // An old leaf is not affected by the new intermediate, nor is the trust bundle.
    let bundle = authority.bundle().unwrap();
    assert_eq!(bundle.sequence(), 1);
    assert!(fixture.trusts(&bundle, old.chain()) && fixture.trusts(&bundle, new.chain()));
    assert_eq!(sign(&fixture.open(), "a").chain()[1], new.chain()[1], "it is on the disk");
    // However long nobody asked: the intermediate is replaced before a leaf is signed.
    fixture.wall.advance(400 * DAY);
    assert!(fixture.trusts(&bundle, sign(&authority, "a").chain()));
}

#[test]
fn a_new_root_is_trusted_first_then_signs_then_is_alone() {
    for restart in [false, true] {
        let fixture = Fixture::new();
        let mut authority = fixture.open();
        let restarted = |authority: Authority| if restart { fixture.open() } else { authority };
        let old_root = root(&authority);
        let new_root = authority.begin_root_rotation().unwrap();
        assert_eq!(authority.begin_root_rotation().unwrap(), new_root, "one at a time");
        let announced = authority.bundle().unwrap();
        assert_eq!((announced.roots().len(), announced.sequence()), (2, 2));
        let phases = |authority: &Authority| {
            let roots = authority.status().roots;
            roots.iter().map(|root| (root.phase, root.phase_ends)).collect::<Vec<_>>()
        };
        let switch = START + 8 * DAY;
        let expected = [(RootPhase::Signing, None), (RootPhase::Announced, Some(switch))];
        assert_eq!(phases(&authority), expected);

        fixture.wall.advance(8 * DAY - 1);
        authority = restarted(authority);
        assert!(!authority.maintain().unwrap());
        let last = {
            let request = SvidRequest::new(id("a")).unwrap();
            request.complete(authority.sign(request.csr(), &id("a"), MAX_TTL).unwrap()).unwrap()
        };
        fixture.wall.advance(1);
        authority = restarted(authority);
        let first = sign(&authority, "a");
        assert_ne!(first.chain()[1], last.chain()[1]);
        let end = switch + 7 * DAY;
        assert_eq!(
            phases(&authority),
            [(RootPhase::Retiring, Some(end)), (RootPhase::Signing, None)]
        );
        let file = fs::read_to_string(fixture.file()).unwrap();
        assert_eq!(
            file.matches("PRIVATE KEY-----\\n").count(),
            4,
            "the old root's key is destroyed"
        );
        // Both leaves are trusted by whoever has got the bundle when the new root was announced.
        assert!(
            fixture.trusts(&announced, last.chain()) && fixture.trusts(&announced, first.chain())
        );

        fixture.wall.advance(7 * DAY - 1);
        authority = restarted(authority);
        authority.maintain().unwrap();
        assert!(fixture.trusts(&authority.bundle().unwrap(), last.chain()), "to its last second");
        assert!(last.validity().contains(fixture.wall.now()));
        fixture.wall.advance(2);
        authority = restarted(authority);
        authority.maintain().unwrap();
        assert_eq!(root(&authority), new_root.to_string());
        assert_ne!(root(&authority), old_root);
        assert_eq!(authority.bundle().unwrap().sequence(), 3);
        assert!(!last.validity().contains(fixture.wall.now()), "nothing hung on it any more");
    }
}

#[test]
fn a_root_is_replaced_in_time_by_itself() {
    let fixture = Fixture::new();
    let authority = fixture.open();
    let mut last = sign(&authority, "a");
    let mut roots = HashSet::from([root(&authority)]);
    // Twenty years, a look every three days: there is always somebody who signs, and what was
    // signed at the last look is trusted by today's bundle.
    for _ in 0..20 * 365 / 3 {
        fixture.wall.advance(3 * DAY);
        authority.maintain().unwrap();
        let bundle = authority.bundle().unwrap();
        assert!(bundle.roots().len() <= 2);
        assert!(
            fixture.trusts(&bundle, last.chain()) || !last.validity().contains(fixture.wall.now())
        );
        roots.extend(authority.status().roots.into_iter().map(|root| root.fingerprint));
        let request = SvidRequest::new(id("a")).unwrap();
        last = request.complete(authority.sign(request.csr(), &id("a"), MAX_TTL).unwrap()).unwrap();
        assert!(fixture.trusts(&bundle, last.chain()));
    }
    assert_eq!(roots.len(), 3, "every eight years");
}

#[test]
fn what_cannot_be_written_has_not_happened() {
    let fixture = Fixture::new();
    let authority = fixture.open();
    let before = authority.status();
    let in_the_way = fixture.folder.path().join("authority.new");
    fs::create_dir(&in_the_way).unwrap();
    assert!(matches!(
        authority.begin_root_rotation(),
        Err(AuthorityError::File(FileError::Io { .. }))
    ));
    assert_eq!(authority.status(), before);
    assert_eq!(authority.bundle().unwrap().roots().len(), 1);
    // What is there still signs, also where the intermediate should have been replaced.
    fixture.wall.advance(300 * DAY);
    let chain = sign(&authority, "a").chain().to_vec();
    assert!(fixture.trusts(&authority.bundle().unwrap(), &chain));
    fixture.wall.advance(64 * DAY + DAY / 2);
    assert_eq!(sign(&authority, "a").validity().not_after, START + 365 * DAY);
    fixture.wall.advance(2 * DAY);
    let request = SvidRequest::new(id("a")).unwrap();
    let error = authority.sign(request.csr(), &id("a"), DAY_LONG).unwrap_err();
    assert!(matches!(error, IssueError::Unavailable(_)), "{error}");
    fs::remove_dir(in_the_way).unwrap();
    sign(&authority, "a");
}

#[test]
fn a_clock_before_the_authority_signs_nothing() {
    let fixture = Fixture::new();
    let authority = fixture.open();
    fixture.wall.advance(-DAY);
    let request = SvidRequest::new(id("a")).unwrap();
    let error = authority.sign(request.csr(), &id("a"), DAY_LONG).unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
    assert_eq!(authority.status().roots.len(), 1);
}

#[test]
fn a_chain_is_in_the_form_that_others_read() {
    let authority = Fixture::new().open();
    let svid = sign(&authority, "a");
    let bundle = authority.bundle().unwrap();
    let certificate = |der: &CertificateDer<'_>| {
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
        (parsed.subject().to_string(), parsed.issuer().to_string())
    };
    let (leaf, intermediate) = (certificate(&svid.chain()[0]), certificate(&svid.chain()[1]));
    let root = certificate(bundle.roots()[0].certificate());
    assert_eq!(leaf.1, intermediate.0);
    assert_eq!(intermediate.1, root.0);
    assert_eq!(root.0, root.1);
    assert!(root.0.contains("O=airhost") && root.0.contains("CN=root "), "{}", root.0);
}
