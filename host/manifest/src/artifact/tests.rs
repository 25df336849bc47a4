use std::{path::PathBuf, sync::OnceLock};

use airhost_core::codes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, UnresolvedPackageGroup};

use super::*;
use crate::manifest::testing::manifest;

/// What a host offers in these tests.
const HOST: [&str; 11] = [
    "pyairtable:types/errors@0.1.0",
    "pyairtable:types/http@0.1.0",
    "pyairtable:context/log@0.1.0",
    "pyairtable:service/http@0.1.0",
    "pyairtable:service/jobs@0.1.0",
    "pyairtable:storage/blob@0.1.0",
    "pyairtable:storage/blob-reply@0.1.0",
    "pyairtable:storage/sql@0.1.0",
    "pyairtable:storage/kv@0.1.0",
    "pyairtable:events/live-reply@0.1.0",
    "pyairtable:events/bus@0.1.0",
];

/// A component of a world in the contracts of this repository (types only where it says so).
fn component(world: &str) -> Vec<u8> {
    let wit = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    // In the order of their dependencies: each folder is a package.
    for folder in ["types", "storage", "events", "context", "crypto", "mail", "service"] {
        let group = UnresolvedPackageGroup::parse_dir(wit.join(folder)).unwrap();
        resolve.push_group(group).unwrap();
    }
    encode(resolve, world)
}

/// A component of a world that is not in the contracts.
fn foreign(wit: &str) -> Vec<u8> {
    encode(Resolve::default(), wit)
}

fn encode(mut resolve: Resolve, world: &str) -> Vec<u8> {
    let group = UnresolvedPackageGroup::parse("test.wit", world).unwrap();
    let package = resolve.push_group(group).unwrap();
    let selected = resolve.select_world(&[package], None).unwrap();
    // A guest imports what it calls, and of other interfaces no more than their types.
    let mut called = resolve.clone();
    for (id, _) in &resolve.interfaces {
        let is_named = |name: String| world.contains(&format!("port {name};"));
        if !resolve.id_of(id).is_some_and(is_named) {
            called.interfaces[id].functions.clear();
        }
    }
    let mut module = dummy_module(&called, selected, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, selected, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// An HTTP service that logs and does nothing else.
pub(crate) fn http_service() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        component(
            "package test:test; world test {
                import pyairtable:context/log@0.1.0;
                export pyairtable:service/handler@0.1.0;
            }",
        )
    })
}

fn full_contents() -> Contents {
    let migration =
        Migration::parse("0001_a.sql", "-- airhost: expand\nCREATE TABLE a (id uuid);\n");
    Contents {
        manifest: manifest("stores.sql = 'a_db'\nevents.out = ['a.b']\nconfig.ttl = 5"),
        migrations: vec![migration.unwrap()],
        openapi: Some(json!({ "openapi": "3.0.3", "info": {}, "paths": {} })),
        event_schemas: BTreeMap::from([("a.b".parse().unwrap(), json!({ "type": "object" }))]),
    }
}

#[test]
fn what_is_packed_reads_back_and_packing_is_repeatable() {
    let contents = full_contents();
    let file = Artifact::pack(http_service(), &contents).unwrap();
    assert_eq!(file, Artifact::pack(http_service(), &contents).unwrap());
    let artifact = Artifact::from_bytes(&file).unwrap();
    assert_eq!(artifact.contents(), &contents);
    assert_eq!(artifact.build().contract, "0.1");
    assert!(artifact.has_export("pyairtable:service/handler"));
    // Packing a packed file replaces what it carried and nothing else.
    assert_eq!(Artifact::pack(&file, &contents).unwrap(), file);
    let other = Contents::of(manifest(""));
    let replaced = Artifact::pack(&file, &other).unwrap();
    assert_eq!(replaced, Artifact::pack(http_service(), &other).unwrap());
    assert_eq!(Artifact::from_bytes(&replaced).unwrap().contents(), &other);
}

#[test]
fn the_revision_covers_file_and_configuration() {
    let artifact = Artifact::with_manifest(http_service(), manifest("config.ttl = 5")).unwrap();
    let defaults = &artifact.manifest().config;
    let revision = artifact.revision(defaults);
    assert_eq!(revision, artifact.clone().revision(defaults));
    let raised = defaults.with_overrides(json!({ "ttl": 6 }).as_object().unwrap()).unwrap();
    assert_ne!(revision, artifact.revision(&raised));
    let other = Artifact::with_manifest(http_service(), manifest("config.ttl = 6")).unwrap();
    assert_ne!(other.revision(&raised), artifact.revision(&raised));
}

#[test]
fn a_manifest_is_given_to_foreign_components_and_replaced_in_artifacts() {
    assert_eq!(Artifact::from_bytes(http_service()).unwrap_err(), ArtifactError::NoManifest);
    let given = Artifact::with_manifest(http_service(), manifest("config.a = 1")).unwrap();
    assert_eq!(given.manifest(), &manifest("config.a = 1"));
    let file = Artifact::pack(http_service(), &full_contents()).unwrap();
    let replaced = Artifact::with_manifest(&file, manifest("stores.sql = 'b_db'")).unwrap();
    assert_eq!(replaced.migrations(), full_contents().migrations);
    assert_eq!(replaced.manifest().stores.sql.as_ref().unwrap().as_str(), "b_db");
}

#[test]
fn what_is_no_artifact_is_told_apart() {
    let core = b"\0asm\x01\0\0\0";
    let file = Artifact::pack(http_service(), &full_contents()).unwrap();
    let mut changed = file.clone();
    *changed.last_mut().unwrap() ^= 1;
    let headless = [&file[..8], &file[sections::first(&file).unwrap().range.end..]].concat();
    for (name, bytes, code) in [
        ("empty", &b""[..], &codes::DEPLOY_TRUNCATED),
        ("part of the header", b"\0asm\x0d", &codes::DEPLOY_TRUNCATED),
        ("text", b"#!/bin/sh\n", &codes::DEPLOY_NOT_A_COMPONENT),
        ("core module", core, &codes::DEPLOY_NOT_A_COMPONENT),
        ("unknown version", b"\0asm\x0e\0\x01\0", &codes::DEPLOY_NOT_A_COMPONENT),
        ("no manifest", http_service(), &codes::DEPLOY_NO_MANIFEST),
        ("half a component", &http_service()[..http_service().len() / 2], &codes::DEPLOY_TRUNCATED),
        ("half a file", &file[..file.len() / 2], &codes::DEPLOY_TRUNCATED),
        ("one bit", &changed, &codes::DEPLOY_TRUNCATED),
        ("more bytes", &[&file[..], b"x"].concat(), &codes::DEPLOY_TRUNCATED),
        ("without build", &headless, &codes::DEPLOY_TRUNCATED),
    ] {
        let error = Artifact::from_bytes(bytes).unwrap_err();
        assert_eq!(error.code().code, code.code, "{name}: {error}");
    }
    let half = Artifact::from_bytes(&file[..file.len() / 2]).unwrap_err().to_string();
    assert!(half.contains(" bytes are there"), "{half}");
}

#[test]
fn a_manifest_in_a_file_is_checked_like_any_other() {
    let file = sealed(http_service(), &[(MANIFEST, b"name = 1")]);
    let error = Artifact::from_bytes(&file).unwrap_err();
    assert_eq!(error.code().code, "deploy.manifest");
    assert!(error.to_string().contains("airhost:manifest:1:8: `name` must be a text"), "{error}");

    let text = manifest("").to_toml();
    let migrations = br#"[{"number":1,"name":"a","marker":"expand","sql":"-- airhost: expand\nDROP TABLE a;","sha256":"00"}]"#;
    let file = sealed(http_service(), &[(MANIFEST, text.as_bytes()), (MIGRATIONS, migrations)]);
    let error = Artifact::from_bytes(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "section `airhost:migrations`: `0001_a.sql` does not fit its digest"
    );
}

/// A file with these sections and a right digest, whatever is in them.
fn sealed(component: &[u8], contents: &[(&'static str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, data) in contents {
        sections::append(&mut body, name, data).unwrap();
    }
    body.extend_from_slice(&component[8..]);
    seal(body)
}

fn seal(body: Vec<u8>) -> Vec<u8> {
    let build = Build {
        builder: "test".to_owned(),
        contract: "0.1".to_owned(),
        bytes: body.len() as u64,
        sha256: hex::encode(Sha256::digest(&body)),
    };
    let mut file = b"\0asm\x0d\0\x01\0".to_vec();
    sections::append(&mut file, BUILD, &serde_json::to_vec(&build).unwrap()).unwrap();
    [file, body].concat()
}

#[test]
fn every_truncation_is_an_error() {
    let file = Artifact::pack(http_service(), &full_contents()).unwrap();
    for end in 0..file.len() {
        let error = Artifact::from_bytes(&file[..end]).unwrap_err();
        // Cut right after the header it is an empty component.
        let empty = end == 8;
        assert!(empty || error.code().code == "deploy.truncated", "{end}: {error}");
    }
}

#[test]
fn every_changed_byte_is_an_error() {
    let file = Artifact::pack(http_service(), &full_contents()).unwrap();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x20;
        // The builder's version and spaces in `airhost:build` are all that may differ.
        let in_build = at < sections::first(&file).unwrap().range.end;
        assert!(Artifact::from_bytes(&changed).is_err() || in_build, "{at}");
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let file = Artifact::pack(http_service(), &full_contents()).unwrap();
    let body = &file[sections::first(&file).unwrap().range.end..];
    let mut random = StdRng::seed_from_u64(11);
    let mut read = 0;
    for _ in 0..4_000 {
        let mut body = body.to_vec();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..body.len());
            match random.random_range(0..4) {
                0 => body[at] = random.random(),
                1 => body[at] ^= 1 << random.random_range(0..8),
                2 => drop(body.remove(at)),
                _ => body.truncate(at.max(1)),
            }
        }
        // With a digest that fits, the parsers behind it see what was changed.
        if let Ok(artifact) = Artifact::from_bytes(&seal(body)) {
            read += 1;
            drop(artifact.check_grants(artifact.manifest(), &HOST));
        }
    }
    assert!(read > 0, "some changes are harmless, as in function bodies");
}

fn findings(component: &[u8], lines: &str) -> Vec<String> {
    let artifact = Artifact::with_manifest(component, manifest(lines)).unwrap();
    match artifact.check_grants(artifact.manifest(), &HOST) {
        Ok(()) => Vec::new(),
        Err(findings) => findings.iter().map(|f| format!("{}: {f}", f.code.code)).collect(),
    }
}

#[test]
fn imports_of_types_alone_need_no_grant() {
    let worker = component(
        "package test:test; world test {
            import pyairtable:context/log@0.1.0;
            export pyairtable:service/job-handler@0.1.0;
        }",
    );
    let artifact = Artifact::with_manifest(&worker, manifest("")).unwrap();
    let import = |name: &str| artifact.imports().iter().find(|i| i.interface.name == name);
    assert!(import("pyairtable:storage/sql").unwrap().types_only);
    assert!(!import("pyairtable:context/log").unwrap().types_only);
    let refused = findings(&worker, "").into_iter().filter(|f| f.contains("unlisted-import"));
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Some languages' tools import whole interfaces: then their functions would need a grant.
#[test]
fn answering_requests_imports_no_store() {
    let artifact = Artifact::with_manifest(http_service(), manifest("")).unwrap();
    let stores =
        artifact.imports().iter().filter(|i| i.interface.name.starts_with("pyairtable:storage/"));
    let names: Vec<&str> = stores.map(|i| &*i.interface.name).collect();
    assert_eq!(names, ["pyairtable:storage/blob-reply"]);
}

#[test]
fn what_the_manifest_does_not_list_is_named_with_the_line_to_add() {
    let stores = component(
        "package test:test; world test {
            import pyairtable:storage/kv@0.1.0;
            import pyairtable:storage/sql@0.1.0;
            import pyairtable:events/bus@0.1.0;
            export pyairtable:service/handler@0.1.0;
        }",
    );
    let expect = [
        "deploy.unlisted-import: imports pyairtable:storage/kv@0.1.0, which service.toml does not ask for; add `kv = true` under [stores]",
        "deploy.unlisted-import: imports pyairtable:storage/sql@0.1.0, which service.toml does not ask for; add `sql = \"quote_db\"` under [stores]",
        "deploy.unlisted-import: imports pyairtable:events/bus@0.1.0, which service.toml does not ask for; add the topics it publishes as `out = [\"...\"]` under [events]",
    ];
    let mut found = findings(&stores, "");
    found.sort();
    let mut expect = expect.map(str::to_owned).to_vec();
    expect.sort();
    assert_eq!(found, expect);
    let lines = "stores.kv = true\nstores.sql = 'a_db'\nevents.out = ['a']";
    assert_eq!(findings(&stores, lines), Vec::<String>::new());
}

#[test]
fn what_the_host_does_not_offer_is_named_with_what_it_does() {
    let world = |package: &str, interface: &str, version: &str| {
        foreign(&format!(
            "package test:test@0.0.1;
            world test {{ import {package}/{interface}@{version}; export wasi:http/incoming-handler@0.2.0; }}
            package {package}@{version} {{ interface {interface} {{ f: func(); }} }}
            package wasi:http@0.2.0 {{ interface incoming-handler {{ handle: func(); }} interface outgoing-handler {{ g: func(); }} }}"
        ))
    };
    for (package, interface, version, lines, expect) in [
        (
            "pyairtable:storage",
            "sql",
            "0.3.0",
            "stores.sql = 'a_db'",
            &[
                "deploy.unknown-import: imports pyairtable:storage/sql@0.3.0; this host offers 0.1.0",
            ][..],
        ),
        (
            "pyairtable:storage",
            "sqll",
            "0.1.0",
            "",
            &[
                "deploy.unknown-import: imports pyairtable:storage/sqll@0.1.0; this host does not offer it; did you mean pyairtable:storage/sql@0.1.0?",
            ],
        ),
        (
            "acme:gpu",
            "matrix",
            "1.0.0",
            "",
            &["deploy.unknown-import: imports acme:gpu/matrix@1.0.0; this host does not offer it"],
        ),
        ("wasi:io", "streams", "0.2.6", "", &[]),
        ("wasi:sockets", "tcp", "0.2.0", "", &[]),
        (
            "wasi:io",
            "streams",
            "0.3.0",
            "",
            &["deploy.unknown-import: imports wasi:io/streams@0.3.0; this host does not offer it"],
        ),
        ("pyairtable:context", "log", "0.1.0", "", &[]),
    ] {
        assert_eq!(findings(&world(package, interface, version), lines), expect, "{package}");
    }
    let outgoing = foreign(
        "package test:test@0.0.1;
        world test { import wasi:http/outgoing-handler@0.2.0; export wasi:http/incoming-handler@0.2.0; }
        package wasi:http@0.2.0 { interface incoming-handler { handle: func(); } interface outgoing-handler { g: func(); } }",
    );
    assert_eq!(
        findings(&outgoing, "egress = [{ host = 'a.com' }]"),
        [
            "deploy.unlisted-import: imports wasi:http/outgoing-handler@0.2.0, which service.toml does not ask for; add `foreign-wasi-http = true` under [grants] and the hosts it calls as [[egress]]"
        ]
    );
    let granted = "egress = [{ host = 'a.com' }]\ngrants.foreign-wasi-http = true";
    assert_eq!(findings(&outgoing, granted), Vec::<String>::new());
}

#[test]
fn exports_and_manifest_must_agree() {
    assert_eq!(
        findings(http_service(), "ticks.a.every = '1h'"),
        [
            "deploy.missing-export: service.toml has [ticks.<name>], but the component does not export pyairtable:service/tick-handler; export it, or remove [ticks.<name>]"
        ]
    );
    let ticker = component(
        "package test:test; world test { export pyairtable:service/tick-handler@0.1.0; }",
    );
    assert_eq!(
        findings(&ticker, ""),
        [
            "deploy.missing-export: exports pyairtable:service/tick-handler@0.1.0, but service.toml has no [ticks.<name>]; add it, or do not export it"
        ]
    );
    assert_eq!(findings(&ticker, "ticks.a.every = '1h'"), Vec::<String>::new());
    let idle =
        component("package test:test; world test { export pyairtable:service/lifecycle@0.1.0; }");
    assert_eq!(
        findings(&idle, ""),
        [
            "deploy.missing-export: exports nothing that the host calls; export pyairtable:service/handler or wasi:http/incoming-handler"
        ]
    );
}

#[test]
fn the_contract_version_must_be_offered() {
    let mut next = manifest("");
    next.contract = "0.2".parse().unwrap();
    let artifact = Artifact::with_manifest(http_service(), next).unwrap();
    let found = artifact.check_grants(artifact.manifest(), &HOST).unwrap_err();
    assert_eq!(found[0].code.code, "deploy.incompatible");
    assert_eq!(found[0].message, "service.toml says `contract = \"0.2\"`; this host offers 0.1");
}
