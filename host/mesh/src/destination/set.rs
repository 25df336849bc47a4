//! The endpoints of one destination, who of them can be called, and whose turn it is.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::Instant;

use super::{
    balance::{Balancing, Snapshot, Tried},
    endpoint::{Endpoint, EndpointSpec, Picked},
    outlier::{Cause, Detector, Ejection, EjectionCounts, Fired, TryResult, pardon},
};

/// What happened to an endpoint, for the log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointEvent {
    /// It was put out.
    Ejected {
        /// What for.
        cause: Cause,
        /// For how long at least: it returns with the next sweep after that.
        duration: Duration,
    },
    /// It would have been put out, but `maxEjectionPercent` does not allow one more.
    EjectionRefused {
        /// What for.
        cause: Cause,
    },
    /// It was taken back.
    Returned,
    /// It is said to be well, or not.
    Health(bool),
}

/// Is told what happens to endpoints, after it has happened. It must not wait, and must not use
/// the set.
pub type Observe = Arc<dyn Fn(&Endpoint, EndpointEvent) + Send + Sync>;

/// The endpoints of a destination (a subset and port of it).
///
/// A pick reads an immutable snapshot. When endpoints come and go, the state of those that stay
/// goes on: their requests under way, errors in a row and ejections.
pub struct EndpointSet {
    snapshot: ArcSwap<Snapshot>,
    turn: AtomicUsize,
    members: Mutex<Members>,
    observe: Option<Observe>,
}

#[derive(Debug)]
struct Members {
    members: Vec<Member>,
    balancing: Balancing,
    detector: Option<Arc<Detector>>,
    counts: EjectionCounts,
    next_serial: u64,
}

#[derive(Debug)]
struct Member {
    endpoint: Arc<Endpoint>,
    ejection: Ejection,
}

/// What was done under the lock and is told after it.
type Events = Vec<(Arc<Endpoint>, EndpointEvent)>;

/// An endpoint at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// What is known of it.
    pub spec: EndpointSpec,
    /// Requests under way to it.
    pub active: u32,
    /// Whether it is said to be well.
    pub healthy: bool,
    /// How long it has been put out, if it is.
    pub ejected_since: Option<Duration>,
    /// How long it still stays out at least, if it is put out.
    pub ejected_for: Option<Duration>,
    /// How often it was put out.
    pub ejections: u32,
    /// How many times `baseEjectionTime` the next ejection adds to.
    pub multiplier: u32,
    /// Errors in a row, in the order of [`Cause::ALL`].
    pub consecutive: [u32; 3],
}

/// A destination's endpoints at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetStatus {
    /// The endpoints, by id.
    pub endpoints: Vec<EndpointStatus>,
    /// What outlier detection has done.
    pub ejections: EjectionCounts,
    /// Whether so few are well that all are used (`minHealthPercent`).
    pub panic: bool,
}

impl EndpointSet {
    /// A set without endpoints. `first_turn` is where round robin begins: a random number, so that
    /// the nodes of a mesh do not all begin with the same endpoint.
    #[must_use]
    pub fn new(balancing: Balancing, first_turn: usize, observe: Option<Observe>) -> Self {
        let detector = balancing
            .outlier
            .clone()
            .map(|settings| Arc::new(Detector::new(settings, Instant::now(), false)));
        let snapshot = Snapshot::new(Vec::new(), &balancing, detector.clone());
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            turn: AtomicUsize::new(first_turn),
            members: Mutex::new(Members {
                members: Vec::new(),
                balancing,
                detector,
                counts: EjectionCounts::default(),
                next_serial: 0,
            }),
            observe,
        }
    }

    /// Puts these endpoints in the place of those before. Of two with the same id, the first
    /// counts.
    pub fn update(&self, endpoints: impl IntoIterator<Item = EndpointSpec>) {
        let mut members = self.members.lock();
        let before = std::mem::take(&mut members.members).into_iter();
        let id = |member: &Member| Arc::clone(&member.endpoint.spec().id);
        let mut before: HashMap<_, _> = before.map(|member| (id(&member), member)).collect();
        let mut seen = HashSet::new();
        for spec in endpoints {
            if !seen.insert(Arc::clone(&spec.id)) {
                continue;
            }
            let old = before.remove(&spec.id).filter(|old| old.endpoint.spec().is(&spec));
            let member = match old {
                Some(old) if *old.endpoint.spec() == spec => old,
                Some(old) => Member { endpoint: Arc::new(old.endpoint.described(spec)), ..old },
                None => {
                    members.next_serial += 1;
                    let endpoint = Arc::new(Endpoint::fresh(spec, members.next_serial));
                    Member { endpoint, ejection: Ejection::default() }
                }
            };
            members.members.push(member);
        }
        self.publish(&members);
    }

    /// Puts another policy in force. Ejections go on under a changed outlier detection, and end
    /// with it.
    pub fn configure(&self, balancing: Balancing) {
        let mut events = Events::new();
        {
            let mut members = self.members.lock();
            if members.balancing == balancing {
                return;
            }
            if members.balancing.outlier != balancing.outlier {
                members.redetect(&balancing, &mut events);
            }
            members.balancing = balancing;
            self.publish(&members);
        }
        self.tell(events);
    }

    /// Says whether an endpoint is well; new ones are. False when there is none with this id.
    pub fn set_health(&self, id: &str, healthy: bool) -> bool {
        let endpoint = {
            let members = self.members.lock();
            let mut all = members.members.iter();
            let Some(member) = all.find(|member| &*member.endpoint.spec().id == id) else {
                return false;
            };
            if member.endpoint.state().healthy.swap(healthy, Relaxed) == healthy {
                return true;
            }
            self.publish(&members);
            Arc::clone(&member.endpoint)
        };
        self.tell(vec![(endpoint, EndpointEvent::Health(healthy))]);
        true
    }

    /// The endpoint for the next try; none when there is none that is well (503, `UH`).
    ///
    /// `key` is what [`hash_key`](super::hash_key) has made of the request; without one, or
    /// without consistent hashing, it does not matter.
    #[must_use]
    pub fn pick(&self, key: Option<u64>, tried: &Tried, random: &mut impl Rng) -> Option<Picked> {
        let mut snapshot = self.snapshot.load();
        if snapshot.detector.as_ref().is_some_and(|detector| detector.is_due()) {
            self.sweep();
            snapshot = self.snapshot.load();
        }
        let (endpoint, level) = snapshot.pick(key, tried, &self.turn, random)?;
        Some(Picked::new(Arc::clone(endpoint), level))
    }

    /// Notes how a try at an endpoint went; one that failed too often is put out at once.
    pub fn report(&self, endpoint: &Endpoint, result: TryResult) {
        let snapshot = self.snapshot.load();
        let Some(detector) = &snapshot.detector else { return };
        // An error that comes after the end of an ejection is not one of those before it.
        if detector.is_due() {
            self.sweep();
        }
        let fired = detector.count(&endpoint.state().counters, result);
        if fired.any() {
            self.fire(endpoint, fired);
        }
    }

    /// Takes back the endpoints whose time is over. Picks and reports do so by themselves; who
    /// wants to show or measure the state calls it now and then.
    pub fn sweep(&self) {
        let mut events = Events::new();
        {
            let mut members = self.members.lock();
            if members.sweep(Instant::now(), &mut events) {
                self.publish(&members);
            }
        }
        self.tell(events);
    }

    /// How many endpoints there are, well or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.lock().members.len()
    }

    /// Whether there is no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set as it is now.
    #[must_use]
    pub fn status(&self) -> SetStatus {
        self.sweep();
        let now = Instant::now();
        let members = self.members.lock();
        let status = |Member { endpoint, ejection }: &Member| {
            let since = ejection.since.map(|since| now.saturating_duration_since(since));
            let detector = members.detector.as_ref();
            EndpointStatus {
                spec: endpoint.spec().clone(),
                active: endpoint.active(),
                healthy: endpoint.is_healthy(),
                ejected_since: since,
                ejected_for: since.zip(detector).map(|(since, detector)| {
                    detector.duration(ejection.multiplier).saturating_sub(since)
                }),
                ejections: ejection.times,
                multiplier: ejection.multiplier,
                consecutive: Cause::ALL.map(|cause| endpoint.state().counters.get(cause)),
            }
        };
        let mut endpoints: Vec<_> = members.members.iter().map(status).collect();
        endpoints.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        let panic = self.snapshot.load().is_panic();
        SetStatus { endpoints, ejections: members.counts, panic }
    }

    fn fire(&self, endpoint: &Endpoint, fired: Fired) {
        let mut events = Events::new();
        {
            let mut members = self.members.lock();
            if members.fire(endpoint, fired, Instant::now(), &mut events) {
                self.publish(&members);
            }
        }
        self.tell(events);
    }

    /// Under the lock, so that the last snapshot is the newest one.
    fn publish(&self, members: &Members) {
        let endpoints = members.members.iter().map(|member| Arc::clone(&member.endpoint)).collect();
        let snapshot = Snapshot::new(endpoints, &members.balancing, members.detector.clone());
        self.snapshot.store(Arc::new(snapshot));
    }

    fn tell(&self, events: Events) {
        let Some(observe) = &self.observe else { return };
        for (endpoint, event) in events {
            observe(&endpoint, event);
        }
    }
}

impl fmt::Debug for EndpointSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSet").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Members {
    /// The answer is whether endpoints were taken back.
    fn sweep(&mut self, now: Instant, events: &mut Events) -> bool {
        let Some(sweep) = self.detector.as_ref().and_then(|detector| detector.sweep(now)) else {
            return false;
        };
        let before = events.len();
        for Member { endpoint, ejection } in &mut self.members {
            if sweep.visit(ejection, &endpoint.state().counters) {
                endpoint.state().ejected.store(false, Relaxed);
                events.push((Arc::clone(endpoint), EndpointEvent::Returned));
            }
        }
        events.len() > before
    }

    /// Puts an endpoint out for what has fired, if it may be. The answer is whether it was.
    fn fire(
        &mut self,
        endpoint: &Endpoint,
        fired: Fired,
        now: Instant,
        events: &mut Events,
    ) -> bool {
        let Some(detector) = self.detector.clone() else { return false };
        let count = self.members.len();
        let mut ejected =
            self.members.iter().filter(|member| member.ejection.since.is_some()).count();
        let serial = endpoint.state().serial;
        let mut all = self.members.iter_mut();
        // One that has left meanwhile is of no concern.
        let Some(member) = all.find(|member| member.endpoint.state().serial == serial) else {
            return false;
        };
        let mut done = false;
        for cause in fired.causes() {
            if member.ejection.since.is_some() {
                break;
            }
            self.counts.detected[cause as usize] += 1;
            let event = if detector.may_eject(ejected, count) {
                detector.eject(&mut member.ejection, now);
                member.endpoint.state().ejected.store(true, Relaxed);
                self.counts.ejected[cause as usize] += 1;
                ejected += 1;
                done = true;
                let duration = detector.duration(member.ejection.multiplier);
                EndpointEvent::Ejected { cause, duration }
            } else {
                self.counts.refused += 1;
                EndpointEvent::EjectionRefused { cause }
            };
            member.endpoint.state().counters.reset(cause);
            events.push((Arc::clone(&member.endpoint), event));
        }
        done
    }

    /// Begins a detection with other settings, or ends it.
    fn redetect(&mut self, balancing: &Balancing, events: &mut Events) {
        let now = Instant::now();
        // What was over by the settings before is over.
        self.sweep(now, events);
        let out = self.members.iter().any(|member| member.ejection.multiplier > 0);
        self.detector =
            balancing.outlier.clone().map(|settings| Arc::new(Detector::new(settings, now, out)));
        for Member { endpoint, ejection } in &mut self.members {
            // A count beyond a limit that has become smaller would never reach it.
            endpoint.state().counters.reset_all();
            if self.detector.is_some() {
                continue;
            }
            pardon(ejection);
            if endpoint.state().ejected.swap(false, Relaxed) {
                events.push((Arc::clone(endpoint), EndpointEvent::Returned));
            }
        }
    }
}

#[cfg(test)]
mod tests;
