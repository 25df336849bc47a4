//! The simulator's time: the system's, or one that stands still until it is moved.

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Where the time of records, webhooks and formulas comes from.
///
/// Rate limits and network timeouts always run on real time.
#[derive(Debug, Clone, Copy, Default)]
pub enum ClockSource {
    /// The system's clock.
    #[default]
    System,
    /// A fixed start; every reading adds one millisecond, so that order is kept.
    Fixed(Timestamp),
}

/// The running clock.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<State>);

#[derive(Debug)]
struct State {
    fixed: Option<Timestamp>,
    offset: SignedDuration,
}

impl Clock {
    pub(crate) fn new(source: ClockSource) -> Self {
        let fixed = match source {
            ClockSource::System => None,
            ClockSource::Fixed(at) => Some(at),
        };
        Self(Mutex::new(State { fixed, offset: SignedDuration::ZERO }))
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        let mut state = self.0.lock();
        let base = match &mut state.fixed {
            Some(fixed) => {
                *fixed = fixed.saturating_add(SignedDuration::from_millis(1)).unwrap_or(*fixed);
                *fixed
            }
            None => Timestamp::now(),
        };
        base.saturating_add(state.offset).unwrap_or(base)
    }

    /// Moves the time forward.
    pub(crate) fn advance(&self, by: SignedDuration) {
        let mut state = self.0.lock();
        state.offset = state.offset.saturating_add(by);
    }
}

/// `2024-01-02T03:04:05.000Z`
pub(crate) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
