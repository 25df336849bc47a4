//! What a call costs beside the guest's own work. Run with `--ignored --nocapture`, best in a
//! release build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::time::Duration;

use tokio::time::Instant;

use airhost_core::{Body, Dispatch, Response};
use airhost_runtime::Instances;
use support::{Host, call};

async fn measure(host: &Host, name: &str, service: &str, path: &str) {
    let mut times = Vec::new();
    for round in 0..20_000 {
        let asked = call(service, "GET", path, Body::Empty);
        let start = Instant::now();
        let response = host.runtime.dispatch(asked).await.unwrap();
        assert_eq!(response.status(), 200);
        drop(response);
        if round >= 2_000 {
            times.push(start.elapsed());
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
    println!("{name:40} mean {mean:>10.2?} p50 {:>10.2?} p99 {:>10.2?}", at(50), at(99));
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn calls() {
    let host = Host::new();
    host.native("native", |_| async { Ok(Response::new(Body::Empty)) });
    for (mode, instances) in [("fresh", Instances::Fresh), ("warm", Instances::Warm)] {
        for (service, guest) in [
            ("hostile", "hostile"),
            ("echo", "echo"),
            ("a", "nested"),
            ("b", "nested"),
            ("plain", "wasi-http"),
        ] {
            host.deploy_with(service, guest, |deployment| deployment.instances = instances).await;
        }
        measure(&host, &format!("{mode}: least guest"), "hostile", "/").await;
        measure(&host, &format!("{mode}: echo as JSON"), "echo", "/").await;
        measure(&host, &format!("{mode}: a call of a native service"), "a", "/native/").await;
        measure(&host, &format!("{mode}: a call of a service"), "a", "/b/").await;
        measure(&host, &format!("{mode}: wasi:http"), "plain", "/").await;
    }
}
