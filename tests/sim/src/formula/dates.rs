//! Reading dates and counting between them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::eval::EvalError;
use super::value::DateValue;

/// A unit of time as the date functions name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// Reads `days`, `day` or `d`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.trim() {
            "M" => Self::Month,
            "Q" => Self::Quarter,
            name => match name.to_lowercase().as_str() {
                "milliseconds" | "millisecond" | "ms" => Self::Millisecond,
                "seconds" | "second" | "s" => Self::Second,
                "minutes" | "minute" | "m" => Self::Minute,
                "hours" | "hour" | "h" => Self::Hour,
                "days" | "day" | "d" => Self::Day,
                "weeks" | "week" | "w" => Self::Week,
                "months" | "month" => Self::Month,
                "quarters" | "quarter" => Self::Quarter,
                "years" | "year" | "y" => Self::Year,
                _ => return None,
            },
        })
    }

    /// Milliseconds, for units of a fixed length.
    fn millis(self) -> Option<i64> {
        Some(match self {
            Self::Millisecond => 1,
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Week => 7 * 86_400_000,
            _ => return None,
        })
    }

    /// Months, for the units of the calendar.
    fn months(self) -> i64 {
        match self {
            Self::Year => 12,
            Self::Quarter => 3,
            _ => 1,
        }
    }
}

/// `2024-01-02T03:04:05.000Z`
pub(crate) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The zone with an IANA name.
pub(crate) fn zone_named(name: &str) -> Option<TimeZone> {
    match name {
        "utc" | "UTC" | "GMT" | "client" => Some(TimeZone::UTC),
        name if name.len() > 64 => None,
        name => TimeZone::get(name).ok(),
    }
}

/// Reads an ISO date or date and time, or a few common forms.
pub(crate) fn parse_date_text(text: &str) -> Option<DateValue> {
    let text = text.trim();
    if text.len() > 64 || text.is_empty() {
        return None;
    }
    let midnight = |date: Date| {
        let zoned = date.to_zoned(TimeZone::UTC).ok()?;
        Some(DateValue::utc(zoned.timestamp(), false))
    };
    if !text.contains([':', 'T']) {
        return ["%Y-%m-%d", "%m/%d/%Y", "%Y/%m/%d", "%B %d, %Y", "%B %d %Y", "%d %B %Y"]
            .iter()
            .find_map(|format| Date::strptime(format, text).ok())
            .and_then(midnight);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(DateValue::utc(at, true));
    }
    let civil = text.parse::<DateTime>().ok().or_else(|| {
        ["%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M%P", "%B %d, %Y %I:%M%P"]
            .iter()
            .find_map(|format| DateTime::strptime(format, text).ok())
    })?;
    Some(DateValue::utc(civil.to_zoned(TimeZone::UTC).ok()?.timestamp(), true))
}

/// Moves a date by a whole number of units.
pub(crate) fn add(date: &DateValue, count: f64, unit: Unit) -> Result<DateValue, EvalError> {
    let count = count.trunc() as i64;
    let span = match unit {
        Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour => {
            let millis = unit.millis().and_then(|each| each.checked_mul(count));
            Span::new().try_milliseconds(millis.ok_or(EvalError::Error)?)
        }
        Unit::Day => Span::new().try_days(count),
        Unit::Week => Span::new().try_weeks(count),
        _ => Span::new().try_months(count.checked_mul(unit.months()).ok_or(EvalError::Error)?),
    };
    let moved = span.and_then(|span| date.zoned().checked_add(span));
    let at = moved.map_err(|_| EvalError::Error)?.timestamp();
    let has_time = date.has_time || !matches!(unit.millis(), None | Some(86_400_000..));
    Ok(DateValue { at, has_time, zone: date.zone.clone() })
}

/// Whole units from `right` to `left`, cut towards zero.
pub(crate) fn difference(left: &DateValue, right: &DateValue, unit: Unit) -> f64 {
    if let Some(millis) = unit.millis() {
        let between = left.at.as_millisecond() - right.at.as_millisecond();
        return (between / millis) as f64;
    }
    let (left, right) = (left.zoned(), right.zoned());
    let sign = if left < right { -1 } else { 1 };
    let (late, early) = if sign < 0 { (&right, &left) } else { (&left, &right) };
    let mut months = month_number(late) - month_number(early);
    if (late.day(), late.time()) < (early.day(), early.time()) {
        months -= 1;
    }
    (sign * (months / unit.months())) as f64
}

/// A number of the period that holds the date: equal for dates in the same period.
pub(crate) fn period(date: &DateValue, unit: Unit) -> i64 {
    let zoned = date.zoned();
    let day = || {
        let since = zoned.date().since(Date::constant(1970, 1, 4));
        since.map_or(0, |span| i64::from(span.get_days()))
    };
    match unit {
        Unit::Day => day(),
        Unit::Week => day().div_euclid(7),
        Unit::Month | Unit::Quarter | Unit::Year => month_number(&zoned).div_euclid(unit.months()),
        _ => date.at.as_millisecond().div_euclid(unit.millis().unwrap_or(1)),
    }
}

fn month_number(zoned: &Zoned) -> i64 {
    i64::from(zoned.year()) * 12 + i64::from(zoned.month()) - 1
}
