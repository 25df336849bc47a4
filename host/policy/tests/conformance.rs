//! The security half against the tables of tests/conformance.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Duration,
};

use airhost_policy::{
    MeshConfig, PathNormalization, Snapshot,
    path::normalize,
    security::{Because, Decision, Keys, PeerMode},
};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use support::{Case, Mesh, Owned, Policy, check_warnings, compile, conformance, rows, workload};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizationRow {
    id: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(default)]
    mesh: Mesh,
    policies: Vec<Policy>,
    #[serde(default)]
    warnings: Vec<String>,
    requests: Vec<Case>,
}

fn check(case: &Case, id: &str, decision: &Decision, custom: Option<&str>) {
    let word = |allowed| if allowed { "allow" } else { "deny" };
    let at = format!("{id}: {case:?}: {decision:?}");
    assert_eq!(word(decision.allowed), case.expect, "{at}");
    assert_eq!(decision.allowed, decision.because.allows(), "{at}");
    let because = match decision.because {
        Because::NoPolicy => "no-policy",
        Because::Allowed => "allowed",
        Because::Denied => "denied",
        Because::NoAllowMatched => "no-allow-matched",
        Because::NoProvider => "no-provider",
        _ => panic!("{at}"),
    };
    let name = |rule: &airhost_policy::RuleName| match rule.rule {
        Some(position) => format!("{} rule {position}", rule.policy),
        None => rule.policy.to_string(),
    };
    let rule = decision.rule.as_deref().map_or_else(|| "none".to_owned(), name);
    let audited: Vec<String> = decision.audited.iter().map(|rule| name(rule)).collect();
    let dry_run = decision.dry_run.as_ref().map_or("none", |outcome| word(outcome.allowed));
    if let Some(expected) = &case.because {
        assert_eq!(because, expected, "{at}");
    }
    if let Some(expected) = &case.rule {
        assert_eq!(rule, *expected, "{at}");
    }
    assert_eq!(audited, case.audited, "{at}");
    assert_eq!(dry_run, case.dry_run.as_deref().unwrap_or("none"), "{at}");
    assert_eq!(custom.unwrap_or("none"), case.custom.as_deref().unwrap_or("none"), "{at}");
}

#[test]
fn authorization() {
    let rows: Vec<AuthorizationRow> = rows("authorization.yaml");
    let mut requests = 0;
    for row in &rows {
        let (snapshot, warnings) =
            compile("AuthorizationPolicy", &row.policies, &row.mesh.config())
                .unwrap_or_else(|error| panic!("{}: {error}", row.id));
        check_warnings(&row.id, &warnings, &row.warnings);
        let authorization = snapshot.inbound(&workload("pyairtable")).authorization;
        for case in &row.requests {
            let owned = Owned::from(case.clone());
            let decision = authorization.decide(&owned.request());
            let custom = authorization.custom(&owned.request()).map(|check| check.name);
            check(case, &row.id, &decision, custom);
            requests += 1;
        }
    }
    println!("authorization: {} rows with {requests} requests", rows.len());
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerRow {
    id: String,
    #[serde(rename = "source")]
    _source: String,
    namespace: Option<String>,
    policies: Vec<Policy>,
    #[serde(default)]
    warnings: Vec<String>,
    expect: BTreeMap<String, String>,
}

#[test]
fn peers() {
    let rows: Vec<PeerRow> = rows("peers.yaml");
    for row in &rows {
        let id = &row.id;
        let (snapshot, warnings) =
            compile("PeerAuthentication", &row.policies, &MeshConfig::default())
                .unwrap_or_else(|error| panic!("{id}: {error}"));
        check_warnings(id, &warnings, &row.warnings);
        let namespace = row.namespace.as_deref().unwrap_or("pyairtable");
        let inbound = snapshot.inbound(&workload(namespace));
        for (port, expected) in &row.expect {
            let port: u16 = if port == "other" { 1 } else { port.parse().unwrap() };
            let mode = match inbound.peer_mode(port) {
                PeerMode::Disable => "DISABLE",
                PeerMode::Permissive => "PERMISSIVE",
                PeerMode::Strict => "STRICT",
            };
            let found = match inbound.peer_rule(port) {
                Some(rule) => format!("{mode} {}", rule.policy),
                None => mode.to_owned(),
            };
            assert_eq!(found, *expected, "{id}: port {port}");
        }
    }
    println!("peers: {} rows", rows.len());
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRow {
    id: String,
    #[serde(rename = "source")]
    _source: String,
    policies: Vec<Policy>,
    #[serde(default)]
    warnings: Vec<String>,
    rules: Vec<String>,
    #[serde(default)]
    forward: bool,
    #[serde(default)]
    requests: Vec<TokenCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenCase {
    #[serde(default)]
    headers: HashMap<String, String>,
    uri: Option<String>,
    tokens: BTreeMap<String, Vec<String>>,
}

#[test]
fn tokens() {
    let rows: Vec<TokenRow> = rows("tokens.yaml");
    for row in &rows {
        let id = &row.id;
        let (snapshot, warnings) =
            compile("RequestAuthentication", &row.policies, &MeshConfig::default())
                .unwrap_or_else(|error| panic!("{id}: {error}"));
        check_warnings(id, &warnings, &row.warnings);
        let jwt = snapshot.inbound(&workload("pyairtable")).jwt;
        let issuers: Vec<&str> = jwt.rules.iter().map(|rule| &*rule.issuer).collect();
        assert_eq!(issuers, row.rules, "{id}");
        assert_eq!(jwt.forward_unrecognized, row.forward, "{id}");
        for case in &row.requests {
            let headers: HeaderMap = (&case.headers).try_into().unwrap();
            let uri: Uri = case.uri.as_deref().unwrap_or("/").parse().unwrap();
            let mut found = BTreeMap::new();
            for rule in &jwt.rules {
                let tokens: Vec<String> = rule.tokens(&headers, &uri).map(Into::into).collect();
                if !tokens.is_empty() {
                    found.insert(rule.issuer.to_string(), tokens);
                }
            }
            assert_eq!(found, case.tokens, "{id}: {case:?}");
        }
    }
    println!("tokens: {} rows", rows.len());
}

#[test]
fn the_settings_of_a_token_rule() {
    let row = r#"{"spec": {"jwtRules": [{
        "issuer": "https://i", "audiences": ["a", "b"],
        "jwks": "{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"x\": \"x\"}]}",
        "outputPayloadToHeader": "X-Payload", "forwardOriginalToken": true, "timeout": "1.5s",
        "outputClaimToHeaders": [{"header": "x-tenant", "claim": "org.id"}]
    }, {"issuer": "j", "jwksUri": "https://j/keys"}]}}"#;
    let policies = [serde_json::from_str(row).unwrap()];
    let (snapshot, _) =
        compile("RequestAuthentication", &policies, &MeshConfig::default()).unwrap();
    let jwt = snapshot.inbound(&workload("pyairtable")).jwt;
    let rule = jwt.of_issuer("https://i").next().unwrap();
    assert_eq!(rule.audiences.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "b"]);
    assert!(matches!(&rule.keys, Keys::Inline(keys) if keys.contains("Ed25519")));
    assert_eq!(rule.output_payload.as_ref().unwrap(), "x-payload");
    assert_eq!(&*rule.output_claims, [("x-tenant".parse().unwrap(), "org.id".into())]);
    assert!(rule.forward_original_token);
    assert_eq!(rule.timeout, Duration::from_millis(1500));
    assert_eq!(rule.name.to_string(), "pyairtable/p0 rule 0 (case.yaml:1)");
    let rule = jwt.of_issuer("j").next().unwrap();
    assert!(rule.audiences.is_empty() && !rule.forward_original_token);
    assert_eq!(rule.timeout, Duration::from_secs(5));
    assert!(matches!(&rule.keys, Keys::Uri(uri) if uri == "https://j/keys"));
    assert!(jwt.of_issuer("k").next().is_none());
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathRow {
    #[serde(rename = "source")]
    _source: Option<String>,
    path: String,
    none: String,
    base: Option<String>,
    merge: Option<String>,
    decode: Option<String>,
}

#[test]
fn paths() {
    let rows: Vec<PathRow> = rows("paths.yaml");
    for row in &rows {
        let mut expected = &row.none;
        for (mode, column) in [
            (PathNormalization::None, None),
            (PathNormalization::Base, row.base.as_ref()),
            (PathNormalization::MergeSlashes, row.merge.as_ref()),
            (PathNormalization::DecodeAndMergeSlashes, row.decode.as_ref()),
        ] {
            expected = column.unwrap_or(expected);
            let found = normalize(&row.path, mode);
            let found = found.as_deref().unwrap_or("400");
            assert_eq!(found, expected, "{} {mode:?}", row.path);
        }
    }
    println!("paths: {} rows in 4 modes", rows.len());
}

/// Each file of tests/conformance/broken is refused with exactly the lines of the
/// file of the same name that ends in `.expected`.
#[test]
fn broken() {
    let mut files: Vec<_> = fs::read_dir(conformance("broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for path in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        let error = Snapshot::compile([(name, &text)], &MeshConfig::default())
            .map(|(_, warnings)| warnings)
            .expect_err(name);
        let expected = path.with_extension("expected");
        if std::env::var_os("AIRHOST_BLESS").is_some() {
            fs::write(&expected, format!("{error}\n")).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(error.to_string(), expected.trim_end(), "{name}");
    }
    println!("broken: {} files", files.len());
}

#[test]
fn the_migration_plans_policies_hold_as_they_are() {
    let name = "migration-plan/security.yaml";
    let text = fs::read_to_string(conformance(name)).unwrap();
    let (snapshot, warnings) = Snapshot::compile([(name, text)], &MeshConfig::default()).unwrap();
    assert_eq!(warnings, []);
    let inbound = snapshot.inbound(&workload("pyairtable"));
    assert_eq!(inbound.peer_mode(8080), PeerMode::Strict);
    assert_eq!(&*inbound.peer_rule(8080).unwrap().policy, "pyairtable/default");
    for (peer, method, path, rule) in [
        ("api-gateway", "GET", "/any", Some(0)),
        ("api-gateway", "POST", "/any", Some(0)),
        ("api-gateway", "DELETE", "/any", None),
        ("auth-service", "GET", "/api/v1/users/7", Some(1)),
        ("auth-service", "POST", "/api/v1/users/", Some(1)),
        ("auth-service", "GET", "/api/v1/users", None),
        ("auth-service", "GET", "/any", None),
        ("records-service", "GET", "/api/v1/users/7", None),
    ] {
        let owned = Owned::from(Case {
            peer: Some(format!("cluster.local/ns/pyairtable/sa/{peer}")),
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
            ..Case::default()
        });
        let decision = inbound.authorization.decide(&owned.request());
        assert_eq!(decision.allowed, rule.is_some(), "{peer} {method} {path}");
        assert_eq!(decision.rule.and_then(|rule| rule.rule), rule, "{peer} {method} {path}");
    }
    let other = snapshot.inbound(&workload("elsewhere"));
    assert_eq!(other, Default::default());
}
