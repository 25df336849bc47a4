//! When ticks are due.

use std::{str::FromStr, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

/// When a tick is due; `every` or `cron` of the manifest's `[ticks]`.
#[derive(Clone, Debug)]
pub struct Schedule(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Microseconds, at least a second.
    Every(i64),
    Cron(Box<Cron>),
}

/// The text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The interval is too short or too long.
    #[error("an interval is 1 s to 366 days")]
    Interval,
    /// Not five fields of cron.
    #[error("`{0}` is not a cron pattern of five fields: minute, hour, day, month, weekday")]
    Cron(String),
    /// No moment ever fits.
    #[error("`{0}` never comes")]
    Never(String),
}

impl Schedule {
    /// Due at every multiple of an interval since the epoch, so that all nodes agree.
    ///
    /// # Errors
    /// Less than a second, or more than 366 days.
    pub fn every(interval: Duration) -> Result<Self, ScheduleError> {
        let allowed = Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 3_600);
        if !allowed.contains(&interval) {
            return Err(ScheduleError::Interval);
        }
        let micros = i64::try_from(interval.as_micros()).map_err(|_| ScheduleError::Interval)?;
        Ok(Self(Kind::Every(micros)))
    }

    /// Due as a cron pattern of five fields says, in UTC.
    ///
    /// # Errors
    /// Not such a pattern, or one that never comes.
    pub fn cron(pattern: &str) -> Result<Self, ScheduleError> {
        let invalid = || ScheduleError::Cron(pattern.chars().take(80).collect());
        if pattern.split_ascii_whitespace().count() != 5 {
            return Err(invalid());
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(pattern).map_err(|_| invalid())?;
        let schedule = Self(Kind::Cron(Box::new(cron)));
        match schedule.after(0) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(pattern.chars().take(80).collect())),
        }
    }

    /// The first moment it is due after another; both in microseconds since the epoch. None
    /// where the calendar ends.
    #[must_use]
    pub fn after(&self, micros: i64) -> Option<i64> {
        match &self.0 {
            Kind::Every(interval) => {
                micros.div_euclid(*interval).checked_add(1)?.checked_mul(*interval)
            }
            Kind::Cron(cron) => {
                let from = Timestamp::from_microsecond(micros).ok()?.to_zoned(TimeZone::UTC);
                let next = cron.find_next_occurrence(&from, false).ok()?;
                Some(next.timestamp().as_microsecond())
            }
        }
    }

    /// The last moment it was due at or before another, if that is after `after`.
    pub(crate) fn latest(&self, after: i64, until: i64) -> Option<i64> {
        match &self.0 {
            Kind::Every(interval) => {
                Some(until.div_euclid(*interval) * interval).filter(|due| *due > after)
            }
            Kind::Cron(cron) => {
                let at = Timestamp::from_microsecond(until).ok()?.to_zoned(TimeZone::UTC);
                let due = cron.find_previous_occurrence(&at, true).ok()?;
                Some(due.timestamp().as_microsecond()).filter(|due| *due > after)
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    /// As [`Schedule::cron`].
    fn from_str(pattern: &str) -> Result<Self, ScheduleError> {
        Self::cron(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(time: &str) -> i64 {
        time.parse::<Timestamp>().expect(time).as_microsecond()
    }

    #[test]
    fn due_times_follow_the_calendar() {
        for (pattern, after, next) in [
            ("0 3 * * *", "2026-02-28T03:00:00Z", "2026-03-01T03:00:00Z"),
            ("*/15 * * * *", "2026-01-01T00:14:59.999999Z", "2026-01-01T00:15:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("30 9 * * MON", "2026-01-01T00:00:00Z", "2026-01-05T09:30:00Z"),
        ] {
            let schedule = Schedule::cron(pattern).expect(pattern);
            assert_eq!(schedule.after(micros(after)), Some(micros(next)), "{pattern}");
            assert_eq!(
                schedule.latest(micros(after), micros(next)),
                Some(micros(next)),
                "{pattern}"
            );
            assert_eq!(schedule.latest(micros(next), micros(next) + 1), None, "{pattern}");
        }
    }

    #[test]
    fn an_interval_is_due_at_its_multiples() {
        let schedule = Schedule::every(Duration::from_secs(60)).expect("a minute");
        let minute = 60_000_000;
        for (after, next) in [(0, minute), (minute - 1, minute), (minute, 2 * minute), (-1, 0)] {
            assert_eq!(schedule.after(after), Some(next), "{after}");
        }
        assert_eq!(schedule.latest(0, 10 * minute + 5), Some(10 * minute));
        assert_eq!(schedule.latest(10 * minute, 10 * minute + 5), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in ["", "* * * *", "* * * * * *", "61 * * * *", "x * * * *", "0 0 30 2 *"] {
            assert!(Schedule::cron(bad).is_err(), "{bad}");
        }
        for bad in
            [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(400 * 24 * 3_600)]
        {
            assert_eq!(Schedule::every(bad).err(), Some(ScheduleError::Interval), "{bad:?}");
        }
    }
}
