use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

/// Most services with a ring. Names come from deploys, so that this is never reached.
const MAX_RINGS: usize = 1024;
/// Lines that a follower may be behind before it misses some.
const FOLLOW_LINES: usize = 1024;

/// Recent lines by service.
#[derive(Debug)]
pub(super) struct Rings {
    bytes: usize,
    rings: RwLock<HashMap<Box<str>, Arc<Ring>>>,
}

#[derive(Debug)]
struct Ring {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    /// Made by the first follower.
    live: Option<broadcast::Sender<Arc<str>>>,
}

impl Rings {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, rings: RwLock::default() }
    }

    pub(super) fn push(&self, service: &str, line: &Arc<str>) {
        let Some(ring) = self.ring(service) else { return };
        let mut state = ring.state.lock();
        state.bytes += cost(line);
        state.lines.push_back(Arc::clone(line));
        while state.bytes > self.bytes {
            let Some(oldest) = state.lines.pop_front() else { break };
            state.bytes -= cost(&oldest);
        }
        if let Some(live) = &state.live
            && live.send(Arc::clone(line)).is_err()
        {
            state.live = None;
        }
    }

    pub(super) fn recent(&self, service: &str) -> Vec<Arc<str>> {
        let ring = self.rings.read().get(service).cloned();
        ring.map(|ring| ring.state.lock().lines.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn follow(&self, service: &str) -> Follow {
        let Some(ring) = self.ring(service) else {
            return Follow { backlog: VecDeque::new(), live: None };
        };
        let mut state = ring.state.lock();
        let sender = state.live.get_or_insert_with(|| broadcast::channel(FOLLOW_LINES).0);
        let live = sender.subscribe();
        // Under the same lock as `push`: nothing is missed or there twice.
        Follow { backlog: state.lines.clone(), live: Some(live) }
    }

    fn ring(&self, service: &str) -> Option<Arc<Ring>> {
        if let Some(ring) = self.rings.read().get(service) {
            return Some(Arc::clone(ring));
        }
        let mut rings = self.rings.write();
        if rings.len() >= MAX_RINGS && !rings.contains_key(service) {
            return None;
        }
        let new = || {
            let state = State { lines: VecDeque::new(), bytes: 0, live: None };
            Arc::new(Ring { state: Mutex::new(state) })
        };
        Some(Arc::clone(rings.entry(service.into()).or_insert_with(new)))
    }
}

/// A line with its counters and its place in the ring.
fn cost(line: &Arc<str>) -> usize {
    line.len() + 32
}

/// Recent lines of a service, then those to come.
#[derive(Debug)]
pub struct Follow {
    backlog: VecDeque<Arc<str>>,
    live: Option<broadcast::Receiver<Arc<str>>>,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A line, as JSON.
    Line(Arc<str>),
    /// So many lines were missed because the follower was too slow.
    Missed(u64),
}

impl Follow {
    /// The next line; none when the log has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Followed> {
        if let Some(line) = self.backlog.pop_front() {
            return Some(Followed::Line(line));
        }
        match self.live.as_mut()?.recv().await {
            Ok(line) => Some(Followed::Line(line)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Followed::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
