//! Stopping, pausing and showing a consumer.

use std::{sync::Arc, time::Duration};

use airhost_core::Error;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::blocked::Blocked;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Run,
    Pause,
    Stop,
}

/// What a consumer has done and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Whether it was told to pause.
    pub paused: bool,
    /// Events that are done, since it was started.
    pub done: u64,
    /// Failures of single events.
    pub failed: u64,
    /// Events given up.
    pub dead: u64,
    /// Keys that wait for their next try.
    pub blocked_keys: u64,
    /// Events that wait with them.
    pub parked_events: u64,
    /// What last kept the whole consumer from working.
    pub last_error: Option<String>,
}

/// The handle of a consumer. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct ConsumerControl(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wish: watch::Sender<Wish>,
    reload: Notify,
    status: Mutex<ConsumerStatus>,
}

impl Default for ConsumerControl {
    fn default() -> Self {
        let wish = watch::Sender::new(Wish::Run);
        Self(Arc::new(Shared { wish, reload: Notify::new(), status: Mutex::default() }))
    }
}

impl ConsumerControl {
    /// Finishes the batch that is under way and delivers nothing more until it is resumed.
    pub fn pause(&self) {
        self.wish(Wish::Pause);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.wish(Wish::Run);
    }

    /// Finishes the batch that is under way and ends `run`.
    pub fn stop(&self) {
        self.0.wish.send_replace(Wish::Stop);
    }

    /// Looks at the parked events again, after dead letters were put back.
    pub fn reload(&self) {
        self.0.reload.notify_one();
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        let paused = *self.0.wish.borrow() == Wish::Pause;
        ConsumerStatus { paused, ..self.0.status.lock().clone() }
    }

    fn wish(&self, wish: Wish) {
        self.0.wish.send_if_modified(|current| {
            let changes = *current != Wish::Stop && *current != wish;
            if changes {
                *current = wish;
            }
            changes
        });
    }

    pub(super) fn is_active(&self) -> bool {
        *self.0.wish.borrow() == Wish::Run
    }

    /// Returns once it may work; false when it is to stop.
    pub(super) async fn wait_until_active(&self) -> bool {
        let mut wish = self.0.wish.subscribe();
        let wish =
            wish.wait_for(|wish| *wish != Wish::Pause).await.map_or(Wish::Stop, |wish| *wish);
        wish == Wish::Run
    }

    /// Returns once it is to pause or stop.
    pub(super) async fn interrupted(&self) {
        let mut wish = self.0.wish.subscribe();
        // The sender lives as long as this handle.
        drop(wish.wait_for(|wish| *wish != Wish::Run).await);
    }

    /// Waits so long, or until it is to pause or stop; answers whether that came first.
    pub(super) async fn interrupted_within(&self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.interrupted()).await.is_ok()
    }

    pub(super) async fn reload_wanted(&self) {
        self.0.reload.notified().await;
    }

    pub(super) fn shows_blocked(&self, blocked: &Blocked) {
        let mut status = self.0.status.lock();
        status.blocked_keys = blocked.keys() as u64;
        status.parked_events = blocked.events();
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut ConsumerStatus)) {
        change(&mut self.0.status.lock());
    }

    pub(super) fn failed(&self, error: &Error) {
        self.0.status.lock().last_error = Some(error.to_string());
    }
}
