//! The task that asks the issuer.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use airhost_core::SpiffeId;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use crate::{
    bundle::TrustBundle,
    issuer::{IssueError, Issued},
};

/// How long the worker sleeps at most: the wall clock may be set, or have stood still.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What a request to the issuer came to.
enum Outcome {
    Svid { id: SpiffeId, attempt: u64, issued: Result<Box<Issued>, IssueError> },
    Bundle(Result<Option<TrustBundle>, IssueError>),
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Outcome> + Send>>>;

/// The worker: starts what is due, most urgent first, and takes what comes back.
pub(super) async fn run(this: Arc<Shared>) {
    let mut running = Running::new();
    let mut identities_running = 0;
    let mut next_bundle = Instant::now();
    let stopping = airhost_telemetry::tasks::global().stopping();
    loop {
        while identities_running < this.config.concurrency.max(1) {
            let Some((id, attempt)) = this.next_due() else { break };
            running.push(Box::pin(attempt_svid(Arc::clone(&this), id, attempt)));
            identities_running += 1;
        }
        if Instant::now() >= next_bundle {
            next_bundle = Instant::now() + this.config.bundle_every;
            running.push(Box::pin(attempt_bundle(Arc::clone(&this))));
        }
        let full = identities_running >= this.config.concurrency.max(1);
        let nap = if full { LONGEST_SLEEP } else { this.until_due().min(LONGEST_SLEEP) };
        let nap = nap.min(next_bundle.saturating_duration_since(Instant::now()));
        let outcome = tokio::select! {
            outcome = running.next(), if !running.is_empty() => outcome,
            () = this.wake.notified() => None,
            () = sleep(nap) => None,
            () = stopping.cancelled() => return,
        };
        match outcome {
            Some(Outcome::Svid { id, attempt, issued }) => {
                identities_running -= 1;
                this.finish(&id, attempt, issued);
            }
            Some(Outcome::Bundle(bundle)) => this.finish_bundle(bundle),
            None => {}
        }
    }
}

async fn attempt_svid(shared: Arc<Shared>, id: SpiffeId, attempt: u64) -> Outcome {
    let limit = shared.config.timeout;
    let issued = match timeout(limit, shared.issuer.issue(&id)).await {
        Ok(issued) => issued.map(Box::new),
        Err(_) => Err(IssueError::Timeout(limit)),
    };
    Outcome::Svid { id, attempt, issued }
}

async fn attempt_bundle(shared: Arc<Shared>) -> Outcome {
    let limit = shared.config.timeout;
    let bundle = timeout(limit, shared.issuer.bundle()).await;
    Outcome::Bundle(bundle.unwrap_or(Err(IssueError::Timeout(limit))))
}
