//! Components that know nothing of the platform.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use airhost_core::{Body, Response};
use airhost_runtime::Instances;
use support::{Host, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_wasi_http_component_serves() {
    let host = Host::new();
    for instances in [Instances::Fresh, Instances::Warm] {
        host.deploy_with("plain", "wasi-http", |deployment| deployment.instances = instances).await;
        for _ in 0..3 {
            let mut asked = call("plain", "POST", "/a?b", Body::from("hello"));
            asked.request.headers_mut().insert("x-test", "1".parse().unwrap());
            let answer = host.send(asked).await.unwrap();
            assert_eq!((answer.status, answer.text()), (200, "/a?b 1 hello"));
            assert_eq!(answer.headers["x-plain"], "yes");
        }
        let answer = host.get("plain", "/trap").await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "guest.trap"));
        let answer = host.get("plain", "/nothing").await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "guest.no-response"));
        assert_eq!(host.get("plain", "/").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_calls_go_where_every_other_guests_go() {
    let host = Host::new();
    host.deploy("plain", "wasi-http").await;
    host.native("target-service", |call| async move {
        assert_eq!(call.context.depth, 1);
        assert_eq!(
            call.context.caller.service().map(ToString::to_string).as_deref(),
            Some("plain")
        );
        Ok(Response::new(Body::from(format!("got {}", call.request.uri()))))
    });
    let answer = host.get("plain", "/fetch/x?y").await;
    assert_eq!((answer.status, answer.text()), (200, "got http://target-service/x?y"));
    host.native("target-service", |_| async { Err(airhost_core::codes::CALL_DENIED.error("no")) });
    let answer = host.get("plain", "/fetch/x").await;
    assert_eq!((answer.status, answer.text()), (502, "ErrorCode::HttpRequestDenied"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_body_is_bounded_too() {
    let host = Host::new();
    host.deploy_with("plain", "wasi-http", |deployment| deployment.limits.body = 1 << 20).await;
    let error =
        host.send(call("plain", "POST", "/", Body::from(vec![b'x'; 2 << 20]))).await.unwrap_err();
    assert_eq!(error.code, "body.too-large");
    let large = "x".repeat(900_000);
    let answer = host.send(call("plain", "POST", "/", Body::from(large))).await.unwrap();
    assert!(answer.body.len() > 900_000);
}
