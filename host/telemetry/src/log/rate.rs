use parking_lot::Mutex;
use tokio::time::Instant;

/// A service's `limits.log-lines-per-second`: so many lines a second, and as many at once.
#[derive(Debug)]
pub struct LineRate {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl LineRate {
    /// A rate of so many lines a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, state: Mutex::new((per_second, Instant::now())) }
    }

    /// Whether one more line may be written now.
    #[must_use]
    pub fn admit(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let (tokens, last) = *state;
        let earned = now.saturating_duration_since(last).as_secs_f64() * self.per_second;
        let tokens = (tokens + earned).min(self.per_second);
        let admitted = tokens >= 1.0;
        *state = (if admitted { tokens - 1.0 } else { tokens }, now);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_one_second_then_the_rate() {
        let rate = LineRate::new(10);
        let taken = |rate: &LineRate| (0..100).filter(|_| rate.admit()).count();
        assert_eq!(taken(&rate), 10);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(taken(&rate), 5);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&rate), 10);
        assert!(!LineRate::new(0).admit());
    }
}
