use std::{fs, path::Path};

use airhost_core::Error;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    authority,
    svid::{Svid, SvidRequest, peer_id},
    testing::{
        DAY, HOUR, Shown, TestAuthority, Wall, domain, handshake_with_name, id, leaf, raw_server,
        word,
    },
    tls::{Identities, Protocols},
};

/// What is changed, and how.
type Change<'a, T> = (&'a str, &'a dyn Fn(&mut T));

/// A node runs what its entry says.
#[derive(Default)]
struct Runs(Mutex<Vec<(NodeName, ServiceName)>>);

impl Placement for Runs {
    fn may_issue(&self, node: &NodeName, service: &ServiceName) -> bool {
        self.0.lock().iter().any(|(n, s)| n == node && s == service)
    }
}

struct Fixture {
    folder: TempDir,
    wall: Wall,
    authority: Authority,
    registrar: Registrar,
}

impl Fixture {
    fn new() -> Self {
        let (folder, wall) = (tempfile::tempdir().unwrap(), Wall::new());
        let config = authority::Config::new(domain());
        let authority = Authority::open(folder.path(), config, None, wall.clock()).unwrap();
        let runs = Runs::default();
        for service in ["a", "b"] {
            runs.0.lock().push((node("node-2"), service.parse().unwrap()));
        }
        let registrar =
            Registrar::new(authority.clone(), open(folder.path(), &wall), Arc::new(runs));
        Self { folder, wall, authority, registrar }
    }

    fn invite(&self) -> JoinToken {
        self.registrar.invite(&node("node-2"), "10.0.0.1:8443", INVITATION_LIFE).unwrap()
    }

    fn joining(&self, services: &[&str]) -> Joining {
        joining(self.invite(), services)
    }

    /// The identities of the inviting node.
    fn inviting_node(&self) -> (Identities, SpiffeId) {
        let id = node("node-1").identity(&domain());
        let identities =
            Identities::new(self.authority.bundle().unwrap(), Vec::new(), self.wall.clock());
        let request = SvidRequest::new(id.clone()).unwrap();
        let chain = self.authority.sign(request.csr(), &id, self.authority.leaf_ttl()).unwrap();
        identities.install(request.complete(chain).unwrap()).unwrap();
        (identities, id)
    }
}

fn open(folder: &Path, wall: &Wall) -> Invitations {
    Invitations::open(folder, wall.clock()).unwrap()
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn joining(token: JoinToken, services: &[&str]) -> Joining {
    let services = services.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
    Joining::new(token, &services).unwrap()
}

/// A token with another value in it.
fn changed_token(text: &str, name: &str, value: serde_json::Value) -> JoinToken {
    let json = URL_SAFE_NO_PAD.decode(&text["airhost-join-".len()..]).unwrap();
    let mut content: serde_json::Value = serde_json::from_slice(&json).unwrap();
    content[name] = value;
    let json = URL_SAFE_NO_PAD.encode(content.to_string());
    JoinToken::parse(&format!("airhost-join-{json}")).unwrap()
}

fn code(error: &Error) -> &str {
    &error.code
}

#[tokio::test]
async fn a_node_joins_over_a_connection_that_it_can_trust() {
    let fixture = Fixture::new();
    let (identities, node_1) = fixture.inviting_node();
    let text = fixture.invite().to_text();
    // What an operator carries over.
    let token = JoinToken::parse(&format!(" {}\n", text.as_str())).unwrap();
    assert_eq!((token.node(), token.address()), (&node("node-2"), "10.0.0.1:8443"));
    let joining = joining(token, &["a", "b"]);
    let server = identities.join_server_config(&node_1, Protocols::H2AndHttp1).unwrap();
    let client = joining.client_config(&fixture.wall.clock(), Protocols::H2AndHttp1).unwrap();
    let name = joining.server_name().unwrap();
    assert_eq!(name.to_str(), "join.airhost-system.svc.cluster.local");
    let (server, client) = handshake_with_name(server, client, name).await;
    assert_eq!(server.unwrap().peer, None, "it has nothing to show yet");
    assert_eq!(peer_id(&client.unwrap().peer.unwrap()), Ok(node_1.clone()));

    // As it goes over the wire.
    let sent = serde_json::to_string(joining.request()).unwrap();
    let secret = String::from_utf8(text.as_bytes().to_vec()).unwrap();
    assert!(!sent.contains(&secret[20..60]));
    let reply = fixture.registrar.join(&serde_json::from_str(&sent).unwrap()).unwrap();
    let reply = serde_json::from_str(&serde_json::to_string(&reply).unwrap()).unwrap();
    let joined = joining.accept(&reply, &fixture.wall.clock()).unwrap();
    let ids = joined.services.iter().map(|svid| svid.id().clone()).collect::<Vec<_>>();
    assert_eq!(
        (joined.node.id(), ids),
        (&node("node-2").identity(&domain()), vec![id("a"), id("b")])
    );

    // Both nodes know each other from now on.
    let theirs = Identities::new(joined.bundle.clone(), Vec::new(), fixture.wall.clock());
    theirs.install(joined.node.clone()).unwrap();
    let server = identities
        .server_config(&node_1, crate::tls::ClientCertificate::Required, Protocols::H2)
        .unwrap();
    let client = theirs.client_config(joined.node.id(), &[node_1], Protocols::H2).unwrap();
    let (server, _) = crate::testing::handshake(server, client).await;
    assert_eq!(peer_id(&server.unwrap().peer.unwrap()).as_ref(), Ok(joined.node.id()));

    let file = CredentialsFile::new(fixture.folder.path(), None);
    joining.save(&joined, &file).unwrap();
    let kept = file.load(&domain()).unwrap().unwrap();
    assert_eq!(kept.node.chain(), joined.node.chain());
}

#[tokio::test]
async fn nothing_is_sent_to_who_cannot_show_the_root() {
    let fixture = Fixture::new();
    let joining = fixture.joining(&[]);
    let other = TestAuthority::new();
    let node_1 = node("node-1").identity(&domain());
    let root = fixture.authority.bundle().unwrap().roots()[0].certificate().clone();
    let good = other.sign(&leaf(node_1.as_str()));
    // Another authority, with its root; the same with our root beside it; ours, not shown.
    let with = |shown: &Shown, certificate| {
        let mut chain = shown.chain.clone();
        chain.push(certificate);
        raw_server(&shown.showing(chain))
    };
    let (identities, _) = fixture.inviting_node();
    let not_shown = identities
        .server_config(&node_1, crate::tls::ClientCertificate::Optional, Protocols::H2AndHttp1)
        .unwrap();
    for (server, what) in [
        (raw_server(&good), "another authority"),
        (with(&good, other.certificate.clone()), "another authority's root"),
        (with(&good, root), "our root beside another authority's certificate"),
        (not_shown, "our root not shown"),
    ] {
        let client = joining.client_config(&fixture.wall.clock(), Protocols::H2AndHttp1).unwrap();
        let name = joining.server_name().unwrap();
        let (_, client) = handshake_with_name(server, client, name).await;
        assert_eq!(word(&client.unwrap_err()), "UnknownIssuer", "{what}");
    }
}

#[tokio::test]
async fn nothing_is_sent_into_another_trust_domain() {
    let wall = Wall::new();
    let authority = TestAuthority::new();
    let roots = vec![authority.bundle().roots()[0].fingerprint()];
    let token = JoinToken::new(node("node-2"), domain(), roots, "a:1").unwrap();
    let joining = joining(token, &[]);
    for (server, refused) in [("cluster.local", None), ("other.org", Some("foreign_trust_domain"))]
    {
        let uri = format!("spiffe://{server}/ns/airhost-system/sa/node-1");
        let shown = authority.sign(&leaf(&uri));
        let mut chain = shown.chain.clone();
        chain.push(authority.certificate.clone());
        let client = joining.client_config(&wall.clock(), Protocols::H2AndHttp1).unwrap();
        let name = joining.server_name().unwrap();
        let server = raw_server(&shown.showing(chain));
        let (_, client) = handshake_with_name(server, client, name).await;
        assert_eq!(client.err().map(|error| word(&error)).as_deref(), refused);
    }
}

#[test]
fn an_invitation_is_good_once_for_one_node_and_for_a_time() {
    let fixture = Fixture::new();
    let registrar = &fixture.registrar;
    let refused = |joining: &Joining| registrar.join(joining.request()).unwrap_err();
    let first = fixture.joining(&["a"]);
    registrar.join(first.request()).unwrap();
    assert_eq!(code(&refused(&first)), "identity.join-refused");
    assert!(refused(&first).message.contains("used already"));

    let late = fixture.joining(&[]);
    fixture.wall.advance(HOUR);
    registrar.join(late.request()).unwrap();
    let later = fixture.joining(&[]);
    fixture.wall.advance(HOUR + 1);
    assert_eq!(code(&refused(&later)), "identity.join-expired");

    let withdrawn = fixture.joining(&[]);
    assert!(registrar.invitations().withdraw(&withdrawn.request().token).unwrap());
    assert!(!registrar.invitations().withdraw(&withdrawn.request().token).unwrap());
    assert_eq!(code(&refused(&withdrawn)), "identity.join-refused");
    assert_eq!(registrar.invitations().list(), []);

    for life in [0, 59, 7 * 86_400 + 1] {
        let life = Duration::from_secs(life);
        let error = registrar.invite(&node("node-2"), "a:1", life).unwrap_err();
        assert_eq!(code(&error), "identity.join-token");
    }
}

#[test]
fn invitations_outlive_a_restart_and_hold_no_secret() {
    let fixture = Fixture::new();
    let (used, open_one) = (fixture.joining(&[]), fixture.joining(&[]));
    fixture.registrar.join(used.request()).unwrap();
    let again = Registrar::new(
        fixture.authority.clone(),
        open(fixture.folder.path(), &fixture.wall),
        Arc::new(Runs::default()),
    );
    let list = again.invitations().list();
    assert_eq!(list, fixture.registrar.invitations().list());
    assert_eq!(list.iter().filter(|invitation| invitation.used).count(), 1);
    assert_eq!(code(&again.join(used.request()).unwrap_err()), "identity.join-refused");
    again.join(open_one.request()).unwrap();
    // Somebody who reads the file cannot sign a request: the public key is no seed of itself.
    let file = fs::read_to_string(fixture.folder.path().join("invitations")).unwrap();
    let entries: serde_json::Value =
        serde_json::from_str(file.split_once('\n').unwrap().1).unwrap();
    let key = entries[&open_one.request().token]["key"].as_str().unwrap();
    let seed = hex::decode(key).unwrap();
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    assert_ne!(ring::signature::KeyPair::public_key(&pair).as_ref(), seed);
    fs::write(fixture.folder.path().join("invitations"), "x").unwrap();
    let damaged = Invitations::open(fixture.folder.path(), fixture.wall.clock()).unwrap_err();
    assert!(damaged.to_string().contains("open invitations are void"), "{damaged}");
}

#[test]
fn a_request_is_what_the_holder_of_the_secret_signed_or_refused() {
    let fixture = Fixture::new();
    let changed = |change: &dyn Fn(&mut JoinRequest)| {
        let joining = fixture.joining(&["a", "b"]);
        let mut request = joining.request().clone();
        change(&mut request);
        (fixture.registrar.join(&request), joining)
    };
    let stranger = SvidRequest::new(node("node-2").identity(&domain())).unwrap();
    let csr = Der(stranger.csr().to_vec());
    let changes: &[Change<'_, JoinRequest>] = &[
        ("another id", &|request| request.token = "00".repeat(8)),
        ("no proof", &|request| request.proof = Der(Vec::new())),
        ("another proof", &|request| request.proof.0[5] ^= 1),
        ("another node", &|request| request.node = node("node-3")),
        ("another key", &|request| request.node_csr = csr.clone()),
        ("another key of a service", &|request| request.services[0].csr = csr.clone()),
        ("another service", &|request| request.services[0].service = "c".parse().unwrap()),
        ("a service less", &|request| drop(request.services.pop())),
        ("services exchanged", &|request| request.services.swap(0, 1)),
    ];
    for (what, change) in changes {
        let (answer, joining) = changed(change);
        assert_eq!(code(&answer.unwrap_err()), "identity.join-refused", "{what}");
        // It did not cost the invitation.
        fixture.registrar.join(joining.request()).unwrap();
    }
    // Signed by the right secret, and still not granted; the invitation stays good.
    let token = fixture.invite();
    let text = token.to_text();
    let renamed = joining(changed_token(&text, "node", "node-3".into()), &[]);
    let error = fixture.registrar.join(renamed.request()).unwrap_err();
    assert!(error.message.contains("another node"), "{error}");
    let moved = joining(changed_token(&text, "roots", serde_json::json!([])), &[]);
    let error = fixture.registrar.join(moved.request()).unwrap_err();
    assert_eq!(code(&error), "identity.join-refused");
    let greedy = joining(token, &["a", "c"]);
    let error = fixture.registrar.join(greedy.request()).unwrap_err();
    assert_eq!(code(&error), "identity.denied");
    let modest = joining(JoinToken::parse(&text).unwrap(), &["a"]);
    fixture.registrar.join(modest.request()).unwrap();
    let many = fixture.joining(&["a"; 257]);
    let error = fixture.registrar.join(many.request()).unwrap_err();
    assert_eq!(code(&error), "identity.request-invalid");
}

#[test]
fn an_answer_is_taken_only_if_it_fits_the_token_and_the_keys() {
    let fixture = Fixture::new();
    let clock = fixture.wall.clock();
    let joining = fixture.joining(&["a", "b"]);
    let reply = fixture.registrar.join(joining.request()).unwrap();
    joining.accept(&reply, &clock).unwrap();
    let other = Fixture::new();
    let theirs = other.joining(&["a", "b"]);
    let foreign = other.registrar.join(theirs.request()).unwrap();
    let changes: &[Change<'_, JoinReply>] = &[
        ("trust domain", &|reply| reply.trust_domain = "other.org".parse().unwrap()),
        ("no bundle", &|reply| reply.bundle = String::new()),
        ("another bundle", &|reply| reply.bundle = foreign.bundle.clone()),
        ("no chain", &|reply| reply.node.clear()),
        ("another chain", &|reply| reply.node = foreign.node.clone()),
        ("a service's chain", &|reply| reply.node = reply.services[0].chain.clone()),
        ("chains exchanged", &|reply| {
            let (a, b) = (reply.services[0].chain.clone(), reply.services[1].chain.clone());
            (reply.services[0].chain, reply.services[1].chain) = (b, a);
        }),
        ("a service less", &|reply| drop(reply.services.remove(0))),
        ("a leaf alone", &|reply| reply.node.truncate(1)),
    ];
    for (what, change) in changes {
        let mut reply = reply.clone();
        change(&mut reply);
        let error = joining.accept(&reply, &clock).unwrap_err();
        assert_eq!(code(&error), "identity.join-reply", "{what}");
    }
    // All of it fits together, and is another authority's.
    let csr = CertificateSigningRequestDer::from(joining.request().node_csr.0.clone());
    let node_2 = node("node-2").identity(&domain());
    let chain = other.authority.sign(&csr, &node_2, MAX_TTL).unwrap();
    let chain = chain.iter().map(|certificate| Der(certificate.to_vec())).collect();
    let usurped = JoinReply { node: chain, bundle: foreign.bundle.clone(), ..reply.clone() };
    let error = joining.accept(&usurped, &clock).unwrap_err();
    assert!(error.message.contains("lacks the roots of the join token"), "{error}");
    fixture.wall.advance(8 * DAY);
    assert!(joining.accept(&reply, &clock).is_err(), "it is not valid any more");
}

#[test]
fn a_joined_node_renews_for_itself_and_what_it_runs() {
    let fixture = Fixture::new();
    let node_2 = node("node-2").identity(&domain());
    let renew = |peer: &SpiffeId, id: &SpiffeId| {
        let key = SvidRequest::new(id.clone()).unwrap();
        let request = RenewRequest { id: id.clone(), csr: Der(key.csr().to_vec()) };
        let reply = fixture.registrar.renew(peer, &request)?;
        let signed = reply.signed(&domain()).unwrap();
        assert_eq!(signed.bundle, fixture.authority.bundle().unwrap());
        Ok::<Svid, Error>(key.complete(signed.chain).unwrap())
    };
    let life = |svid: Svid| svid.validity().length();
    assert_eq!(life(renew(&node_2, &node_2).unwrap()), 7 * DAY + 60);
    assert_eq!(life(renew(&node_2, &id("a")).unwrap()), DAY + 60);
    let elsewhere: SpiffeId = "spiffe://cluster.local/ns/other/sa/a".parse().unwrap();
    let foreign: SpiffeId = "spiffe://other.org/ns/airhost-system/sa/node-2".parse().unwrap();
    let foreign_service: SpiffeId = "spiffe://other.org/ns/pyairtable/sa/a".parse().unwrap();
    for (peer, wanted) in [
        (&node_2, &id("c")),
        (&node_2, &node("node-1").identity(&domain())),
        (&node_2, &elsewhere),
        (&node_2, &foreign_service),
        (&node("node-3").identity(&domain()), &id("a")),
        (&id("a"), &id("a")),
        (&foreign, &id("a")),
        (&foreign, &foreign),
    ] {
        let error = renew(peer, wanted).unwrap_err();
        assert_eq!(code(&error), "identity.denied", "{peer} {wanted}");
    }
    let request = RenewRequest { id: node_2.clone(), csr: Der(vec![1]) };
    let error = fixture.registrar.renew(&node_2, &request).unwrap_err();
    assert_eq!(code(&error), "identity.request-invalid");
}

#[test]
fn a_token_is_read_whole_or_not_at_all_and_never_printed() {
    let fixture = Fixture::new();
    let token = fixture.invite();
    let text = token.to_text();
    assert!(text.starts_with("airhost-join-"));
    let shown = format!("{token:?} {:?}", fixture.registrar);
    assert!(shown.contains(&token.id()) && !shown.contains(&text[20..40]), "{shown}");
    for bad in ["", "airhost-join-", "airhost-join-e30", &text[1..], &text[..text.len() - 2]] {
        let error = JoinToken::parse(bad).unwrap_err();
        assert_eq!(code(&error), "identity.join-token");
        assert!(bad.len() < 10 || !error.message.contains(bad));
    }
    for address in ["", "a", ":1", "a:", "a:0", "a:65536", "a b:1", "a/b:1", "http://a:1"] {
        let error = fixture.registrar.invite(&node("n"), address, INVITATION_LIFE).unwrap_err();
        assert_eq!(code(&error), "identity.join-token", "{address}");
    }
    for address in ["a:1", "node-1.example:8443", "[2001:db8::1]:8443", "10.0.0.1:65535"] {
        let token = fixture.registrar.invite(&node("n"), address, INVITATION_LIFE).unwrap();
        assert_eq!(JoinToken::parse(&token.to_text()).unwrap().address(), address);
    }
}

#[test]
fn a_token_is_good_across_a_change_of_root() {
    let fixture = Fixture::new();
    fixture.authority.begin_root_rotation().unwrap();
    fixture.wall.advance(8 * DAY - HOUR / 2);
    let joining = fixture.joining(&["a"]);
    fixture.wall.advance(HOUR / 2);
    let reply = fixture.registrar.join(joining.request()).unwrap();
    joining.accept(&reply, &fixture.wall.clock()).unwrap();
}

proptest! {
    #[test]
    fn no_token_is_too_strange(text in ".{0,300}") {
        prop_assert!(JoinToken::parse(&text).is_err());
        let prefixed = format!("airhost-join-{text}");
        prop_assert!(JoinToken::parse(&prefixed).is_err());
    }

    #[test]
    fn no_request_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let fixture = Fixture::new();
        let id = node("node-2").identity(&domain());
        let request = RenewRequest { id: id.clone(), csr: Der(bytes) };
        prop_assert!(fixture.registrar.renew(&id, &request).is_err());
    }
}
