//! What holds for all policies and requests: mesh.md's properties (a) to (e) and (h).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use airhost_policy::{
    MeshConfig, PathNormalization, Snapshot,
    path::normalize,
    security::{Authorization, Because},
};
use proptest::{prelude::*, sample::select, test_runner::RngSeed};
use serde_json::{Value, json};
use support::{Case, Owned, Policy, compile, workload};

const PEERS: [&str; 4] = [
    "cluster.local/ns/a/sa/x",
    "cluster.local/ns/a/sa/y",
    "cluster.local/ns/b/sa/x",
    "partner.example/ns/a/sa/x",
];
const PATHS: [&str; 5] = ["/", "/a", "/a/b", "/admin", "/a/b/c"];
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];

fn authorization(policies: &[Policy]) -> Authorization {
    let (snapshot, _) = compile("AuthorizationPolicy", policies, &MeshConfig::default()).unwrap();
    snapshot.inbound(&workload("pyairtable")).authorization
}

fn policy(name: usize, action: &str, rules: &[Value]) -> Policy {
    let text = json!({"name": format!("p{name}"), "spec": {"action": action, "rules": rules}});
    serde_json::from_value(text).unwrap()
}

fn list(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(select(values).prop_map(str::to_owned), 1..3)
}

/// One field with one to two values.
fn source() -> impl Strategy<Value = Value> {
    const PRINCIPALS: &[&str] =
        &["cluster.local/ns/a/sa/x", "cluster.local/ns/b/*", "*/sa/y", "*", "partner.example/*"];
    const NAMESPACES: &[&str] = &["a", "b", "*", "c*"];
    const DOMAINS: &[&str] = &["cluster.local", "partner.*", "*"];
    const BLOCKS: &[&str] = &["10.0.0.0/8", "192.0.2.1"];
    const SUBJECTS: &[&str] = &["https://i/me", "https://i/*", "*"];
    prop_oneof![
        (select(&["principals", "notPrincipals"][..]), list(PRINCIPALS)),
        (select(&["namespaces", "notNamespaces"][..]), list(NAMESPACES)),
        (select(&["trustDomains", "notTrustDomains"][..]), list(DOMAINS)),
        (select(&["ipBlocks", "notIpBlocks"][..]), list(BLOCKS)),
        (select(&["requestPrincipals", "notRequestPrincipals"][..]), list(SUBJECTS)),
    ]
    .prop_map(|(field, values)| json!({"source": {field: values}}))
}

fn operation() -> impl Strategy<Value = Value> {
    const TEXTS: &[&str] = &["/a", "/a/*", "*b", "/admin", "*", "/{*}/b", "/a/{**}"];
    const VERBS: &[&str] = &["GET", "P*", "*"];
    const PORTS: &[&str] = &["80", "8080"];
    prop_oneof![
        (select(&["paths", "notPaths"][..]), list(TEXTS)),
        (select(&["methods", "notMethods"][..]), list(VERBS)),
        (select(&["ports", "notPorts"][..]), list(PORTS)),
    ]
    .prop_map(|(field, values)| json!({"operation": {field: values}}))
}

fn rule() -> impl Strategy<Value = Value> {
    let sources = prop::collection::vec(source(), 0..3);
    let operations = prop::collection::vec(operation(), 0..3);
    (sources, operations).prop_map(|(sources, operations)| {
        let mut rule = json!({});
        if !sources.is_empty() {
            rule["from"] = json!(sources);
        }
        if !operations.is_empty() {
            rule["to"] = json!(operations);
        }
        rule
    })
}

/// Actions and rules; DENY has at least one rule.
fn policies() -> impl Strategy<Value = Vec<(&'static str, Vec<Value>)>> {
    let one = select(&["ALLOW", "DENY", "AUDIT"][..]).prop_flat_map(|action| {
        let least = usize::from(action == "DENY");
        (Just(action), prop::collection::vec(rule(), least..3))
    });
    prop::collection::vec(one, 0..4)
}

fn named(policies: &[(&'static str, Vec<Value>)]) -> Vec<Policy> {
    policies.iter().enumerate().map(|(name, (action, rules))| policy(name, action, rules)).collect()
}

fn request() -> impl Strategy<Value = Case> {
    let peer = prop::option::of(select(&PEERS[..]));
    let ip = prop::option::of(select(&["10.1.1.1", "192.0.2.1", "192.0.2.2"][..]));
    let claims = prop::option::of(select(&["me", "you"][..]));
    let rest = (select(&METHODS[..]), select(&PATHS[..]), select(&[80, 8080, 9090][..]));
    (peer, ip, claims, rest, any::<bool>()).prop_map(
        |(peer, ip, claims, (method, path, port), event)| Case {
            event,
            peer: peer.map(str::to_owned),
            source_ip: ip.map(|ip| ip.parse().unwrap()),
            claims: claims.map(|subject| json!({"iss": "https://i", "sub": subject})),
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            port: Some(port),
            ..Case::default()
        },
    )
}

fn allows(policies: &[Policy], request: &Case) -> bool {
    let owned = Owned::from(request.clone());
    authorization(policies).decide(&owned.request()).allowed
}

/// A list of a positive field of an ALLOW rule, with one value replaced by `*`.
fn starred(rules: &[Value], rule: usize, at: usize) -> Option<Vec<Value>> {
    let mut rules = rules.to_vec();
    let rule = rules.get_mut(rule)?;
    const STARRED: [&str; 6] =
        ["principals", "namespaces", "trustDomains", "requestPrincipals", "paths", "methods"];
    let mut lists = Vec::new();
    for alternative in rule.as_object_mut()?.values_mut().flat_map(|list| list.as_array_mut()) {
        for inner in alternative.iter_mut().flat_map(|entry| entry.as_object_mut()) {
            for fields in inner.values_mut().flat_map(|fields| fields.as_object_mut()) {
                for (field, list) in fields.iter_mut() {
                    if STARRED.contains(&field.as_str()) {
                        lists.extend(list.as_array_mut()?);
                    }
                }
            }
        }
    }
    let count = lists.len();
    *lists.into_iter().nth(at % count.max(1))? = json!("*");
    Some(rules)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// (a)
    #[test]
    fn a_further_deny_never_allows_more(
        policies in policies(), denied in rule(), request in request()
    ) {
        let before = named(&policies);
        let mut after = before.clone();
        after.push(policy(policies.len(), "DENY", &[denied]));
        prop_assert!(allows(&before, &request) || !allows(&after, &request));
    }

    /// (b)
    #[test]
    fn a_first_allow_never_allows_more(
        policies in policies(), rules in prop::collection::vec(rule(), 0..3), request in request()
    ) {
        let policies: Vec<_> =
            policies.into_iter().filter(|(action, _)| *action != "ALLOW").collect();
        let before = named(&policies);
        let mut after = before.clone();
        after.push(policy(policies.len(), "ALLOW", &rules));
        prop_assert!(allows(&before, &request) || !allows(&after, &request));
    }

    /// (c)
    #[test]
    fn no_order_changes_a_decision(
        (policies, shuffled) in policies().prop_flat_map(|policies| {
            let named = named(&policies);
            (Just(named.clone()), Just(named).prop_shuffle())
        }),
        request in request(),
    ) {
        let owned = Owned::from(request);
        let strip = |policies: &[Policy]| {
            let decision = authorization(policies).decide(&owned.request());
            let names: Vec<_> =
                decision.audited.iter().map(|rule| (rule.policy.clone(), rule.rule)).collect();
            let rule = decision.rule.map(|rule| (rule.policy.clone(), rule.rule));
            (decision.because, rule, names)
        };
        prop_assert_eq!(strip(&policies), strip(&shuffled));
    }

    /// (c), of rules and values
    #[test]
    fn no_order_of_rules_and_values_changes_a_decision(
        policies in policies(), request in request()
    ) {
        fn turned(value: &Value) -> Value {
            match value {
                Value::Array(list) => list.iter().rev().map(turned).collect(),
                Value::Object(map) => {
                    map.iter().map(|(name, value)| (name.clone(), turned(value))).collect()
                }
                other => other.clone(),
            }
        }
        let reversed: Vec<_> = policies
            .iter()
            .map(|(action, rules)| (*action, rules.iter().rev().map(turned).collect()))
            .collect();
        prop_assert_eq!(
            allows(&named(&policies), &request),
            allows(&named(&reversed), &request)
        );
    }

    /// (d)
    #[test]
    fn a_star_in_an_allow_never_allows_less(
        policies in policies(),
        rules in prop::collection::vec(rule(), 1..3),
        rule in 0_usize..3,
        at in 0_usize..6,
        request in request(),
    ) {
        let Some(wider) = starred(&rules, rule, at) else { return Ok(()) };
        let mut before = named(&policies);
        before.push(policy(policies.len(), "ALLOW", &rules));
        let mut after = named(&policies);
        after.push(policy(policies.len(), "ALLOW", &wider));
        // A namespace of `*` is any id of a workload, a principal of `*` any id: of these ids,
        // both are all.
        prop_assert!(!allows(&before, &request) || allows(&after, &request));
    }

    /// (e)
    #[test]
    fn what_was_normalized_is_normal(path in "/([a%/.\\\\2ef5cF0]|%2[eEfF]|%5[cC]|%[346][0-9a-f]){0,12}") {
        for mode in [
            PathNormalization::None,
            PathNormalization::Base,
            PathNormalization::MergeSlashes,
            PathNormalization::DecodeAndMergeSlashes,
        ] {
            let Ok(once) = normalize(&path, mode) else { continue };
            let twice = normalize(&once, mode);
            prop_assert_eq!(twice.as_deref(), Ok(&*once), "{:?}", mode);
        }
    }

    /// No dot segment is left, and no backslash.
    #[test]
    fn what_is_normal_has_no_dot_segments(path in "/([ab./\\\\]|%2[eE]|%5[cC]|%2[fF]){0,16}") {
        for mode in [
            PathNormalization::Base,
            PathNormalization::MergeSlashes,
            PathNormalization::DecodeAndMergeSlashes,
        ] {
            let normal = normalize(&path, mode).unwrap();
            prop_assert!(!normal.split('/').any(|segment| matches!(segment, "." | "..")));
            prop_assert!(normal.starts_with('/') && !normal.contains('\\'));
            if mode != PathNormalization::Base {
                prop_assert!(!normal.contains("//"));
            }
        }
    }

    /// (h)
    #[test]
    fn a_peer_in_plain_text_is_in_no_positive_list(
        field in select(&["principals", "namespaces", "serviceAccounts", "trustDomains"][..]),
        value in select(&["*", "a", "a/x"][..]),
        mut request in request(),
    ) {
        let value = match (field, value) {
            ("serviceAccounts", "*") | ("namespaces" | "trustDomains", "a/x") => "a",
            (_, value) => value,
        };
        request.peer = None;
        let rule = json!({"from": [{"source": {field: [value]}}]});
        let owned = Owned::from(request);
        let allowing = authorization(&[policy(0, "ALLOW", std::slice::from_ref(&rule))]);
        let decision = allowing.decide(&owned.request());
        prop_assert_eq!(decision.because, Because::NoAllowMatched);
        let denying = authorization(&[policy(0, "DENY", &[rule])]);
        prop_assert!(denying.decide(&owned.request()).allowed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// Whatever is in a file, reading it ends with findings or a snapshot.
    #[test]
    fn no_file_brings_the_reader_down(
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\n\u{0}é]{0,3}", 0_usize..4), 0..6)
    ) {
        let path = support::conformance("migration-plan/security.yaml");
        let mut text: Vec<char> = std::fs::read_to_string(path).unwrap().chars().collect();
        for (at, inserted, removed) in edits {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = Snapshot::compile([("f", &text)], &MeshConfig::default()) {
            prop_assert!(!error.findings.is_empty());
            let lines = u64::try_from(text.lines().count()).unwrap();
            for finding in &error.findings {
                prop_assert!((1..=lines + 1).contains(&finding.place.line), "{finding}");
            }
        }
    }
}

/// Policies that do not select the workload are not even looked at.
#[test]
fn policies_of_others_are_not_looked_at() {
    let own = policy(0, "ALLOW", &[json!({"to": [{"operation": {"methods": ["GET"]}}]})]);
    let mut all = vec![own.clone()];
    for name in 1..=1_000 {
        let namespace = ["pyairtable", "istio-system", "elsewhere"][name % 3];
        let text = json!({
            "name": format!("p{name}"),
            "namespace": namespace,
            "spec": {"selector": {"matchLabels": {"app": "other"}}, "action": "DENY", "rules": [{}]},
        });
        all.push(serde_json::from_value(text).unwrap());
    }
    let alone = authorization(&[own]);
    let among = authorization(&all);
    assert_eq!(among, alone);
    assert_eq!(among.rules().count(), 1);
}
