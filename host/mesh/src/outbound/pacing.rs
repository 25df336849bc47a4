//! Pacing of calls to a host outside: never more than its limits allow, fairly between tenants,
//! and never waiting past a call's deadline.
//!
//! A limit is kept exactly: a call may go when the call `rate` places before it is at least `per`
//! ago, so that no window of that length ever has more than `rate` calls. A call that is counted
//! by several limits (a base's and a token's) goes when all of them allow it, and counts in all
//! of them at once.
//!
//! The host counts a call when it arrives there, which is at some time between its departure and
//! its answer. So a call counts from its answer on, and meanwhile as if it had arrived late: two
//! calls that are a second apart here are so there too.

mod queue;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use airhost_core::{Deadline, Priority};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use self::queue::{Lane, Waiter};

/// Calls waiting for one host at most.
const MAX_WAITING: usize = 4_096;
/// Keys whose past is remembered. Beyond it, those without a recent call are forgotten.
const MAX_KEYS: usize = 16_384;
/// Past calls kept per key.
const MAX_LOG: u32 = 256;
/// What is added to `per`: calls do not all take the same time to arrive.
const MARGIN: Duration = Duration::from_millis(10);
/// A call that is not answered counts as having arrived so long after it went.
const ARRIVAL: Duration = Duration::from_millis(500);
/// Longest rest that a `Retry-After` of the host is believed for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Calls...
    pub(crate) rate: u32,
    /// ... in this time.
    pub(crate) per: Duration,
    /// How long a key rests after a 429.
    pub(crate) pause_after_429: Option<Duration>,
}

impl Limit {
    /// The same limit with a short log: `rate/n` in `per/n` for every window is stricter than
    /// `rate` in `per`, and nearly the same for large rates.
    fn shortened(self) -> Self {
        let parts = self.rate.div_ceil(MAX_LOG).max(1);
        Self { rate: (self.rate / parts).max(1), per: self.per / parts, ..self }
    }
}

/// What a call is counted under: the limit's position and the key's value.
pub(crate) type Key = (u8, Box<str>);

/// The call cannot go before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paced {
    /// When it may be tried again.
    pub(crate) retry_after: Duration,
}

/// A call that went.
#[derive(Debug)]
struct Counted {
    id: u64,
    /// When the host has counted it at the latest.
    at: Instant,
}

/// The past of one key.
#[derive(Debug, Default)]
struct Bucket {
    /// The last calls, at most the limit's rate, by when they count.
    calls: VecDeque<Counted>,
    paused_until: Option<Instant>,
}

impl Bucket {
    /// When the `nth` call from now (0 is the next) may go, as `calls` count by then.
    fn ready_at(&self, limit: &Limit, mut nth: usize, now: Instant, calls: Calls) -> Instant {
        let rate = limit.rate as usize;
        let mut later = Duration::ZERO;
        while nth >= rate {
            nth -= rate;
            later += limit.per + MARGIN;
        }
        let place = self.calls.len() + nth;
        let by_rate = match place.checked_sub(rate).and_then(|place| self.calls.get(place)) {
            Some(before) => calls.count(before.at, now) + limit.per + MARGIN,
            None => now,
        };
        by_rate.max(self.paused_until.unwrap_or(now)).max(now) + later
    }

    fn take(&mut self, limit: &Limit, id: u64, now: Instant) {
        if self.calls.len() >= limit.rate as usize {
            self.calls.pop_front();
        }
        self.insert(Counted { id, at: now + ARRIVAL });
    }

    /// The call has been answered: it arrived by now.
    fn answered(&mut self, id: u64, now: Instant) {
        if let Some(place) = self.calls.iter().position(|call| call.id == id && call.at > now) {
            self.calls.remove(place);
            self.insert(Counted { id, at: now });
        }
    }

    fn insert(&mut self, call: Counted) {
        let place = self.calls.partition_point(|before| before.at <= call.at);
        self.calls.insert(place, call);
    }

    fn is_stale(&self, limit: &Limit, now: Instant) -> bool {
        self.calls.back().is_none_or(|last| now.duration_since(last.at) > limit.per + MARGIN)
            && self.paused_until.is_none_or(|until| until <= now)
    }
}

/// How calls under way count.
#[derive(Clone, Copy, Debug)]
enum Calls {
    /// As if they arrived late: for what is sure.
    Late,
    /// As if they were answered now: for what is possible.
    Answered,
}

impl Calls {
    fn count(self, at: Instant, now: Instant) -> Instant {
        match self {
            Self::Late => at,
            Self::Answered => at.min(now),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    buckets: HashMap<Key, Bucket>,
    /// Calls that wait, by what they are counted under.
    lanes: VecDeque<(Vec<Key>, Lane)>,
    waiting: usize,
    next_id: u64,
    driven: bool,
}

/// The limits of one service's calls to one host.
#[derive(Debug)]
pub(crate) struct Pacer {
    limits: Vec<Limit>,
    state: Mutex<State>,
    changed: Notify,
}

impl Pacer {
    pub(crate) fn new(limits: Vec<Limit>) -> Arc<Self> {
        let limits = limits.into_iter().map(Limit::shortened).collect();
        Arc::new(Self { limits, state: Mutex::default(), changed: Notify::new() })
    }

    /// Waits until a call may go, and counts it. `keys` are in the order of the limits. The turn
    /// is to be dropped when the call is answered, or has failed.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        keys: Vec<Key>,
        tenant: &str,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Turn, Paced> {
        let (mut granted, id) = {
            let mut state = self.state.lock();
            let now = Instant::now();
            let earliest = state.earliest(&self.limits, &keys, tenant, priority, now);
            if earliest > deadline.instant() || state.waiting >= MAX_WAITING {
                return Err(Paced { retry_after: (earliest - now).max(Duration::from_millis(1)) });
            }
            let id = state.next_id;
            state.next_id += 1;
            let (waiter, granted) = Waiter::new(id);
            state.enqueue(keys.clone(), tenant, priority, waiter);
            state.pump(&self.limits, now);
            (granted, id)
        };
        let turn = |keys| Turn { pacer: Arc::clone(self), keys, id };
        if granted.try_recv().is_ok() {
            return Ok(turn(keys));
        }
        let place = Place { pacer: self, keys, id };
        self.drive();
        match tokio::time::timeout_at(deadline.instant(), granted).await {
            Ok(Ok(())) => Ok(turn(place.keys.clone())),
            // The sender is dropped only with the pacer, which this call holds.
            Ok(Err(_)) | Err(_) => {
                let state = self.state.lock();
                let now = Instant::now();
                let earliest = state.earliest(&self.limits, &place.keys, tenant, priority, now);
                Err(Paced { retry_after: (earliest - now).max(Duration::from_millis(1)) })
            }
        }
    }

    /// The host answered 429: the keys rest for as long as their limits say, or the host if that
    /// is longer.
    pub(crate) fn refused(&self, keys: &[Key], retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        for key in keys {
            let Some(limit) = self.limits.get(usize::from(key.0)) else { continue };
            let asked = retry_after.unwrap_or(Duration::ZERO).min(LONGEST_PAUSE);
            let pause = limit.pause_after_429.map_or(asked, |pause| pause.max(asked));
            if pause.is_zero() {
                continue;
            }
            let until = now + pause;
            let bucket = state.bucket(&self.limits, key, now);
            bucket.paused_until =
                Some(bucket.paused_until.map_or(until, |before| before.max(until)));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Has someone wake the waiting when their time comes.
    fn drive(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state.lock().driven, true) {
            self.changed.notify_one();
            return;
        }
        let pacer = Arc::clone(self);
        airhost_telemetry::spawn_named("egress-pacer", async move {
            loop {
                let next = {
                    let mut state = pacer.state.lock();
                    let next = state.pump(&pacer.limits, Instant::now());
                    if next.is_none() {
                        state.driven = false;
                    }
                    next
                };
                let Some(next) = next else { return };
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = pacer.changed.notified() => {}
                }
            }
        });
    }
}

impl State {
    fn bucket(&mut self, limits: &[Limit], key: &Key, now: Instant) -> &mut Bucket {
        if self.buckets.len() >= MAX_KEYS && !self.buckets.contains_key(key) {
            self.buckets.retain(|key, bucket| {
                limits.get(usize::from(key.0)).is_some_and(|limit| !bucket.is_stale(limit, now))
            });
        }
        self.buckets.entry(key.clone()).or_default()
    }

    /// A lower bound of when a new call could go: its own tenant's calls go before it.
    fn earliest(
        &self,
        limits: &[Limit],
        keys: &[Key],
        tenant: &str,
        priority: Priority,
        now: Instant,
    ) -> Instant {
        let ahead = self
            .lanes
            .iter()
            .find(|(lane, _)| lane == keys)
            .map_or(0, |(_, lane)| lane.ahead(tenant, priority));
        ready_at(&self.buckets, limits, keys, ahead, now, Calls::Answered)
    }

    fn enqueue(&mut self, keys: Vec<Key>, tenant: &str, priority: Priority, waiter: Waiter) {
        self.waiting += 1;
        if let Some((_, lane)) = self.lanes.iter_mut().find(|(lane, _)| *lane == keys) {
            lane.push(tenant, priority, waiter);
        } else {
            let mut lane = Lane::default();
            lane.push(tenant, priority, waiter);
            self.lanes.push_back((keys, lane));
        }
    }

    fn forget(&mut self, keys: &[Key], id: u64) {
        if let Some(at) = self.lanes.iter().position(|(lane, _)| lane == keys) {
            if self.lanes[at].1.remove(id) {
                self.waiting -= 1;
            }
            if self.lanes[at].1.is_empty() {
                self.lanes.remove(at);
            }
        }
    }

    /// Lets all go that may, lane by lane in turn, and answers when the next one may; none when
    /// nobody waits.
    fn pump(&mut self, limits: &[Limit], now: Instant) -> Option<Instant> {
        loop {
            let mut next: Option<Instant> = None;
            let mut went = false;
            for _ in 0..self.lanes.len() {
                let Some((keys, mut lane)) = self.lanes.pop_front() else { break };
                let ready = ready_at(&self.buckets, limits, &keys, 0, now, Calls::Late);
                if ready > now {
                    next = Some(next.map_or(ready, |next| next.min(ready)));
                } else if let Some(waiter) = lane.pop() {
                    self.waiting -= 1;
                    went = true;
                    let id = waiter.id();
                    if waiter.grant() {
                        for key in &keys {
                            if let Some(limit) = limits.get(usize::from(key.0)) {
                                self.bucket(limits, key, now).take(limit, id, now);
                            }
                        }
                    }
                }
                if !lane.is_empty() {
                    self.lanes.push_back((keys, lane));
                }
            }
            if !went {
                return next;
            }
        }
    }
}

fn ready_at(
    buckets: &HashMap<Key, Bucket>,
    limits: &[Limit],
    keys: &[Key],
    nth: usize,
    now: Instant,
    calls: Calls,
) -> Instant {
    let ready = |key: &Key| {
        let limit = limits.get(usize::from(key.0))?;
        Some(match buckets.get(key) {
            Some(bucket) => bucket.ready_at(limit, nth, now, calls),
            None => Bucket::default().ready_at(limit, nth, now, calls),
        })
    };
    keys.iter().filter_map(ready).max().unwrap_or(now)
}

/// A call that may go, until it is answered.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    pacer: Arc<Pacer>,
    keys: Vec<Key>,
    id: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.pacer.state.lock();
        for key in &self.keys {
            if let Some(bucket) = state.buckets.get_mut(key) {
                bucket.answered(self.id, now);
            }
        }
        // Those that wait may go earlier than it seemed.
        if state.driven {
            self.pacer.changed.notify_one();
        }
    }
}

/// A call's place in the queue, given up when the call is dropped.
struct Place<'a> {
    pacer: &'a Pacer,
    keys: Vec<Key>,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pacer.state.lock().forget(&self.keys, self.id);
    }
}

#[cfg(test)]
mod tests;
