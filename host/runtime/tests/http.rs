//! Requests, replies, and what a guest sees of the platform.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use airhost_core::Body;
use airhost_runtime::{Instances, Snapshot};
use support::{Host, as_tenant, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_answers_what_it_was_asked() {
    let host = Host::new();
    let activation = host
        .deploy_with("echo", "echo", |deployment| {
            let config = [("mode".to_owned(), serde_json::json!("fast"))];
            deployment.environment.config = std::sync::Arc::new(config.into());
        })
        .await;
    for instances in [Instances::Fresh, Instances::Warm] {
        host.deploy_with("echo", "echo", |deployment| {
            let config = [("mode".to_owned(), serde_json::json!("fast"))];
            deployment.environment.config = std::sync::Arc::new(config.into());
            deployment.instances = instances;
        })
        .await;
        let mut asked = as_tenant(call("echo", "POST", "/a/b?c=d", Body::from("hello")), "t1");
        asked.request.headers_mut().append("x-test", "1".parse().unwrap());
        asked.request.headers_mut().append("x-test", "2".parse().unwrap());
        let answer = host.send(asked).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "application/json");
        let json = answer.json();
        for (key, value) in [
            ("method", "POST"),
            ("path", "/a/b"),
            ("query", "c=d"),
            ("x", "1, 2"),
            ("service", "echo"),
            ("revision", &activation.revision().short()),
            ("tenant", "t1"),
            ("mode", "\"fast\""),
            ("body", "hello"),
        ] {
            assert_eq!(json[key], value, "{key} of {instances:?}");
        }
    }
    let status = host.runtime.status();
    assert_eq!(status.services.len(), 1);
    assert_eq!(status.services[0].generation, 3);
    assert_eq!(status.services[0].snapshot, Snapshot::NotWanted);
    let pool = &status.services[0].pools[0];
    assert_eq!((pool.calls, pool.idle_instances), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_comes_in_pieces_where_it_is_large() {
    let host = Host::new();
    host.deploy("echo", "echo").await;
    let large = "x".repeat(1 << 20);
    let answer = host.send(call("echo", "PUT", "/", Body::from(large.clone()))).await.unwrap();
    assert_eq!(answer.json()["body"].as_str().unwrap().len(), large.len());
    let error =
        host.send(call("echo", "PUT", "/", Body::from(vec![0; 11 << 20]))).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status().as_u16()), ("body.too-large", 413));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_guest_is_a_problem_of_its_class() {
    let host = Host::new();
    host.deploy("echo", "echo").await;
    let answer = host.get("echo", "/error").await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "echo.conflict"));
    assert_eq!(answer.headers["retry-after"], "2");
    let answer = host.get("echo", "/panic").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "guest.trap"));
    assert_eq!(host.get("echo", "/status/404").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wasi_is_an_empty_stand_in() {
    let host = Host::new();
    host.deploy("echo", "echo").await;
    let json = host.get("echo", "/wasi").await.json();
    for (key, value) in [("vars", 0), ("args", 0), ("map", 2)] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!((&json["files"], &json["connect"]), (&false.into(), &false.into()));
    assert!(json["now"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_a_revision_says_so() {
    let host = Host::new();
    let error = host.send(call("nobody", "GET", "/", Body::Empty)).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status().as_u16()), ("guest.no-revision", 503));
}
