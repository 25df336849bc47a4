use std::time::Duration;

/// How long to wait before trying again: doubling from `first` to `most`, with equal jitter (half
/// of the wait is fixed, half is random), so that what failed together does not come back
/// together and never comes back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, before jitter.
    pub first: Duration,
    /// No wait is longer.
    pub most: Duration,
}

impl Backoff {
    /// From `first` to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The wait after so many failures in a row; none after 0.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.first.saturating_mul(1 << (failures - 1).min(30));
        let wait = doubled.min(self.most);
        wait / 2 + (wait / 2).mul_f64(fraction())
    }
}

/// A random number of 0 to 1; 1 where the system has no randomness, which is the longest wait.
fn fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3_600));
        assert_eq!(backoff.after(0), Duration::ZERO);
        for (failures, seconds) in
            [(1, 1), (2, 2), (5, 16), (12, 2_048), (13, 3_600), (u32::MAX, 3_600)]
        {
            let most = Duration::from_secs(seconds);
            for _ in 0..50 {
                let wait = backoff.after(failures);
                assert!(wait >= most / 2 && wait <= most, "{failures}: {wait:?}");
            }
        }
    }
}
