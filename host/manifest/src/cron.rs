use std::{fmt, str::FromStr};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::{Serialize, Serializer};

/// Days that are looked at for the next time: February 29 comes again after at most eight years.
const HORIZON_DAYS: u32 = 8 * 366 + 1;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A cron expression of five fields (minute, hour, day of month, month, day of week) in UTC.
///
/// Lists, ranges, steps and names are taken; Sunday is 0 or 7. Where both days are restricted,
/// either is enough (POSIX, `crontab`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    either_day: bool,
}

/// The text is not a cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a cron expression: {reason}")]
pub struct CronError {
    text: String,
    reason: String,
}

impl Cron {
    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first time after `after`; none only at the end of the calendar.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let from = after.to_zoned(TimeZone::UTC).datetime();
        let mut date = from.date();
        // A time of the same minute is not after it, whatever the seconds.
        let mut minute_of_day = i32::from(from.hour()) * 60 + i32::from(from.minute()) + 1;
        for _ in 0..HORIZON_DAYS {
            if self.has_day(date) {
                for at in minute_of_day..24 * 60 {
                    if bit(self.hours, at / 60) && bit(self.minutes, at % 60) {
                        let hour = i8::try_from(at / 60).ok()?;
                        let minute = i8::try_from(at % 60).ok()?;
                        let zoned = date.at(hour, minute, 0, 0).to_zoned(TimeZone::UTC).ok()?;
                        return Some(zoned.timestamp());
                    }
                }
            }
            date = date.checked_add(1.day()).ok()?;
            minute_of_day = 0;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = bit(self.days, i32::from(date.day()));
        let weekday = bit(self.weekdays, i32::from(date.weekday().to_sunday_zero_offset()));
        let fits = if self.either_day { day || weekday } else { day && weekday };
        fits && bit(self.months, i32::from(date.month()))
    }
}

fn bit(set: u64, index: i32) -> bool {
    set >> index & 1 == 1
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fail = |reason: String| CronError { text: text.to_owned(), reason };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(fail(format!(
                "five fields are expected (minute hour day month weekday), not {}",
                fields.len()
            )));
        };
        let mut weekdays = field(weekday, "weekday", 0, 7, &WEEKDAYS).map_err(fail)?;
        if bit(weekdays, 7) {
            weekdays = weekdays & 0x7f | 1;
        }
        let cron = Self {
            text: text.to_owned(),
            minutes: field(minute, "minute", 0, 59, &[]).map_err(fail)?,
            hours: field(hour, "hour", 0, 23, &[]).map_err(fail)?,
            days: field(day, "day", 1, 31, &[]).map_err(fail)?,
            months: field(month, "month", 1, 12, &MONTHS).map_err(fail)?,
            weekdays,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // 2000 begins a cycle of the Gregorian calendar: what never comes from here on never does.
        let start = Timestamp::from_second(946_684_800).unwrap_or(Timestamp::UNIX_EPOCH);
        match cron.next_after(start) {
            Some(_) => Ok(cron),
            None => Err(fail("there is no such day".to_owned())),
        }
    }
}

/// The set of a field as bits. `names` begin at the lowest number.
fn field(text: &str, what: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, String> {
    let number = |text: &str| -> Result<u32, String> {
        if let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(low + u32::try_from(index).unwrap_or(u32::MAX));
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (low..=high).contains(&number) => Ok(number),
            _ => Err(format!("`{text}` is not a {what} from {low} to {high}")),
        }
    };
    let mut set = 0_u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => match step.parse::<u32>() {
                Ok(step) if (1..=high).contains(&step) => (range, Some(step)),
                _ => return Err(format!("`{step}` is not a step of {what}s")),
            },
            None => (part, None),
        };
        let (first, last) = if range == "*" {
            (low, high)
        } else if let Some((first, last)) = range.split_once('-') {
            (number(first)?, number(last)?)
        } else {
            let first = number(range)?;
            (first, if step.is_some() { high } else { first })
        };
        if first > last {
            return Err(format!("the range `{range}` runs backwards"));
        }
        for value in (first..=last).step_by(step.unwrap_or(1) as usize) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_times() {
        for (cron, after, expect) in [
            ("0 3 * * *", "2024-01-01T03:00:00Z", "2024-01-02T03:00:00Z"),
            ("0 3 * * *", "2024-01-01T02:59:59Z", "2024-01-01T03:00:00Z"),
            ("*/15 * * * *", "2024-01-01T00:01:00Z", "2024-01-01T00:15:00Z"),
            ("5/20 * * * *", "2024-01-01T00:30:00Z", "2024-01-01T00:45:00Z"),
            ("0 0 29 2 *", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("0 9 * * mon-fri", "2024-01-05T10:00:00Z", "2024-01-08T09:00:00Z"),
            ("0 0 * * 7", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z"),
            ("0 0 13 * fri", "2024-01-01T00:00:00Z", "2024-01-05T00:00:00Z"),
            ("59 23 31 DEC *", "2024-12-31T23:59:00Z", "2025-12-31T23:59:00Z"),
            ("0,30 1-2 * 1,2 *", "2024-01-01T01:00:30Z", "2024-01-01T01:30:00Z"),
        ] {
            let next = cron.parse::<Cron>().unwrap().next_after(after.parse().unwrap());
            assert_eq!(next, Some(expect.parse().unwrap()), "{cron} after {after}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (cron, reason) in [
            ("0 3 * *", "five fields are expected (minute hour day month weekday), not 4"),
            ("60 * * * *", "`60` is not a minute from 0 to 59"),
            ("* * 0 * *", "`0` is not a day from 1 to 31"),
            ("* 5-3 * * *", "the range `5-3` runs backwards"),
            ("*/0 * * * *", "`0` is not a step of minutes"),
            ("+1 * * * *", "`+1` is not a minute from 0 to 59"),
            ("0 0 31 4 *", "there is no such day"),
            (", * * * *", "`` is not a minute from 0 to 59"),
        ] {
            let error = cron.parse::<Cron>().unwrap_err();
            assert_eq!(error.reason, reason, "{cron}");
        }
    }
}
