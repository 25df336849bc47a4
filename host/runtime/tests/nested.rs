//! Calls between services on one node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::{sync::Arc, time::Duration};

use airhost_core::{Body, CallContext, Response};
use airhost_runtime::Instances;
use support::{Host, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_from_service_to_service() {
    let host = Host::new();
    host.deploy("a", "nested").await;
    host.deploy("b", "nested").await;
    let answer = host.get("a", "/b/").await;
    assert_eq!((answer.status, answer.text()), (200, "spiffe://cluster.local/ns/pyairtable/sa/a"));
    let answer = host.get("a", "/b/a/b").await;
    assert_eq!(answer.text(), "spiffe://cluster.local/ns/pyairtable/sa/a");
    let answer = host.get("a", "/nobody/").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "guest.no-revision"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_nested_sixteen_deep_at_most() {
    let host = Host::new();
    host.deploy("a", "nested").await;
    let deep = "/a".repeat(CallContext::MAX_DEPTH.into());
    assert_eq!(host.get("a", &deep).await.status, 200);
    let answer = host.get("a", &format!("{deep}/a")).await;
    assert_eq!((answer.status, answer.code().as_str()), (508, "call.depth"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_run_beside_each_other_and_are_bounded() {
    let host = Host::new();
    host.deploy("a", "nested").await;
    host.native("leaf", |_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Response::new(Body::Empty))
    });
    let start = tokio::time::Instant::now();
    assert_eq!(host.get("a", "/fan-out-64").await.text(), "64");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let answer = host.get("a", "/fan-out-65").await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "call.too-many"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_has_the_time_it_was_given() {
    let host = Host::new();
    host.deploy("a", "nested").await;
    host.native("slow", |_| async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok(Response::new(Body::Empty))
    });
    let answer = host.get("a", "/slow/?50").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "deadline.exceeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_under_full_load_ends() {
    for instances in [Instances::Fresh, Instances::Warm] {
        let host = Arc::new(Host::new());
        for name in ["a", "b"] {
            host.deploy_with(name, "nested", |deployment| {
                deployment.instances = instances;
                deployment.limits.concurrency = 4;
                deployment.limits.queue = 200;
            })
            .await;
        }
        // Each call holds a place of `a` while it waits for `b`, which waits for `a`.
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let host = host.clone();
                tokio::spawn(async move { host.send(call("a", "GET", "/b/a", Body::Empty)).await })
            })
            .collect();
        let mut served = 0;
        for call in calls {
            let answer = tokio::time::timeout(Duration::from_secs(20), call)
                .await
                .expect("no deadlock")
                .unwrap();
            match answer {
                Ok(answer) if answer.status == 200 => served += 1,
                // Told to come back, at once.
                Ok(answer) => {
                    assert_eq!((answer.status, answer.code().as_str()), (503, "call.overloaded"))
                }
                Err(error) => assert_eq!(error.code, "call.overloaded"),
            }
        }
        assert!(served >= 50, "{served} of 100 {instances:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_queue_is_told_to_come_back() {
    let host = Arc::new(Host::new());
    host.deploy_with("a", "nested", |deployment| {
        deployment.limits.concurrency = 1;
        deployment.limits.queue = 2;
    })
    .await;
    let (release, gate) = tokio::sync::watch::channel(false);
    host.native("slow", move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.expect("open");
            Ok(Response::new(Body::Empty))
        }
    });
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.send(call("a", "GET", "/slow/", Body::Empty)).await })
        })
        .collect();
    while host.runtime.status().services[0].pools[0].waiting < 2 {
        tokio::task::yield_now().await;
    }
    let error = host.send(call("a", "GET", "/slow/", Body::Empty)).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status().as_u16()), ("call.overloaded", 503));
    assert!(error.retry_after.is_some());
    release.send(true).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(host.runtime.status().services[0].pools[0].rejected, 1);
}
