//! Guests that misbehave, beside a healthy service under load.

use airhost_control::api::DeployEvent;
use airhost_system_tests::{Answer, Load, Platform, guest, pack};
use airhost_test_guests::HOSTILE_DEEDS;

const HOSTILE: &str = r#"
name = "hostile"
team = "tests"
description = "Misbehaves."
port = 8198
contract = "0.1"
[limits]
memory = "32MiB"
cpu = "100ms"
wall = "2s"
concurrency = 4
queue = 8
"#;

const HEALTHY: &str = r#"
name = "echo"
team = "tests"
description = "Answers."
port = 8197
contract = "0.1"
"#;

const ROUTES: &str = r#"
routes:
  - { name: hostile, path: "/hostile/{deed}", rewrite: "/{deed}", service: hostile, auth: none }
  - { name: echo, path: "/echo/**", service: echo, auth: none }
"#;

fn judge(answer: &Answer) -> String {
    answer.status.as_u16().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_guests_cost_their_own_requests_and_nothing_else() {
    let platform = Platform::start_with_routes(ROUTES).await;
    for (name, manifest) in [("echo", HEALTHY), ("hostile", HOSTILE)] {
        let event = platform.deploy(pack(&guest(name), manifest), false).await;
        assert!(matches!(event, DeployEvent::Deployed { .. }), "{event:?}");
    }
    let healthy = platform.stranger();
    let load = Load::start(&healthy, "/echo/hello", 8, judge);
    let attackers: Vec<Load> = HOSTILE_DEEDS
        .iter()
        .map(|deed| Load::start(&platform.stranger(), &format!("/hostile/{deed}"), 1, judge))
        .collect();
    // Bounded by work, not by time: some deeds are answered a few times meanwhile.
    for _ in 0..5 {
        for deed in ["trap", "loop", "memory"] {
            let answer = platform.stranger().get(&format!("/hostile/{deed}")).await;
            assert!(answer.status.is_server_error(), "{deed}: {answer:?}");
        }
    }
    load.seen("200", 64).await;
    for attacker in attackers {
        attacker.stop().await;
    }
    let report = load.stop().await;
    assert_eq!(report.broken, Vec::<String>::new());
    assert_eq!(report.seen.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{report:?}");
    platform.stop().await;
}
