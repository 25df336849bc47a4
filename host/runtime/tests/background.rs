//! Which threads guests compute on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::time::Duration;

use airhost_core::{Body, Response};
use support::Host;
use tokio::time::Instant;

/// Longer than anything takes here.
const BOUND: Duration = Duration::from_secs(20);

/// A host with two services, `a` and `b`, whose guests call `where` to learn on which thread they
/// are.
async fn host() -> Host {
    let host = Host::new();
    host.native("where", |_| {
        // A guest's calls begin on its own thread.
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        async move { Ok(Response::new(Body::from(name))) }
    });
    host.deploy("a", "nested").await;
    host.deploy("b", "nested").await;
    host
}

/// Whether the guest was in the background when it called.
async fn behind(host: &Host, service: &str, path: &str) -> bool {
    let answer = host.get(service, path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text() == "airhost-background"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_computes_for_long_goes_on_in_the_background() {
    let host = host().await;
    assert!(!behind(&host, "a", "/where/").await);
    assert!(behind(&host, "a", "/spin-100/where/").await);
    // Once is not a habit.
    assert!(!behind(&host, "a", "/where/").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_in_the_background_calls_guests_of_other_services() {
    let host = host().await;
    let answer = host.get("a", "/spin-100/b/a/b/").await;
    assert_eq!(answer.text(), "spiffe://cluster.local/ns/pyairtable/sa/a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_computes_for_long_again_and_again_stands_back() {
    let host = host().await;
    let start = Instant::now();
    while !behind(&host, "a", "/where/").await {
        assert!(start.elapsed() < BOUND, "its short calls do not begin in the background");
        assert!(behind(&host, "a", "/spin-20/where/").await);
    }
    assert!(!behind(&host, "b", "/where/").await, "another service stands back");
    let start = Instant::now();
    while behind(&host, "a", "/where/").await {
        assert!(start.elapsed() < BOUND, "it is never forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
