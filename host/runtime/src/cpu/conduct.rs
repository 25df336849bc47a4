//! Whether the guests of a service compute for long again and again.
//!
//! A guest that computes for long leaves its serving thread after its first slice, but many of
//! them take as many first slices, which is most of the processors under an attack. A service may
//! use a fiftieth of one processor for them: less than one in a hundred requests of others meets one
//! where there are two. What is more makes its calls begin in the background,
//! where they still count, until that is less again.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Long computing takes this many times its own length until it is forgotten.
const MEMORY: u32 = 50;
/// What is remembered before calls begin in the background: six milliseconds of first slices at
/// once, which is four or five long calls.
const PATIENCE: Duration = Duration::from_millis(300);
/// What is remembered at most. A service that has become short is back after this time.
const LONGEST_MEMORY: Duration = Duration::from_secs(1);
/// Polls whose CPU time is measured after one that took long by the clock on the wall.
const WATCHED: u32 = 16;

/// What is remembered of a service. The accounting is that of the generic cell rate algorithm
/// (ITU-T I.371, A.1), with time for cells.
pub(super) struct Conduct {
    began: Instant,
    /// When all is forgotten, in nanoseconds after `began`; zero as long as there is nothing.
    forgotten: AtomicU64,
    /// Polls that are still to be measured from their start.
    watched: AtomicU32,
}

impl Conduct {
    pub(super) fn new() -> Self {
        let (forgotten, watched) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { began: Instant::now(), forgotten, watched }
    }

    /// A guest computed for so long in its first slice.
    pub(super) fn computed(&self, time: Duration) {
        let now = self.began.elapsed();
        let (more, most) = (nanos(time * MEMORY), nanos(now + LONGEST_MEMORY));
        let mut known = self.forgotten.load(Ordering::Relaxed);
        while let Err(other) = self.forgotten.compare_exchange_weak(
            known,
            (known.max(nanos(now)) + more).min(most),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            known = other;
        }
    }

    /// Whether its calls begin in the background.
    pub(super) fn stands_back(&self) -> bool {
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        forgotten > 0 && forgotten > nanos(self.began.elapsed() + PATIENCE)
    }

    /// Asks for the CPU time of the next few polls, which costs a system call each.
    pub(super) fn watch(&self) {
        self.watched.store(WATCHED, Ordering::Relaxed);
    }

    /// Whether the CPU time of this poll is asked for.
    pub(super) fn is_watched(&self) -> bool {
        let left = self.watched.load(Ordering::Relaxed);
        if left > 0 {
            // Another thread may count down at the same time; then one more is measured.
            self.watched.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_service_may_use_a_fiftieth_of_a_processor() {
        let conduct = Conduct::new();
        for _ in 0..1_000 {
            tokio::time::advance(SHORT * MEMORY).await;
            conduct.computed(SHORT);
            assert!(!conduct.stands_back());
        }
        // A little at once, and then no more.
        let at_once = (0..100).take_while(|_| {
            conduct.computed(SHORT);
            !conduct.stands_back()
        });
        assert_eq!(at_once.count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_it_did_is_soon_forgotten() {
        let conduct = Conduct::new();
        for _ in 0..100 {
            conduct.computed(Duration::from_secs(1));
        }
        assert!(conduct.stands_back());
        tokio::time::advance(LONGEST_MEMORY - PATIENCE).await;
        assert!(!conduct.stands_back());
    }

    #[tokio::test]
    async fn some_polls_are_measured_when_it_is_asked_for() {
        let conduct = Conduct::new();
        assert!(!conduct.is_watched());
        conduct.watch();
        assert_eq!((0..100).filter(|_| conduct.is_watched()).count(), WATCHED as usize);
    }
}
