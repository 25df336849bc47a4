//! A route and a destination are looked up for every call: that must not allocate.

#![expect(unsafe_code, reason = "an allocator that counts has the trait's unsafe functions")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use airhost_policy::{
    MeshConfig, Snapshot, Workload,
    traffic::{Action, RouteQuery, Routed},
};
use http::{HeaderMap, Method};

/// The system's allocator, which counts for each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's own work; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const POLICIES: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: records}
spec:
  hosts: [records-service]
  http:
  - match:
    - {method: {exact: POST}, uri: {prefix: /v0}}
    - {headers: {x-track: {prefix: can}}, queryParams: {v: {exact: "2"}}, sourceLabels: {app: gateway}}
    - {uri: {regex: "/v0/app[a-z]+"}, withoutHeaders: {x-track: {}}}
    route: [{destination: {host: records-service, subset: canary}, weight: 1}, {destination: {host: records-service}, weight: 1}]
  - route: [{destination: {host: records-service}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: records}
spec:
  host: "*.pyairtable.svc.cluster.local"
  trafficPolicy: {portLevelSettings: [{port: {number: 8080}}]}
  subsets: [{name: canary, labels: {track: canary}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec: {hosts: ["*.example.com"], ports: [{number: 443, protocol: HTTPS}]}
---
apiVersion: airhost.dev/v1
kind: CircuitBreaker
metadata: {name: outside}
spec: {host: "*.example.com", from: [gateway]}
---
apiVersion: airhost.dev/v1
kind: EgressLimit
metadata: {name: outside}
spec: {host: "*.example.com", limits: [{key: host, requests: 5, per: 1s}]}
"#;

#[test]
fn a_lookup_allocates_nothing() {
    let (snapshot, _) =
        Snapshot::compile([("policies.yaml", POLICIES)], &MeshConfig::default()).unwrap();
    let traffic = snapshot.traffic();
    let caller = Workload {
        service: "gateway".parse().unwrap(),
        namespace: "pyairtable".to_owned(),
        labels: [("app".to_owned(), "gateway".to_owned())].into(),
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-track", "canary".parse().unwrap());
    let empty = HeaderMap::new();
    let rounds = || {
        let mut routed = 0;
        for (host, path, query, headers, first) in [
            ("records-service", "/", Some("v=2"), &headers, true),
            ("Records-Service.pyairtable.svc", "/v0/appabc", None, &empty, true),
            ("records-service", "/v0/appABC", None, &empty, false),
        ] {
            let route = traffic.route(&RouteQuery {
                caller: Some(&caller),
                host,
                port: 80,
                method: &Method::GET,
                scheme: "http",
                authority: host,
                path,
                query,
                headers,
                claims: None,
            });
            let Routed::Route(route, matched) = route else { continue };
            assert_eq!(matched.block.is_some(), first);
            let Action::Forward(forward) = &route.action else { continue };
            let destination = forward.pick(1);
            let subset = destination.subset.as_deref();
            let policy = traffic.destination("pyairtable", &destination.host, subset, 8080);
            assert!(policy.is_ok_and(|policy| policy.labels.is_empty() != first));
            routed += 1;
        }
        assert_eq!(routed, 3);
        assert!(traffic.service_entry("api.example.com", 443).is_some());
        assert!(traffic.breaker(Some(&caller.service), "api.example.com").is_some());
        assert_eq!(traffic.egress_limits(None, "api.example.com").len(), 1);
    };
    // The engine of regular expressions makes its scratch space at the first use.
    rounds();
    let before = COUNT.get();
    rounds();
    assert_eq!(COUNT.get(), before);
}
