//! A decision is made for every request: in the common case it must not allocate.

#![expect(unsafe_code, reason = "an allocator that counts has the trait's unsafe functions")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use airhost_core::SpiffeId;
use airhost_policy::{
    Claims, MeshConfig, PathNormalization, Snapshot, Workload, path::normalize, security::Request,
};
use http::HeaderMap;

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
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec:
  action: DENY
  rules:
  - from: [{source: {notPrincipals: ["cluster.local/*"], ipBlocks: [192.0.2.0/24]}}]
  - to: [{operation: {paths: ["/admin/{**}", "*.php"], notMethods: [GET]}}]
  - when: [{key: "request.headers[x-role]", values: [guest, "tmp-*"]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow}
spec:
  rules:
  - from: [{source: {namespaces: ["other-*"]}}, {source: {serviceAccounts: [robot]}}]
  - from: [{source: {principals: ["cluster.local/ns/pyairtable/sa/*"], requestPrincipals: ["https://i/*"]}}]
    to: [{operation: {hosts: ["*.example.com"], ports: ["8080"], paths: ["/v0/{*}/{*}"]}}]
    when: [{key: "request.auth.claims[scope]", values: [write]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: later, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch}
spec: {action: AUDIT, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
"#;

#[test]
fn a_decision_allocates_nothing() {
    let (snapshot, _) =
        Snapshot::compile([("policies.yaml", POLICIES)], &MeshConfig::default()).unwrap();
    let inbound = snapshot.inbound(&Workload {
        service: "records-service".parse().unwrap(),
        namespace: "pyairtable".to_owned(),
        labels: [("app".to_owned(), "records-service".to_owned())].into(),
    });
    let peer = SpiffeId::parse("spiffe://cluster.local/ns/pyairtable/sa/gateway").unwrap();
    let claims =
        Claims::new(serde_json::json!({"iss": "https://i", "sub": "s", "scope": "read write"}));
    let mut headers = HeaderMap::new();
    headers.insert("x-role", "owner".parse().unwrap());
    let before = COUNT.get();
    for (method, allowed) in [("GET", true), ("PATCH", true), ("PUT", true)] {
        let path = normalize("/v0/base/table", PathNormalization::MergeSlashes).unwrap();
        let request = Request {
            peer: Some(&peer),
            source_ip: Some([10, 0, 0, 1].into()),
            port: 8080,
            method,
            claims: Some(&claims),
            ..Request::new("api.example.com", &path, &headers)
        };
        let decision = inbound.authorization.decide(&request);
        assert_eq!(decision.allowed, allowed, "{decision:?}");
        let dry_run = decision.dry_run.as_ref().map(|outcome| outcome.allowed);
        assert_eq!(dry_run, Some(method != "PUT"), "{decision:?}");
        assert!(inbound.authorization.custom(&request).is_none());
    }
    for path in ["/v0/base", "/admin/x"] {
        let request = Request { method: "POST", ..Request::new("api.example.com", path, &headers) };
        assert!(!inbound.authorization.decide(&request).allowed);
    }
    assert_eq!(COUNT.get() - before, 0);
}
