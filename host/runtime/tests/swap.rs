//! Hot swaps: no request is dropped, and each goes wholly to one revision.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use airhost_core::{Body, Deadline, Response};
use airhost_runtime::Instances;
use support::{Host, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_under_load_fails_no_request() {
    for instances in [Instances::Fresh, Instances::Warm] {
        let host = Arc::new(Host::new());
        let mode = async |mode: &str| {
            host.deploy_with("echo", "echo", |deployment| {
                deployment.instances = instances;
                deployment.environment.config =
                    Arc::new([("mode".to_owned(), serde_json::json!(mode))].into());
            })
            .await
        };
        let mut active = mode("0").await;
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (host, stop, served) = (host.clone(), stop.clone(), served.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = host.get("echo", "/").await;
                        assert_eq!(answer.status, 200);
                        assert!(answer.json()["mode"].is_string());
                        served.fetch_add(1, Ordering::Relaxed);
                        // As a connection would, which waits for its next request. A task that
                        // never waits keeps its thread from calls that do.
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for swap in 1..=20 {
            let before = served.load(Ordering::Relaxed);
            while served.load(Ordering::Relaxed) < before + 20 {
                tokio::task::yield_now().await;
            }
            let next = mode(&swap.to_string()).await;
            tokio::time::timeout(Duration::from_secs(5), active.drained())
                .await
                .expect("the old one drains");
            assert!(next.number() > active.number());
            active = next;
            // Whatever begins now is served by the new one.
            assert_eq!(host.get("echo", "/").await.json()["mode"], format!("\"{swap}\""));
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_the_old_one_ends_there() {
    let host = Arc::new(Host::new());
    let old = host.deploy("a", "nested").await;
    let (release, gate) = tokio::sync::watch::channel(false);
    host.native("slow", move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("open");
            Ok(Response::new(Body::from("from slow")))
        }
    });
    let running = tokio::spawn({
        let host = host.clone();
        async move { host.send(call("a", "GET", "/slow/", Body::Empty)).await }
    });
    while host.runtime.status().services[0].pools[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    host.deploy("a", "echo").await;
    assert_eq!(host.get("a", "/").await.json()["service"], "a");
    assert!(tokio::time::timeout(Duration::from_millis(20), old.drained()).await.is_err());
    release.send(true).unwrap();
    assert_eq!(running.await.unwrap().unwrap().text(), "from slow");
    tokio::time::timeout(Duration::from_secs(5), old.drained()).await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_takes_no_more_and_waits_for_the_rest() {
    let host = Arc::new(Host::new());
    host.deploy("a", "nested").await;
    let (release, gate) = tokio::sync::watch::channel(false);
    host.native("slow", move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("open");
            Ok(Response::new(Body::Empty))
        }
    });
    let running = tokio::spawn({
        let host = host.clone();
        async move { host.send(call("a", "GET", "/slow/", Body::Empty)).await }
    });
    while host.runtime.status().services[0].pools[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.runtime.drain(Deadline::after(Duration::from_millis(20))).await, 1);
    let error = host.send(call("a", "GET", "/", Body::Empty)).await.unwrap_err();
    assert_eq!(error.code, "cancelled.shutdown");
    release.send(true).unwrap();
    assert_eq!(host.runtime.drain(Deadline::after(Duration::from_secs(5))).await, 0);
    assert_eq!(running.await.unwrap().unwrap().status, 200);
}
