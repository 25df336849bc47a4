//! Start-up work that is done once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use airhost_core::Body;
use airhost_runtime::{CacheKey, Config, Error, Instances, Snapshot};
use support::{Host, call, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_start_with_what_init_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config {
        cache_folder: Some(folder.path().to_owned()),
        cache_key: CacheKey::new([1; 32]),
        ..config()
    };
    for start in ["the first", "one that finds the snapshot"] {
        let host = Host::with(config());
        let loaded = host.load(host.deployment("prepared", "snapshot")).await;
        assert_eq!(loaded.snapshot(), &Snapshot::Taken, "{start}");
        host.runtime.probe(&loaded).await.unwrap();
        host.runtime.activate(loaded);
        for _ in 0..10 {
            assert!(host.get("prepared", "/").await.text().starts_with("1 1 value 7 "), "{start}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seed_of_hash_maps_differs_from_snapshot_to_snapshot() {
    // `init` uses a map, so the standard library's seed is part of the snapshot. It is a random
    // one, and each node that takes a snapshot has its own.
    let mut seeds = std::collections::HashSet::new();
    for _ in 0..2 {
        let host = Host::new();
        host.deploy("prepared", "snapshot").await;
        let answer = host.get("prepared", "/").await;
        seeds.insert(answer.text().rsplit(' ').next().unwrap().to_owned());
    }
    assert_eq!(seeds.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_instance_keeps_what_it_did_since() {
    let host = Host::new();
    host.deploy_with("prepared", "snapshot", |deployment| deployment.instances = Instances::Warm)
        .await;
    host.get("prepared", "/").await;
    assert!(host.get("prepared", "/").await.text().starts_with("1 2 value 7"));
    // Another tenant has another instance.
    let other = support::as_tenant(call("prepared", "GET", "/", Body::Empty), "other");
    assert!(host.send(other).await.unwrap().text().starts_with("1 1 value 7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_would_freeze_the_clock_is_refused_with_the_fix() {
    let host = Host::new();
    let error = host.runtime.load(host.deployment("prepared", "snapshot-clock")).await.unwrap_err();
    assert!(matches!(&error, Error::Component { code: "guest.init", .. }), "{error}");
    let sentence = error.to_string();
    for part in
        ["prepared", "`init` called `now` of `wasi:clocks/wall-clock", "where a request is handled"]
    {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
}
