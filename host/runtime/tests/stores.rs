//! Stores, idempotency and the cache, as guests use them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::sync::Arc;

use airhost_core::{Body, Call, Deadline, Response};
use airhost_runtime::{Activation, Instances};
use airhost_storage::{
    idempotency,
    kv::{Memory, MemoryConfig},
    sql::{
        Database, Migration, Phase,
        sqlite::{Sqlite, SqliteConfig},
    },
};
use support::{Host, as_tenant, call};

async fn deploy(host: &Host, folder: &std::path::Path, instances: Instances) -> Activation {
    let config =
        SqliteConfig::new(folder.join("stores.db")).with_host_schemas([idempotency::SCHEMA]);
    let database = Arc::new(Sqlite::open(config).await.unwrap());
    database.migrate(&migrations(), false).await.unwrap();
    let kv = Arc::new(Memory::open(MemoryConfig::default()).await.unwrap());
    host.native("other", |_| async { Ok(Response::new(Body::Empty)) });
    host.deploy_with("stores", "kv-sql", |deployment| {
        deployment.instances = instances;
        deployment.environment.database = Some(database);
        deployment.environment.kv = Some(kv);
    })
    .await
}

fn migrations() -> Vec<Migration> {
    vec![Migration {
        name: "0001_notes".to_owned(),
        phase: Phase::Expand,
        sql: "CREATE TABLE notes (id text PRIMARY KEY, note text NOT NULL);".to_owned(),
    }]
}

async fn text(host: &Host, path: &str) -> String {
    host.get("stores", path).await.text().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_commits_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new();
    deploy(&host, folder.path(), Instances::Auto).await;
    let answer = host.get("stores", "/insert?one").await;
    assert_eq!(
        (answer.status, answer.text(), &answer.headers["x-made"]),
        (201, "made", &"one".parse::<http::HeaderValue>().unwrap())
    );
    assert_eq!(text(&host, "/count").await, "1");
    let again = host.get("stores", "/insert?one").await;
    assert_eq!((again.status, again.code().as_str()), (409, "sql.unique-violation"));
    assert_eq!(text(&host, "/insert-and-drop?two").await, "dropped");
    assert_eq!(host.get("stores", "/insert-and-trap?three").await.code(), "guest.trap");
    assert_eq!(text(&host, "/count").await, "1");
    assert_eq!(text(&host, "/call-in-transaction").await, "tx.open");
    assert_eq!(text(&host, "/many-transactions").await, "4 tx.too-many");
    assert_eq!(text(&host, "/sql-error").await, "sql.syntax");
    // Nothing of the above keeps the writer.
    assert_eq!(host.get("stores", "/insert?four").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_do_not_see_each_others_keys() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new();
    deploy(&host, folder.path(), Instances::Auto).await;
    let ask = async |tenant: &str, path: &str| {
        host.send(as_tenant(call("stores", "GET", path, Body::Empty), tenant))
            .await
            .unwrap()
            .text()
            .to_owned()
    };
    ask("a", "/kv-set?of-a").await;
    ask("b", "/kv-set?of-b").await;
    assert_eq!(
        (ask("a", "/kv-get").await, ask("b", "/kv-get").await),
        ("of-a".to_owned(), "of-b".to_owned())
    );
    assert_eq!(
        (ask("a", "/kv-scan").await, ask("c", "/kv-scan").await),
        ("key".to_owned(), String::new())
    );
    assert_eq!(text(&host, "/kv-get").await, "");

    ask("a", "/cache-put?of-a").await;
    assert_eq!(
        (ask("a", "/cache-get").await, ask("b", "/cache-get").await),
        ("of-a".to_owned(), String::new())
    );
    ask("a", "/cache-drop").await;
    assert_eq!(ask("a", "/cache-get").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_says_so_in_the_contracts_words() {
    let host = Host::new();
    host.deploy("stores", "kv-sql").await;
    assert_eq!(text(&host, "/blob").await, "ErrorClass::Unsupported import.unsupported");
    for (path, code) in [("/count", "import.denied"), ("/kv-get", "import.denied")] {
        let answer = host.get("stores", path).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, code), "{path}");
    }
    assert_eq!(
        text(&host, "/sha256?abc").await,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

fn keyed(path: &str, key: &str, body: &'static str) -> Call {
    let mut call = as_tenant(call("stores", "POST", path, Body::from(body)), "t");
    call.request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_runs_once() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::new();
    deploy(&host, folder.path(), Instances::Auto).await;
    let first = host.send(keyed("/insert?one", "k1", "body")).await.unwrap();
    assert_eq!(first.status, 201);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = host.send(keyed("/insert?one", "k1", "body")).await.unwrap();
    assert_eq!((again.status, again.text()), (201, "made"));
    assert_eq!(
        (&again.headers["x-made"], &again.headers["idempotency-replayed"]),
        (&first.headers["x-made"], &"true".parse::<http::HeaderValue>().unwrap())
    );
    assert_eq!(text(&host, "/count").await, "1");
    let other = host.send(keyed("/insert?one", "k1", "another body")).await.unwrap();
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency.mismatch"));
    // An answer that no commit stored is stored all the same.
    let conflict = host.send(keyed("/insert?one", "k2", "")).await.unwrap();
    assert_eq!(conflict.status, 409);
    let replayed = host.send(keyed("/insert?one", "k2", "")).await.unwrap();
    assert_eq!(
        (replayed.status, &replayed.headers["idempotency-replayed"]),
        (409, &"true".parse::<http::HeaderValue>().unwrap())
    );
    // A failure of the service is not: the next one runs.
    for _ in 0..2 {
        let failed = host.send(keyed("/insert-and-trap?x", "k3", "")).await.unwrap();
        assert!(!failed.headers.contains_key("idempotency-replayed"));
        settled(&host, "k3").await;
    }
}

/// Waits until the right to run was given back.
async fn settled(host: &Host, key: &str) {
    let deadline = Deadline::after(std::time::Duration::from_secs(5));
    while !deadline.is_over() {
        let answer = host.send(keyed("/insert-and-trap?x", key, "")).await.unwrap();
        if answer.code() != "idempotency.running" {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("`{key}` stays taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_requests_with_a_key_at_once_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let host = Arc::new(Host::new());
    deploy(&host, folder.path(), Instances::Auto).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.send(keyed("/insert?one", "k", "")).await.unwrap() })
        })
        .collect();
    for call in calls {
        let answer = call.await.unwrap();
        assert!(
            answer.status == 201 || answer.code() == "idempotency.running",
            "{} {:?}",
            answer.status,
            answer.body
        );
    }
    assert_eq!(text(&host, "/count").await, "1");
}
