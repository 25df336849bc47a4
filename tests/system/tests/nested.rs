//! Services that call each other in a circle, through the mesh of the whole host.

use airhost_control::api::DeployEvent;
use airhost_system_tests::{Answer, Load, Platform, guest, pack};

const ROUTES: &str = r#"
routes:
  - { name: circle, path: "/circle/**", rewrite: "/**", service: circle-a, auth: none }
"#;

/// A service that calls another, with few places, so that the circle competes for them.
fn service(name: &str, other: &str, port: u16) -> String {
    format!(
        r#"
name = "{name}"
team = "tests"
description = "Calls {other}."
port = {port}
contract = "0.1"
[calls]
services = ["{other}"]
[limits]
concurrency = 4
queue = 8
"#
    )
}

/// The status, and the stable code of what is no success.
fn judge(answer: &Answer) -> String {
    match answer.status.as_u16() {
        200 => "200".to_owned(),
        status => format!("{status} {}", answer.json()["code"].as_str().unwrap_or_default()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_calls_at_full_load_ends_with_documented_answers() {
    let platform = Platform::start_with_routes(ROUTES).await;
    for (name, other, port) in [("circle-a", "circle-b", 8194), ("circle-b", "circle-a", 8195)] {
        let artifact = pack(&guest("nested"), &service(name, other, port));
        let event = platform.deploy(artifact, true).await;
        assert!(matches!(event, DeployEvent::Deployed { .. }), "{event:?}");
    }
    let stranger = platform.stranger();
    let alone = stranger.get("/circle/circle-b/circle-a").await;
    assert_eq!(alone.status, 200, "{alone:?}");

    // Each request holds a place of `circle-a` while it waits for `circle-b`, which waits for
    // `circle-a` again: 32 clients for 4 places.
    let load = Load::start(&stranger, "/circle/circle-b/circle-a", 32, judge);
    load.seen("200", 200).await;
    let report = load.stop().await;
    assert_eq!(report.broken, Vec::<String>::new());
    assert!(
        report.seen.keys().all(|word| ["200", "503 call.overloaded"].contains(&word.as_str())),
        "{:?}",
        report.seen
    );
    assert_eq!(stranger.get("/circle/circle-b/circle-a").await.status, 200);
    platform.stop().await;
}
