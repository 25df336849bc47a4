//! Clients that ask a hostile service for one fault each, again and again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use airhost_test_guests::HOSTILE_DEEDS;
use anyhow::{Context as _, Result};
use http::Method;
use tokio::{task::JoinSet, time::sleep};

use super::{say, until_stopped};
use crate::{client::Http, process::Ready};

/// The last word: how many faults there were.
pub(crate) const FAULTS: &str = "faults";

pub(super) async fn attack(address: SocketAddr) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let faults = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    // Each has a client of its own.
    for deed in HOSTILE_DEEDS {
        let (stop, faults) = (Arc::clone(&stop), Arc::clone(&faults));
        clients.spawn(async move {
            let http = Http::new();
            let url = format!("http://{address}/{deed}");
            while !stop.load(Ordering::Relaxed) {
                // Whether and how it is answered is its own affair, but an attacker that is turned
                // away at once would attack nobody else than this client.
                if http.good(Method::GET, &url, b"", None).await.is_err() {
                    sleep(Duration::from_millis(1)).await;
                }
                faults.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    until_stopped(&Ready::new()).await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.context("an attacker ended early")?;
    }
    say(&Ready::from([(FAULTS.to_owned(), faults.load(Ordering::Relaxed).to_string())]))
}
