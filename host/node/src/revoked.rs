//! Sessions that were ended: every node refuses their tokens until those have expired.

use std::{sync::Arc, time::Duration};

use airhost_core::{Backoff, Result};
use airhost_events::{Envelope, bus::FetchLimit};
use serde::Deserialize;
use tokio::sync::watch;

use crate::services::Services;

/// The topic that tells of them.
const TOPIC: &str = "session.revoked";
/// Access tokens live no longer than this, in seconds.
const LONGEST_TOKEN: u64 = 3600;
/// Sessions that are read back at the start.
const READ_BACK: usize = 1000;
/// Waits while the bus does not answer.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

#[derive(Deserialize)]
struct Revoked {
    session_id: String,
}

/// Follows the topic until the node stops.
pub(crate) async fn follow(services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    let mut failures = 0;
    loop {
        let ended = tokio::select! {
            ended = read(&services, &mut failures) => ended,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        failures += 1;
        if let Err(error) = ended {
            tracing::warn!(%error, failures, "revoked sessions cannot be followed now");
        }
        tokio::select! {
            () = tokio::time::sleep(BACKOFF.after(failures)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn read(services: &Services, failures: &mut u32) -> Result<()> {
    let topics = [TOPIC.to_owned()];
    let bus = &services.engines.bus;
    // A group for each node: all of them must know.
    let group = format!("node:{}", services.config.node.name);
    let mut subscription = bus.subscribe(&group, &topics).await?;
    // What was read before a restart is not delivered again, and was only in memory.
    for record in bus.tail(&topics, None, READ_BACK).await? {
        revoke(services, &record.event);
    }
    *failures = 0;
    loop {
        for record in subscription.fetch(FetchLimit::BATCH).await? {
            revoke(services, &record.event);
        }
        subscription.commit().await?;
    }
}

fn revoke(services: &Services, event: &Envelope) {
    let ended = u64::try_from(event.time / 1_000_000).unwrap_or(0);
    match serde_json::from_str::<Revoked>(event.data.get()) {
        Ok(revoked) => services.verifier.revoke(&revoked.session_id, ended + LONGEST_TOKEN),
        Err(error) => tracing::warn!(id = %event.id, %error, "a revoked session is not named"),
    }
}
