//! Nothing of one instance can be read by the next one in its slot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use airhost_core::Body;
use airhost_runtime::{Instances, Reset};
use support::{Host, call, config};

/// Writes marks and looks for them in the next instances. Answers how many marks and how many
/// bytes of grown memory that were not zero were found.
async fn leaks(host: &Host, rounds: usize) -> (u64, u64) {
    let mut leaks = (0, 0);
    for round in 0..rounds {
        let (writer, reader) = if round % 2 == 0 { ("one", "one") } else { ("one", "two") };
        let query = format!("round-{round}");
        let written = host.get(writer, &format!("/write?{query}")).await;
        assert_eq!(written.text(), "written");
        let found =
            host.send(call(reader, "GET", &format!("/read?{query}"), Body::Empty)).await.unwrap();
        let mut numbers = found.text().split(' ').map(|number| number.parse::<u64>().unwrap());
        leaks.0 += numbers.next().unwrap();
        leaks.1 += numbers.next().unwrap();
    }
    leaks
}

async fn deploy(host: &Host, instances: Instances) {
    for name in ["one", "two"] {
        host.deploy_with(name, "isolation", |deployment| {
            deployment.instances = instances;
            deployment.limits.memory = 1 << 30;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_instance_finds_nothing_of_others() {
    for (reset, rounds) in [(Reset::Auto, 4_000), (Reset::Decommit, 1_000)] {
        // Few slots, so that each is used again at once, by this service or another.
        let mut config = config();
        config.reservation.instances = 4;
        config.reset = reset;
        let host = Host::with(config);
        deploy(&host, Instances::Fresh).await;
        assert_eq!(leaks(&host, rounds).await, (0, 0), "{reset:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_sees_marks_where_they_are_left() {
    // An instance that is kept is the control: what it wrote it finds.
    let host = Host::new();
    deploy(&host, Instances::Warm).await;
    let (found, _) = leaks(&host, 2).await;
    assert!(found > 100, "{found}");
}
