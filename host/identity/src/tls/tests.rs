use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use rustls::{HandshakeKind, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{
    authority::{self, Authority},
    svid::{Validity, peer_id},
    testing::{
        DAY, HOUR, LEAVES, START, Shown as Raw, TestAuthority, Wall, domain, handshake, id, leaf,
        old_client, raw_client, raw_server, times, word,
    },
};

/// Identities that hold these services.
fn identities(authority: &TestAuthority, wall: &Wall, services: &[&str]) -> Identities {
    let identities = Identities::new(authority.bundle(), Vec::new(), wall.clock());
    for service in services {
        identities.install(authority.svid(&id(service))).unwrap();
    }
    identities
}

fn strict(identities: &Identities, service: &str) -> Arc<ServerConfig> {
    let (required, protocols) = (ClientCertificate::Required, Protocols::H2AndHttp1);
    identities.server_config(&id(service), required, protocols).unwrap()
}

fn client(identities: &Identities, from: &str, to: &str) -> Arc<ClientConfig> {
    identities.client_config(&id(from), &[id(to)], Protocols::H2AndHttp1).unwrap()
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (authority, wall) = (TestAuthority::new(), Wall::new());
    let (a, b) = (identities(&authority, &wall, &["a"]), identities(&authority, &wall, &["b"]));
    let (server, client) = handshake(strict(&b, "b"), client(&a, "a", "b")).await;
    let (server, client) = (server.unwrap(), client.unwrap());
    assert_eq!(peer_id(&server.peer.clone().unwrap()), Ok(id("a")));
    assert_eq!(peer_id(&client.peer.unwrap()), Ok(id("b")));
    assert_eq!(server.protocol.as_deref(), Some(&b"h2"[..]));
    assert!(b.still_trusted(&server.peer.unwrap()));
}

#[tokio::test]
async fn protocols_are_those_that_both_speak() {
    use Protocols::{H2, H2AndHttp1, Http1};
    let (authority, wall) = (TestAuthority::new(), Wall::new());
    let both = identities(&authority, &wall, &["a", "b"]);
    for (server, client, agreed) in [
        (H2AndHttp1, H2AndHttp1, Some(&b"h2"[..])),
        (H2AndHttp1, Http1, Some(b"http/1.1")),
        (H2, H2AndHttp1, Some(b"h2")),
        (H2, Http1, None),
    ] {
        let server = both.server_config(&id("b"), ClientCertificate::Required, server).unwrap();
        let client = both.client_config(&id("a"), &[id("b")], client).unwrap();
        let (server, _) = handshake(server, client).await;
        match agreed {
            Some(agreed) => assert_eq!(server.unwrap().protocol.as_deref(), Some(agreed)),
            None => assert_eq!(word(&server.unwrap_err()), "NoApplicationProtocol"),
        }
    }
}

/// What is shown, and the word for its refusal by a server and by a client that expects `a`.
fn shown_by_strangers(
    authority: &TestAuthority,
) -> Vec<(&'static str, Raw, &'static str, &'static str)> {
    let a = id("a");
    let changed = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = leaf(a.as_str());
        change(&mut params);
        params
    };
    let valid = |not_before, not_after| {
        authority.sign(&changed(&|params| times(params, Validity { not_before, not_after })))
    };
    let foreign = authority.sign(&leaf("spiffe://other.org/ns/pyairtable/sa/a"));
    let mut forged = authority.sign(&leaf(a.as_str()));
    let mut der = forged.chain[0].to_vec();
    *der.last_mut().unwrap() ^= 1;
    forged.chain = vec![der.into()];
    let service = authority.sign(&leaf(id("b").as_str()));
    vec![
        ("foreign", foreign, "foreign_trust_domain", "unexpected_peer"),
        ("expired", valid(START - DAY, START - 1), "ExpiredContext", "ExpiredContext"),
        ("early", valid(START + 1, START + DAY), "NotValidYetContext", "NotValidYetContext"),
        ("self-signed", Raw::self_signed(&leaf(a.as_str())), "UnknownIssuer", "UnknownIssuer"),
        (
            "of an unknown root",
            TestAuthority::new().sign(&leaf(a.as_str())),
            "UnknownIssuer",
            "UnknownIssuer",
        ),
        (
            "of another root of the same name",
            TestAuthority::named("root").sign(&leaf(a.as_str())),
            "BadSignature",
            "BadSignature",
        ),
        ("forged", forged, "BadSignature", "BadSignature"),
        // A service must not be able to make certificates of others.
        ("signed by a service", service.sign(&leaf(a.as_str())), "Other", "Other"),
    ]
}

#[tokio::test]
async fn a_server_refuses_who_is_not_trusted() {
    let (authority, wall) = (TestAuthority::named("root"), Wall::new());
    let server = strict(&identities(&authority, &wall, &["b"]), "b");
    for (name, shown, expected, _) in shown_by_strangers(&authority) {
        let (server, client) = handshake(Arc::clone(&server), raw_client(Some(&shown))).await;
        assert_eq!(word(&server.unwrap_err()), expected, "{name}");
        assert_eq!(word(&client.unwrap_err()), "AlertReceived", "{name}");
    }
    for (name, change, expected) in LEAVES {
        let mut params = leaf(id("a").as_str());
        change(&mut params);
        let shown = authority.sign(&params);
        let (server, _) = handshake(Arc::clone(&server), raw_client(Some(&shown))).await;
        match expected {
            Some(expected) => assert_eq!(word(&server.unwrap_err()), *expected, "{name}"),
            None => assert!(server.is_ok(), "{name}"),
        }
    }
}

#[tokio::test]
async fn a_client_refuses_who_is_not_expected() {
    let (authority, wall) = (TestAuthority::named("root"), Wall::new());
    let both = identities(&authority, &wall, &["c"]);
    let to_a = client(&both, "c", "a");
    for (name, shown, _, expected) in shown_by_strangers(&authority) {
        let (_, client) = handshake(raw_server(&shown), Arc::clone(&to_a)).await;
        assert_eq!(word(&client.unwrap_err()), expected, "{name}");
    }
    for (name, change, expected) in LEAVES {
        let mut params = leaf(id("a").as_str());
        change(&mut params);
        let shown = authority.sign(&params);
        let (_, client) = handshake(raw_server(&shown), Arc::clone(&to_a)).await;
        match expected {
            Some(expected) => assert_eq!(word(&client.unwrap_err()), *expected, "{name}"),
            None => assert!(client.is_ok(), "{name}"),
        }
    }
    // The whole URI counts: neither a longer one nor the same service elsewhere is it.
    for other in [
        "spiffe://cluster.local/ns/pyairtable/sa/ab",
        "spiffe://cluster.local/ns/other/sa/a",
        "spiffe://cluster.local/ns/pyairtable/sa/a/b",
    ] {
        let shown = authority.sign(&leaf(other));
        let (_, client) = handshake(raw_server(&shown), Arc::clone(&to_a)).await;
        let error = client.unwrap_err();
        let found = other.parse().unwrap();
        let expected = vec![id("a")];
        assert_eq!(broken_rule(&error), Some(&SvidError::Unexpected { found, expected }));
    }
    let shown = authority.sign(&leaf(id("b").as_str()));
    let to_either =
        both.client_config(&id("c"), &[id("a"), id("b")], Protocols::H2AndHttp1).unwrap();
    assert!(handshake(raw_server(&shown), to_either).await.1.is_ok());
    let to_nobody = both.client_config(&id("c"), &[], Protocols::H2AndHttp1).unwrap();
    assert_eq!(
        word(&handshake(raw_server(&shown), to_nobody).await.1.unwrap_err()),
        "unexpected_peer"
    );
}

#[tokio::test]
async fn a_certificate_is_required_or_optional_but_never_wrong() {
    let (authority, wall) = (TestAuthority::new(), Wall::new());
    let both = identities(&authority, &wall, &["a", "b"]);
    let (server, _) = handshake(strict(&both, "b"), raw_client(None)).await;
    assert_eq!(word(&server.unwrap_err()), "NoCertificatesPresented");
    let permissive =
        both.server_config(&id("b"), ClientCertificate::Optional, Protocols::H2AndHttp1).unwrap();
    let (server, _) = handshake(Arc::clone(&permissive), raw_client(None)).await;
    assert_eq!(server.unwrap().peer, None);
    let (server, _) = handshake(Arc::clone(&permissive), client(&both, "a", "b")).await;
    assert_eq!(peer_id(&server.unwrap().peer.unwrap()), Ok(id("a")));
    let stranger = Raw::self_signed(&leaf(id("a").as_str()));
    let (server, _) = handshake(permissive, raw_client(Some(&stranger))).await;
    assert_eq!(word(&server.unwrap_err()), "UnknownIssuer");
}

#[tokio::test]
async fn aliases_count_until_they_are_taken_away() {
    let (authority, wall) = (TestAuthority::new(), Wall::new());
    let alias: TrustDomain = "old.example".parse().unwrap();
    let server = identities(&authority, &wall, &["b"]);
    let shown = authority.sign(&leaf(alias.identity(&"a".parse().unwrap()).as_str()));
    for (aliases, good) in [(vec![], false), (vec![alias], true), (vec![], false)] {
        server.set_aliases(aliases);
        let (result, _) = handshake(strict(&server, "b"), raw_client(Some(&shown))).await;
        assert_eq!(result.is_ok(), good);
        assert_eq!(server.still_trusted(&shown.chain), good);
    }
}

#[tokio::test]
async fn old_protocols_and_resumed_sessions_are_not_spoken() {
    let (authority, wall) = (TestAuthority::new(), Wall::new());
    let both = identities(&authority, &wall, &["a", "b"]);
    let (server, _) = handshake(strict(&both, "b"), old_client()).await;
    assert_eq!(word(&server.unwrap_err()), "PeerIncompatible");
    // The same configurations twice, also with a client that would resume.
    let eager = raw_client(Some(&authority.sign(&leaf(id("a").as_str()))));
    for client in [client(&both, "a", "b"), eager] {
        for _ in 0..2 {
            let (server, _) = handshake(strict(&both, "b"), Arc::clone(&client)).await;
            assert_eq!(server.unwrap().kind, Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn only_certificates_that_others_take_are_installed_and_shown() {
    let (authority, wall) = (TestAuthority::new(), Wall::new());
    let both = identities(&authority, &wall, &["a", "b"]);
    let unusable = |svid: Svid| both.install(svid).unwrap_err().to_string();
    assert!(unusable(TestAuthority::new().svid(&id("a"))).contains("UnknownIssuer"));
    let late = Validity { not_before: START + 1, not_after: START + DAY };
    assert!(unusable(authority.svid_for(&id("a"), late)).contains("not valid now"));
    assert_eq!(both.valid_svid(&id("a")).unwrap().id(), &id("a"));
    let nobody = both.server_config(&id("c"), ClientCertificate::Required, Protocols::H2);
    assert_eq!(nobody.map(drop), Err(TlsError::NotHeld(id("c"))));

    let (server, client) = (strict(&both, "b"), client(&both, "a", "b"));
    wall.advance(2 * DAY);
    assert!(both.valid_svid(&id("a")).is_none() && both.svid(&id("a")).is_some());
    let (result, _) = handshake(Arc::clone(&server), Arc::clone(&client)).await;
    assert!(result.is_err(), "a certificate that has run out is not shown");
    for service in ["a", "b"] {
        let now = Validity { not_before: wall.now(), not_after: wall.now() + HOUR };
        both.install(authority.svid_for(&id(service), now)).unwrap();
    }
    assert!(handshake(Arc::clone(&server), Arc::clone(&client)).await.0.is_ok());
    assert!(both.remove(&id("b")) && !both.remove(&id("b")));
    assert!(handshake(server, client).await.0.is_err(), "it was forgotten");
    assert_eq!(both.held(), [id("a")]);
}

#[tokio::test]
async fn roots_count_while_they_are_valid_and_in_the_bundle() {
    let wall = Wall::new();
    let short = |from, to| {
        TestAuthority::valid(Validity { not_before: START + from, not_after: START + to })
    };
    let (now, later, never) = (short(-HOUR, HOUR), short(HOUR, DAY), short(-DAY, DAY));
    let roots = [now.certificate.clone(), later.certificate.clone()];
    let bundle = TrustBundle::new(domain(), roots, 1).unwrap();
    let server = Identities::new(bundle, Vec::new(), wall.clock());
    let of = |authority: &TestAuthority| authority.sign(&leaf(id("a").as_str())).chain;
    let (by_now, by_later, by_never) = (of(&now), of(&later), of(&never));
    let trusted = |expected: [bool; 3]| {
        let found = [&by_now, &by_later, &by_never].map(|chain| server.still_trusted(chain));
        assert_eq!(found, expected);
    };
    trusted([true, false, false]);
    wall.advance(HOUR);
    trusted([true, true, false]);
    wall.advance(1);
    trusted([false, true, false]);
    assert!(server.set_bundle(never.bundle()));
    trusted([false, false, true]);
    assert!(!server.set_bundle(never.bundle()));
    wall.advance(2 * DAY);
    trusted([false, false, false]);
}

/// Serves echo with the configuration of the moment until it is told to stop; counts handshakes
/// that failed.
async fn echo(
    listener: TcpListener,
    identities: Identities,
    failed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(Ok((stream, _))) =
            tokio::time::timeout(Duration::from_millis(20), listener.accept()).await
        else {
            continue;
        };
        let acceptor = TlsAcceptor::from(strict(&identities, "b"));
        let failed = Arc::clone(&failed);
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                failed.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                stream.write_all(&byte).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
    }
}

async fn connect(
    config: &Arc<ClientConfig>,
    address: std::net::SocketAddr,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("service.test").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.unwrap()
}

async fn ping(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) {
    let mut byte = [7];
    stream.write_all(&byte).await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut byte).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_and_a_new_root_under_load_drop_no_connection() {
    const ROUNDS: i64 = 44;
    let (folder, wall) = (tempfile::tempdir().unwrap(), Wall::new());
    let config = authority::Config::new(domain());
    let own = Authority::open(folder.path(), config, None, wall.clock()).unwrap();
    let both = Identities::new(own.bundle().unwrap(), Vec::new(), wall.clock());
    let renew = |service: &str| {
        let request = crate::svid::SvidRequest::new(id(service)).unwrap();
        let chain = own.sign(request.csr(), &id(service), Duration::from_secs(86_400)).unwrap();
        both.set_bundle(own.bundle().unwrap());
        both.install(request.complete(chain).unwrap()).unwrap();
    };
    renew("a");
    renew("b");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (failed, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let server = tokio::spawn(echo(listener, both.clone(), Arc::clone(&failed), Arc::clone(&stop)));
    let to_b = client(&both, "a", "b");
    let mut lasting = connect(&to_b, address).await;
    let served = Arc::new(AtomicUsize::new(0));
    let load = (0..4).map(|_| {
        let (to_b, stop, served) = (Arc::clone(&to_b), Arc::clone(&stop), Arc::clone(&served));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(&to_b, address).await;
                ping(&mut stream).await;
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load = load.collect::<Vec<_>>();
    let (first_root, mut serials) = (own.status().roots[0].fingerprint.clone(), Vec::new());
    for round in 0..ROUNDS {
        if round == 10 {
            own.begin_root_rotation().unwrap();
        }
        wall.advance(12 * HOUR);
        renew("a");
        renew("b");
        serials.push(both.svid(&id("b")).unwrap().serial().to_owned());
        ping(&mut lasting).await;
        // Some handshakes with these certificates before there are others.
        let seen = served.load(Ordering::Relaxed);
        let more = async {
            while served.load(Ordering::Relaxed) < seen + 4 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), more).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    server.await.unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), ROUNDS as usize);
    let roots = own.status().roots;
    assert!(roots.len() == 1 && roots[0].fingerprint != first_root, "the root was replaced");
    // The connection of the beginning lives on, and it is told that its peer's root is gone.
    ping(&mut lasting).await;
    let peer = lasting.get_ref().1.peer_certificates().unwrap();
    assert!(!both.still_trusted(peer));
}
