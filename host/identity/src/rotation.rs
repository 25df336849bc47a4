//! Keeps the certificates of this node's identities fresh.
//!
//! An identity's certificate is renewed at half of its life (give or take 1 % of the whole, so that
//! what was issued together is not renewed together). When that fails, the one that is still valid
//! stays in use and the issuer is asked again after 0.5 s, 1 s, 2 s … 150 s. Few requests are under
//! way at once, the most urgent first: a handshake that waits, then a service that is about to
//! start, then renewals.
//!
//! The values are ztunnel's (`src/identity/manager.rs`), the jitter Istio's agent's
//! (`pilot/cmd/pilot-agent/options/options.go`).

mod entry;
mod worker;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use airhost_core::{Clock, Deadline, Error, Result, SpiffeId, codes};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    bundle::TrustBundle,
    issuer::{IssueError, Issued, Issuer, Renewal},
    svid::{Svid, SvidError},
    tls::Identities,
};
pub use entry::Priority;
use entry::{Entry, renew_at};

/// How certificates are renewed.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many requests to the issuer are under way at once; 4 unless set.
    pub concurrency: usize,
    /// How long one may take; 10 seconds unless set.
    pub timeout: Duration,
    /// How often the issuer is asked what is to be trusted; 5 minutes unless set.
    pub bundle_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 4,
            timeout: Duration::from_secs(10),
            bundle_every: Duration::from_secs(crate::bundle::REFRESH_HINT),
        }
    }
}

/// How one identity is doing, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityStatus {
    /// The identity.
    pub id: SpiffeId,
    /// Where its certificates come from.
    pub issuer: String,
    /// The serial number of its certificate, in hexadecimal; none if there is none yet.
    pub serial: Option<String>,
    /// The first second of its certificate, since the epoch.
    pub not_before: Option<i64>,
    /// The last second of its certificate, since the epoch.
    pub not_after: Option<i64>,
    /// Whether its certificate is valid now.
    pub valid: bool,
    /// Why the last attempt failed; none if it did not.
    pub last_error: Option<String>,
    /// How many attempts failed in a row.
    pub failures: u32,
}

/// Renews the certificates of the identities that this node wants. Cheap to clone; it ends with
/// its last clone.
#[derive(Clone)]
pub struct Rotation {
    shared: Arc<Shared>,
    _worker: Arc<Worker>,
}

struct Shared {
    identities: Identities,
    issuer: Arc<dyn Issuer>,
    clock: Clock,
    config: Config,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    entries: HashMap<SpiffeId, Entry>,
    /// Numbers attempts and wishes.
    counter: u64,
    /// The highest number of a bundle that was taken from the issuer.
    sequence: u64,
    bundle_error: Option<String>,
}

/// Ends the task when the last clone goes.
struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rotation {
    /// Begins. `identities` are what the certificates are put into.
    #[must_use]
    pub fn start(
        identities: Identities,
        issuer: Arc<dyn Issuer>,
        clock: Clock,
        config: Config,
    ) -> Self {
        let state = Mutex::default();
        let wake = Notify::new();
        let shared = Arc::new(Shared { identities, issuer, clock, config, state, wake });
        let worker = airhost_telemetry::spawn_named(
            "certificate-rotation",
            worker::run(Arc::clone(&shared)),
        );
        Self { shared, _worker: Arc::new(Worker(worker)) }
    }

    /// Wants certificates of an identity from now on. One that `Identities` has already is renewed
    /// when it is due. Wanting it again can make it more urgent.
    pub fn want(&self, id: &SpiffeId, priority: Priority) {
        self.shared.want(id, priority);
        self.shared.wake.notify_one();
    }

    /// The certificate of an identity that is wanted, for a handshake: at once if there is a valid
    /// one, or else before everything else.
    ///
    /// # Errors
    /// `identity.unavailable` if nobody [wants](Rotation::want) it, since a peer can ask for any
    /// name; if the attempt failed, also while the next one is yet to come, since a handshake does
    /// not wait for a back-off; and when the deadline is over.
    pub async fn require(&self, id: &SpiffeId, deadline: Deadline) -> Result<Arc<Svid>> {
        loop {
            if let Some(svid) = self.shared.identities.valid_svid(id) {
                return Ok(svid);
            }
            let mut attempts = {
                let mut state = self.shared.state.lock();
                let Some(entry) = state.entries.get_mut(id) else {
                    return Err(unavailable(id, "this node does not want one"));
                };
                entry.need_now();
                if entry.is_backing_off(Instant::now()) {
                    return Err(unavailable(id, entry.last_error.as_deref().unwrap_or("unknown")));
                }
                entry.attempts.subscribe()
            };
            self.shared.wake.notify_one();
            match timeout_at(deadline.instant(), attempts.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(unavailable(id, "it is not wanted any more")),
                Err(_) => return Err(unavailable(id, "the issuer did not answer in time")),
            }
        }
    }

    /// Wants no certificates of an identity any more, and forgets the one there is.
    pub fn forget(&self, id: &SpiffeId) {
        let mut state = self.shared.state.lock();
        state.entries.remove(id);
        self.shared.identities.remove(id);
        self.shared.issuer.forget(id);
    }

    /// Trusts another bundle now, and renews at once what it does not vouch for.
    pub fn set_bundle(&self, bundle: TrustBundle) {
        self.shared.adopt(bundle);
        self.shared.wake.notify_one();
    }

    /// How the identities are doing, by id.
    #[must_use]
    pub fn status(&self) -> Vec<IdentityStatus> {
        let shared = &self.shared;
        let now = crate::svid::seconds(&shared.clock);
        let state = shared.state.lock();
        let mut all = Vec::with_capacity(state.entries.len());
        for (id, entry) in &state.entries {
            let svid = shared.identities.svid(id);
            let validity = svid.as_deref().map(Svid::validity);
            all.push(IdentityStatus {
                id: id.clone(),
                issuer: shared.issuer.name().to_owned(),
                serial: svid.as_deref().map(|svid| svid.serial().to_owned()),
                not_before: validity.map(|validity| validity.not_before),
                not_after: validity.map(|validity| validity.not_after),
                valid: validity.is_some_and(|validity| validity.contains(now)),
                last_error: entry.last_error.clone(),
                failures: entry.failures,
            });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Why the last attempt to learn what is to be trusted failed; none if it did not.
    #[must_use]
    pub fn bundle_error(&self) -> Option<String> {
        self.shared.state.lock().bundle_error.clone()
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").field("issuer", &self.shared.issuer).finish_non_exhaustive()
    }
}

fn unavailable(id: &SpiffeId, reason: &str) -> Error {
    codes::IDENTITY_UNAVAILABLE.error(format!("there is no valid certificate of {id}: {reason}"))
}

impl Shared {
    fn want(&self, id: &SpiffeId, priority: Priority) {
        let mut state = self.state.lock();
        state.counter += 1;
        let wish = state.counter;
        let entry = state.entries.entry(id.clone()).or_insert_with(|| {
            let due = self.identities.valid_svid(id).map_or(i64::MIN, |svid| self.due(&svid));
            Entry::new(wish, due)
        });
        entry.priority = entry.priority.max(priority);
    }

    /// When a certificate is to be renewed, in microseconds since the epoch.
    fn due(&self, svid: &Svid) -> i64 {
        let now = self.clock.now_micros();
        match self.issuer.renewal() {
            Renewal::HalfLife => renew_at(svid.validity(), now),
            Renewal::Watch(every) => {
                now.saturating_add(i64::try_from(every.as_micros()).unwrap_or(i64::MAX))
            }
        }
    }

    /// The most urgent of what is due, and the number of its attempt, which has begun.
    fn next_due(&self) -> Option<(SpiffeId, u64)> {
        let (now, wall) = (Instant::now(), self.clock.now_micros());
        let mut state = self.state.lock();
        let due = state.entries.iter().filter(|(_, entry)| entry.wait(now, wall).is_zero());
        let first = due.min_by_key(|(_, entry)| entry.urgency())?;
        let id = first.0.clone();
        state.counter += 1;
        let attempt = state.counter;
        state.entries.get_mut(&id)?.running = Some(attempt);
        Some((id, attempt))
    }

    /// How long nothing is due.
    fn until_due(&self) -> Duration {
        let (now, wall) = (Instant::now(), self.clock.now_micros());
        let state = self.state.lock();
        state.entries.values().map(|entry| entry.wait(now, wall)).min().unwrap_or(Duration::MAX)
    }

    fn finish(&self, id: &SpiffeId, attempt: u64, issued: Result<Box<Issued>, IssueError>) {
        // Forgotten meanwhile, perhaps wanted again: then another attempt answers.
        let is_current = |state: &State| {
            state.entries.get(id).is_some_and(|entry| entry.running == Some(attempt))
        };
        if !is_current(&self.state.lock()) {
            self.let_go_if_forgotten(id);
            return;
        }
        let taken = issued.and_then(|issued| self.take(id, *issued));
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(id).filter(|entry| entry.running == Some(attempt))
        else {
            drop(state);
            self.let_go_if_forgotten(id);
            return;
        };
        match taken {
            Ok(due) => entry.succeeded(due),
            Err(error) => {
                entry.failed(error.to_string());
                let valid = self.identities.valid_svid(id);
                let valid_until = valid.map(|svid| svid.validity().not_after);
                let (failures, issuer) = (entry.failures, self.issuer.name());
                tracing::warn!(identity = %id, issuer, %error, failures, ?valid_until, "no certificate");
            }
        }
    }

    /// For what came, or was put in place, after somebody was forgotten.
    fn let_go_if_forgotten(&self, id: &SpiffeId) {
        let state = self.state.lock();
        if !state.entries.contains_key(id) {
            self.identities.remove(id);
            self.issuer.forget(id);
        }
    }

    /// Puts a certificate in place, with the bundle that came with it. Answers when it is due.
    fn take(&self, id: &SpiffeId, issued: Issued) -> Result<i64, IssueError> {
        let Issued { svid, bundle } = issued;
        if svid.id() != id {
            let found = svid.id().clone();
            return Err(SvidError::Unexpected { found, expected: vec![id.clone()] }.into());
        }
        let due = self.due(&svid);
        let current = self.identities.svid(id);
        let known = current.is_some_and(|current| current.chain() == svid.chain());
        // First alone, so that a bundle that does not even fit its certificate changes nothing.
        let unusable = |error: crate::tls::TlsError| IssueError::Unavailable(error.to_string());
        self.identities.check_against(&svid, &bundle).map_err(unusable)?;
        self.adopt_from_issuer(bundle);
        if !known {
            let (serial, not_after) = (svid.serial().to_owned(), svid.validity().not_after);
            self.identities.install(svid).map_err(unusable)?;
            tracing::info!(identity = %id, %serial, not_after, "a certificate was put in place");
        }
        Ok(due)
    }

    fn finish_bundle(&self, bundle: Result<Option<TrustBundle>, IssueError>) {
        let error = match bundle {
            Ok(bundle) => {
                if let Some(bundle) = bundle {
                    self.adopt_from_issuer(bundle);
                }
                None
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer.name(), %error, "no trust bundle");
                Some(error.to_string())
            }
        };
        self.state.lock().bundle_error = error;
    }

    /// Trusts a bundle of the issuer, unless it is older than one that came before: answers may
    /// overtake each other.
    fn adopt_from_issuer(&self, bundle: TrustBundle) {
        {
            let mut state = self.state.lock();
            if bundle.sequence() < state.sequence {
                return;
            }
            state.sequence = bundle.sequence();
        }
        self.adopt(bundle);
    }

    fn adopt(&self, bundle: TrustBundle) {
        if !self.identities.set_bundle(bundle) {
            return;
        }
        tracing::info!(roots = ?self.identities.bundle().roots().len(), "the trust bundle has changed");
        let mut state = self.state.lock();
        for (id, entry) in &mut state.entries {
            let held = self.identities.svid(id);
            if held.is_some_and(|svid| !self.identities.still_trusted(svid.chain())) {
                entry.renew_at = i64::MIN;
            }
        }
    }
}

#[cfg(test)]
mod tests;
