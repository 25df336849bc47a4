use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// First status of HTTP (RFC 9110, section 15).
const FIRST: u16 = 100;
/// 100 to 599, and one slot for what is outside.
const SLOTS: usize = 501;

/// A counter for every status: 4 KB, made when the first request arrives. Indexing costs less
/// than hashing, and the set is closed.
#[derive(Debug)]
pub(super) struct Statuses([AtomicU64; SLOTS]);

impl Statuses {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self([const { AtomicU64::new(0) }; SLOTS]))
    }

    pub(super) fn add(&self, status: StatusCode) {
        let slot = usize::from(status.as_u16().saturating_sub(FIRST)).min(SLOTS - 1);
        self.0[slot].fetch_add(1, Ordering::Relaxed);
    }

    /// Statuses that were counted; none stands for those outside 100 to 599.
    pub(super) fn nonzero(&self) -> impl Iterator<Item = (Option<u16>, u64)> + '_ {
        self.0.iter().zip(FIRST..).filter_map(|(counter, status)| {
            let count = counter.load(Ordering::Relaxed);
            (count > 0).then_some(((status < 600).then_some(status), count))
        })
    }

    /// The label's value.
    pub(super) fn label(status: Option<u16>) -> String {
        status.map_or_else(|| "other".to_owned(), |status| status.to_string())
    }
}
