//! Lock-out: after some failures in a row a name is refused for a time that doubles with each
//! further failure, up to a limit, so that nobody is locked out for good by others.

use std::time::Duration;

/// When a name is locked, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Failures in a row that lock.
    pub(crate) after: i64,
    /// How long the first time.
    pub(crate) first: Duration,
    /// How long at most.
    pub(crate) most: Duration,
}

impl Policy {
    /// How long the name is locked after so many failures in a row.
    pub(crate) fn locked_for(self, failures: i64) -> Option<Duration> {
        let doublings = u32::try_from(failures - self.after).ok()?;
        Some(self.first.saturating_mul(2u32.saturating_pow(doublings.min(31))).min(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_doubles_up_to_the_limit() {
        let policy =
            Policy { after: 5, first: Duration::from_secs(30), most: Duration::from_secs(900) };
        let rows =
            [(0, None), (4, None), (5, Some(30)), (6, Some(60)), (9, Some(480)), (10, Some(900))];
        for (failures, seconds) in rows {
            assert_eq!(policy.locked_for(failures), seconds.map(Duration::from_secs), "{failures}");
        }
        assert_eq!(policy.locked_for(i64::from(u32::MAX)), Some(Duration::from_secs(900)));
    }
}
