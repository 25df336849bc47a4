//! Windows of the calendar, in UTC.

use std::time::Duration;

use sdk::{Schema, Text, Timestamp};
use serde::{Deserialize, Serialize};

/// The window of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Window {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

/// A window at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// How long a count is kept after its window, so that it can be written down.
pub(crate) const KEPT_AFTER: Duration = Duration::from_secs(2 * 3600);
const HOUR: i64 = 3_600_000;
const LONGEST: i64 = 366 * 24 * HOUR;

impl Window {
    /// The window that a time is in.
    pub(crate) fn at(self, now: Timestamp) -> Span {
        const DAY: i64 = 86_400;
        match self {
            Self::Day => {
                let start = now.as_seconds().div_euclid(DAY) * DAY;
                Span {
                    start: Timestamp::from_seconds(start),
                    end: Timestamp::from_seconds(start + DAY),
                }
            }
            Self::Month => {
                let (year, month, _) = now.date();
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                let first = |(year, month)| Timestamp::from_date(year, month, 1).unwrap_or(now);
                Span { start: first((year, month)), end: first(next) }
            }
        }
    }
}

impl Span {
    /// The store's windows are aligned to multiples of their period since 1970. This is a period,
    /// in milliseconds, of which one window holds all of this span and [`KEPT_AFTER`]: with a key
    /// of its own the span is counted whole.
    pub(crate) fn period_ms(&self) -> u64 {
        let start = self.start.as_millis();
        let last = (self.end + KEPT_AFTER).as_millis() - 1;
        let shortest = (last - start) / HOUR * HOUR + HOUR;
        let mut period = shortest;
        while start.div_euclid(period) != last.div_euclid(period) && period < LONGEST {
            period += HOUR;
        }
        period.unsigned_abs()
    }

    /// Milliseconds until it ends.
    pub(crate) fn left_ms(&self, now: Timestamp) -> u64 {
        u64::try_from(self.end.since(now).as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_and_end() {
        let rows = [
            (Window::Day, "2026-02-28T23:59:59Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"),
            (Window::Day, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            (Window::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Window::Month, "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ];
        for (window, now, start, end) in rows {
            let span = window.at(now.parse().unwrap());
            assert_eq!(span, Span { start: start.parse().unwrap(), end: end.parse().unwrap() });
        }
    }

    #[test]
    fn one_window_of_the_store_holds_every_window_of_the_calendar() {
        let mut now: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
        let mut longest = [0, 0];
        while now.date().0 < 2100 {
            for (at, window) in [Window::Day, Window::Month].into_iter().enumerate() {
                let span = window.at(now);
                let period = i64::try_from(span.period_ms()).unwrap();
                let last = (span.end + KEPT_AFTER).as_millis() - 1;
                assert_eq!(span.start.as_millis() / period, last / period, "{now}");
                longest[at] = longest[at].max(period / HOUR);
            }
            now = Window::Day.at(now).end;
        }
        // What is forgotten late costs memory.
        assert!(longest[0] <= 24 * 4 && longest[1] <= 24 * 93, "{longest:?}");
    }
}
