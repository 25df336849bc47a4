//! What a guest does wrong costs that one request: a code, a clean answer, and the next request
//! is served as if nothing had been.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::time::Duration;

use tokio::time::Instant;

use airhost_core::Body;
use airhost_runtime::{Activation, Deployment, Instances};
use support::{Host, call};

async fn deploy(host: &Host, instances: Instances) -> Activation {
    host.deploy_with("hostile", "hostile", |deployment: &mut Deployment| {
        deployment.instances = instances;
        deployment.limits.cpu = Duration::from_millis(150);
        deployment.limits.wall = Duration::from_secs(2);
        deployment.limits.log_lines = 50;
        deployment.limits.memory = 16 << 20;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_has_its_code_and_costs_one_request() {
    let host = Host::new();
    for instances in [Instances::Fresh, Instances::Warm] {
        deploy(&host, instances).await;
        for (path, status, code) in [
            ("/trap", 500, "guest.trap"),
            ("/loop", 503, "guest.cpu-limit"),
            ("/memory", 503, "guest.memory-limit"),
            ("/stack", 500, "guest.trap"),
            ("/exit", 500, "guest.trap"),
            ("/no-response", 502, "guest.no-response"),
            ("/headers", 502, "response.invalid"),
            ("/bad-header", 502, "response.invalid"),
            ("/status", 502, "response.invalid"),
            ("/huge", 502, "guest.output-limit"),
        ] {
            let answer = host.get("hostile", path).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{path} {instances:?}"
            );
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            let next = host.get("hostile", "/").await;
            assert_eq!((next.status, next.text()), (200, "fine"), "after {path} {instances:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_sleeps_is_given_up_at_its_deadline() {
    let host = Host::new();
    deploy(&host, Instances::Fresh).await;
    let start = Instant::now();
    let error = host.send(call("hostile", "GET", "/sleep", Body::Empty)).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status().as_u16()), ("deadline.exceeded", 504));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(host.get("hostile", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_answer_that_goes_wrong_never_looks_whole() {
    let host = Host::new();
    deploy(&host, Instances::Fresh).await;
    for path in ["/unfinished", "/trap-in-stream"] {
        let response = host.send(call("hostile", "GET", path, Body::Empty)).await;
        let error = response.expect_err("a reset");
        assert_eq!(error.code, "body.truncated", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_body_ends_with_its_reader_and_with_its_limit() {
    let host = Host::new();
    let activation = deploy(&host, Instances::Fresh).await;
    let response = airhost_core::Dispatch::dispatch(
        &*host.runtime,
        call("hostile", "GET", "/endless", Body::Empty),
    )
    .await
    .unwrap();
    let mut reader = response.into_body().reader();
    for _ in 0..10 {
        assert!(!reader.read(1 << 20).await.unwrap().is_empty());
    }
    assert_eq!(host.runtime.status().services[0].pools[0].in_flight, 1);
    // The reader goes, and the guest with it.
    drop(reader);
    host.runtime.deactivate(&support::service("hostile")).unwrap();
    tokio::time::timeout(Duration::from_secs(5), activation.drained())
        .await
        .expect("the guest has ended");

    host.deploy_with("hostile", "hostile", |deployment| deployment.limits.stream_output = 1 << 20)
        .await;
    let error = host.send(call("hostile", "GET", "/endless", Body::Empty)).await.unwrap_err();
    assert_eq!(error.code, "body.truncated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let host = Host::new();
    host.deploy_with("hostile", "hostile", |deployment| {
        deployment.limits.log_lines = 50;
        // The flood is what is limited here, however slow the machine.
        deployment.limits.cpu = Duration::from_secs(60);
        deployment.limits.wall = Duration::from_secs(60);
    })
    .await;
    let answer = host.get("hostile", "/log").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let dropped = host.runtime.status().services[0].log_lines_dropped;
    assert!((99_000..=100_001).contains(&dropped), "{dropped}");
    assert_eq!(host.get("hostile", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looping_guests_do_not_starve_others() {
    let host = Host::new();
    host.deploy_with("hostile", "hostile", |deployment| {
        deployment.limits.cpu = Duration::from_secs(3);
        deployment.limits.wall = Duration::from_secs(6);
        deployment.limits.concurrency = 32;
    })
    .await;
    host.deploy("echo", "echo").await;
    let host = std::sync::Arc::new(host);
    let loops: Vec<_> = (0..16)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(
                async move { host.send(call("hostile", "GET", "/loop", Body::Empty)).await },
            )
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let host = host.clone();
        let start = Instant::now();
        let status = tokio::spawn(async move { host.get("echo", "/").await.status }).await.unwrap();
        assert_eq!(status, 200);
        slowest = slowest.max(start.elapsed());
    }
    for task in &loops {
        task.abort();
    }
    println!("slowest of 50 beside 16 loops: {slowest:?}");
    assert!(slowest < Duration::from_millis(400), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_cancels_the_guest() {
    let host = std::sync::Arc::new(Host::new());
    deploy(&host, Instances::Fresh).await;
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { host.send(call("hostile", "GET", "/sleep", Body::Empty)).await }
    });
    while host.runtime.status().services[0].pools[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    waiting.await.unwrap_err();
    assert_eq!(host.runtime.status().services[0].pools[0].in_flight, 0);
}
