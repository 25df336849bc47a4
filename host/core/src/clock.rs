use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// The wall clock, for moments that are stored or shown. What is waited for in the process uses
/// [`Deadline`](crate::Deadline) and tokio's clock instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// A clock that shows what a function answers, in microseconds since the epoch.
    #[must_use]
    pub fn of(now_micros: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_micros))
    }

    /// The clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, micros)
        }))
    }

    /// A clock that shows `start_micros` now and goes on with tokio's clock, so that a test that
    /// pauses or advances that one moves both.
    #[must_use]
    pub fn simulated(start_micros: i64) -> Self {
        let start = Instant::now();
        Self(Arc::new(move || start_micros.saturating_add(micros(start.elapsed()))))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now_micros(&self) -> i64 {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now_micros()).finish()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_goes_with_tokios() {
        let clock = Clock::simulated(1_000);
        assert_eq!(clock.now_micros(), 1_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now_micros(), 2_001_000);
    }
}
