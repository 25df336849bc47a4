//! From a policy's YAML to what is done: the parts of a destination, as the mesh ties them
//! together.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use airhost_core::{Body, Deadline, Response, codes};
use airhost_mesh::destination::{
    Address, Balancing, EndpointSet, EndpointSpec, Limits, Locality, Refused, Replay, Transport,
    Tried, TryResult, hash_key,
};
use airhost_policy::{MeshConfig, Snapshot, traffic::LoadBalancer};
use http::{HeaderMap, StatusCode, Uri};
use rand::{SeedableRng, rngs::StdRng};

fn compile(text: &str) -> Snapshot {
    let (snapshot, _warnings) =
        Snapshot::compile([("test.yaml", text)], &MeshConfig::default()).unwrap();
    snapshot
}

fn ids(set: &EndpointSet, key: Option<u64>, picks: usize) -> BTreeMap<String, usize> {
    let mut random = StdRng::seed_from_u64(5);
    let mut ids = BTreeMap::new();
    for _ in 0..picks {
        let picked = set.pick(key, &Tried::default(), &mut random).unwrap();
        *ids.entry(picked.spec().id.to_string()).or_default() += 1;
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn a_destination_rule_is_acted_on() {
    let snapshot = compile(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: connector }
spec:
  host: airtable-connector
  trafficPolicy:
    loadBalancer:
      consistentHash: { httpHeaderName: x-user }
      localityLbSetting: { enabled: true, failover: [{ from: eu, to: us }] }
    connectionPool:
      tcp: { maxConnections: 1 }
      http: { http1MaxPendingRequests: 1 }
    outlierDetection: { consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 10s }
",
    );
    let policy =
        snapshot.traffic().destination("pyairtable", "airtable-connector", None, 8080).unwrap();

    let own = Locality::parse("eu/1");
    let balancing = Balancing::of(&policy, &own, &BTreeMap::new(), false);
    let set = EndpointSet::new(balancing, 0, None);
    set.update(["eu/1", "asia/1", "us/1"].iter().zip(0..).map(|(place, nth)| EndpointSpec {
        locality: Locality::parse(place),
        ..EndpointSpec::local(&format!("n{nth}"), "standard")
    }));
    let LoadBalancer::ConsistentHash(settings) = &policy.load_balancer else { panic!("hashing") };
    let mut headers = HeaderMap::new();
    headers.insert("x-user", "u1".parse().unwrap());
    let key = hash_key(settings, &headers, &Uri::from_static("/"), None);
    assert!(key.is_some());
    // The near one; when that is out, the one that is next for its region; then the last one.
    for expected in ["n0/standard", "n2/standard", "n1/standard"] {
        assert_eq!(ids(&set, key, 20), BTreeMap::from([(expected.to_owned(), 20)]));
        let picked = set.pick(key, &Tried::default(), &mut StdRng::seed_from_u64(1)).unwrap();
        for _ in 0..2 {
            let failed = Err(codes::CALL_RESET.error("reset"));
            set.report(&picked, TryResult::of(&failed).unwrap());
        }
    }
    assert!(set.pick(key, &Tried::default(), &mut StdRng::seed_from_u64(1)).is_none());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(ids(&set, key, 20), BTreeMap::from([("n0/standard".to_owned(), 20)]));

    let limits = Limits::new(&policy.limits, policy.retry_budget);
    let enter = |limits: &Arc<Limits>| {
        let limits = Arc::clone(limits);
        async move {
            limits.acquire(Transport::InProcess, Deadline::after(Duration::from_secs(5))).await
        }
    };
    let held = enter(&limits).await.unwrap();
    let waits = tokio::spawn(enter(&limits));
    while limits.status().pending == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(enter(&limits).await.map(drop), Err(Refused::Overflow));
    drop(held);
    assert!(waits.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_a_service_entry_lists_are_endpoints() {
    let snapshot = compile(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: partner }
spec:
  hosts: [api.partner.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{ number: 443, name: https, protocol: HTTPS }]
  endpoints:
    - { address: 192.0.2.1, ports: { https: 8443 }, locality: eu/eu-1, weight: 3 }
    - { address: two.partner.example, labels: { track: canary } }
",
    );
    let entry = snapshot.traffic().service_entry("api.partner.example", 443).unwrap();
    let port = entry.port(443).unwrap();
    let specs: Vec<_> =
        entry.endpoints.iter().map(|endpoint| EndpointSpec::listed(endpoint, port)).collect();
    assert_eq!(specs[0].address, Address::External("192.0.2.1:8443".parse().unwrap()));
    assert_eq!((&*specs[0].id, specs[0].weight), ("192.0.2.1:8443", 3));
    assert_eq!(specs[0].locality, Locality::parse("eu/eu-1"));
    let named = Address::Named { host: "two.partner.example".into(), port: 443 };
    assert_eq!((&specs[1].address, specs[1].weight), (&named, 1));
    assert_eq!(specs[1].labels["track"], "canary");
    let set = EndpointSet::new(Balancing::default(), 0, None);
    set.update(specs);
    let counts = ids(&set, None, 10_000);
    assert!((7_200..7_800).contains(&counts["192.0.2.1:8443"]), "{counts:?}");
}

/// A loop of tries, as the mesh makes them: the body is sent again to another endpoint, and what
/// is counted comes out even.
#[tokio::test(start_paused = true)]
async fn a_call_is_tried_again_elsewhere_with_the_same_body() {
    let round_robin = Balancing { load_balancer: LoadBalancer::RoundRobin, ..Balancing::default() };
    let set = EndpointSet::new(round_robin, 0, None);
    set.update([EndpointSpec::local("a", "p"), EndpointSpec::local("b", "p")]);
    let limits = Limits::new(&Default::default(), None);
    let mut random = StdRng::seed_from_u64(9);
    for _ in 0..50 {
        let mut tried = Tried::new(&Default::default());
        let parts = ["one ", "two"].map(|part| Ok(http_body::Frame::data(part.into())));
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(parts));
        let mut replay = Replay::new(Body::stream(stream), Replay::LIMIT);
        let mut answers = Vec::new();
        let _permit = limits
            .acquire(Transport::InProcess, Deadline::after(Duration::from_secs(1)))
            .await
            .unwrap();
        for status in [503, 200] {
            let picked = set.pick(None, &tried, &mut random).unwrap();
            let body = replay.body().unwrap();
            assert_eq!(body.collect(100).await.unwrap(), "one two");
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            answers.push(picked.spec().id.clone());
            set.report(&picked, TryResult::of(&Ok(response)).unwrap());
            tried.add(&picked);
        }
        assert_ne!(answers[0], answers[1]);
    }
    assert_eq!(limits.status().requests, 0);
    assert!(set.status().endpoints.iter().all(|endpoint| endpoint.active == 0));
}
