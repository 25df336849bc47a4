//! Date patterns such as `YYYY-MM-DD HH:mm`, written and read.

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::value::DateValue;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Tokens, longest first within a letter.
const TOKENS: [&str; 45] = [
    "YYYY", "YY", "Y", "Qo", "Q", "MMMM", "MMM", "MM", "Mo", "M", "DDDD", "DDD", "Do", "DD", "D",
    "dddd", "ddd", "dd", "do", "d", "GGGG", "E", "e", "WW", "Wo", "W", "ww", "w", "HH", "H", "hh",
    "h", "kk", "k", "mm", "m", "ss", "s", "SSS", "SS", "S", "A", "a", "X", "x",
];

/// One piece of a pattern.
enum Piece<'a> {
    Token(&'static str),
    Literal(&'a str),
}

/// Splits the first piece from a pattern.
fn piece(pattern: &str) -> Option<(Piece<'_>, &str)> {
    let first = pattern.chars().next()?;
    if first == '['
        && let Some(end) = pattern.find(']')
    {
        return Some((Piece::Literal(&pattern[1..end]), &pattern[end + 1..]));
    }
    let localized = ["LTS", "LT", "LLLL", "LLL", "LL", "L", "llll", "lll", "ll", "l", "ZZ", "Z"];
    for token in localized.into_iter().chain(TOKENS) {
        if let Some(rest) = pattern.strip_prefix(token) {
            return Some((Piece::Token(token), rest));
        }
    }
    let size = first.len_utf8();
    Some((Piece::Literal(&pattern[..size]), &pattern[size..]))
}

/// What a localized token stands for.
fn expansion(token: &str) -> Option<&'static str> {
    Some(match token {
        "LT" => "h:mm A",
        "LTS" => "h:mm:ss A",
        "L" => "MM/DD/YYYY",
        "l" => "M/D/YYYY",
        "LL" => "MMMM D, YYYY",
        "ll" => "MMM D, YYYY",
        "LLL" => "MMMM D, YYYY h:mm A",
        "lll" => "MMM D, YYYY h:mm A",
        "LLLL" => "dddd, MMMM D, YYYY h:mm A",
        "llll" => "ddd, MMM D, YYYY h:mm A",
        _ => return None,
    })
}

/// Writes a moment with a pattern.
pub(crate) fn format(zoned: &Zoned, pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((piece, tail)) = piece(rest) {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Token(token) => match expansion(token) {
                Some(pattern) => out.push_str(&format(zoned, pattern)),
                None => out.push_str(&token_text(zoned, token)),
            },
        }
        rest = tail;
    }
    out
}

fn token_text(z: &Zoned, token: &str) -> String {
    let month = MONTHS[usize::from(z.month().unsigned_abs() - 1) % 12];
    let weekday = z.weekday().to_sunday_zero_offset();
    let day_name = DAYS[usize::from(weekday.unsigned_abs()) % 7];
    let hour12 = match z.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let hour24 = if z.hour() == 0 { 24 } else { z.hour() };
    let quarter = (z.month() - 1) / 3 + 1;
    let first = z.date().first_of_year().weekday().to_sunday_zero_offset();
    let week = (z.day_of_year() - 1 + i16::from(first)) / 7 + 1;
    let iso_week = z.date().iso_week_date();
    match token {
        "YYYY" | "Y" => format!("{:04}", z.year()),
        "YY" => format!("{:02}", z.year().rem_euclid(100)),
        "GGGG" => format!("{:04}", iso_week.year()),
        "Q" => quarter.to_string(),
        "Qo" => ordinal(quarter.into()),
        "MMMM" => month.to_owned(),
        "MMM" => month[..3].to_owned(),
        "MM" => format!("{:02}", z.month()),
        "Mo" => ordinal(z.month().into()),
        "M" => z.month().to_string(),
        "DDDD" => format!("{:03}", z.day_of_year()),
        "DDD" => z.day_of_year().to_string(),
        "DD" => format!("{:02}", z.day()),
        "Do" => ordinal(z.day().into()),
        "D" => z.day().to_string(),
        "dddd" => day_name.to_owned(),
        "ddd" => day_name[..3].to_owned(),
        "dd" => day_name[..2].to_owned(),
        "do" => ordinal(weekday.into()),
        "d" | "e" => weekday.to_string(),
        "E" => z.weekday().to_monday_one_offset().to_string(),
        "WW" => format!("{:02}", iso_week.week()),
        "Wo" => ordinal(iso_week.week().into()),
        "W" => iso_week.week().to_string(),
        "ww" => format!("{week:02}"),
        "w" => week.to_string(),
        "HH" => format!("{:02}", z.hour()),
        "H" => z.hour().to_string(),
        "hh" => format!("{hour12:02}"),
        "h" => hour12.to_string(),
        "kk" => format!("{hour24:02}"),
        "k" => hour24.to_string(),
        "mm" => format!("{:02}", z.minute()),
        "m" => z.minute().to_string(),
        "ss" => format!("{:02}", z.second()),
        "s" => z.second().to_string(),
        "SSS" => format!("{:03}", z.millisecond()),
        "SS" => format!("{:02}", z.millisecond() / 10),
        "S" => (z.millisecond() / 100).to_string(),
        "A" => if z.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "a" => if z.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "X" => z.timestamp().as_second().to_string(),
        "x" => z.timestamp().as_millisecond().to_string(),
        "Z" => offset(z, ":"),
        "ZZ" => offset(z, ""),
        other => other.to_owned(),
    }
}

fn offset(z: &Zoned, separator: &str) -> String {
    let minutes = z.offset().seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

fn ordinal(number: i64) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// The parts read so far.
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    milli: i64,
    afternoon: Option<bool>,
    offset: Option<i64>,
    stamp: Option<i64>,
    has_time: bool,
}

/// Reads a moment with a pattern, in UTC when it names no offset.
pub(crate) fn parse(text: &str, pattern: &str) -> Option<DateValue> {
    let mut parts = Parts {
        year: 2000,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        milli: 0,
        afternoon: None,
        offset: None,
        stamp: None,
        has_time: false,
    };
    let mut left = text.trim();
    read(&mut left, pattern, &mut parts)?;
    if !left.trim().is_empty() {
        return None;
    }
    if let Some(stamp) = parts.stamp {
        return Some(DateValue::utc(jiff::Timestamp::from_millisecond(stamp).ok()?, true));
    }
    if let Some(afternoon) = parts.afternoon {
        parts.hour = parts.hour % 12 + if afternoon { 12 } else { 0 };
    }
    let civil = DateTime::new(
        parts.year.try_into().ok()?,
        parts.month.try_into().ok()?,
        parts.day.try_into().ok()?,
        parts.hour.try_into().ok()?,
        parts.minute.try_into().ok()?,
        parts.second.try_into().ok()?,
        i32::try_from(parts.milli).ok()? * 1_000_000,
    )
    .ok()?;
    let offset = Offset::from_seconds(i32::try_from(parts.offset.unwrap_or(0)).ok()? * 60).ok()?;
    let zoned = civil.to_zoned(TimeZone::fixed(offset)).ok()?;
    Some(DateValue::utc(zoned.timestamp(), parts.has_time))
}

fn read(left: &mut &str, pattern: &str, parts: &mut Parts) -> Option<()> {
    let mut rest = pattern;
    while let Some((piece, tail)) = piece(rest) {
        match piece {
            Piece::Literal(text) if text.trim().is_empty() => *left = left.trim_start(),
            Piece::Literal(text) => *left = left.strip_prefix(text)?,
            Piece::Token(token) => match expansion(token) {
                Some(pattern) => read(left, pattern, parts)?,
                None => read_token(left, token, parts)?,
            },
        }
        rest = tail;
    }
    Some(())
}

fn read_token(left: &mut &str, token: &str, parts: &mut Parts) -> Option<()> {
    match token {
        "YYYY" | "Y" => parts.year = digits(left, 4)?,
        "YY" => {
            let short = digits(left, 2)?;
            parts.year = if short > 68 { 1900 + short } else { 2000 + short };
        }
        "MMMM" | "MMM" => parts.month = named(left, &MONTHS)? + 1,
        "MM" | "M" => parts.month = digits(left, 2)?,
        "DD" | "D" => parts.day = digits(left, 2)?,
        "Do" => {
            parts.day = digits(left, 2)?;
            *left = left.get(2..)?;
        }
        "dddd" | "ddd" => {
            named(left, &DAYS)?;
        }
        "X" => parts.stamp = Some(digits(left, 12)? * 1000),
        "x" => parts.stamp = Some(digits(left, 15)?),
        _ => {
            parts.has_time = true;
            match token {
                "HH" | "H" | "hh" | "h" | "kk" | "k" => parts.hour = digits(left, 2)?,
                "mm" | "m" => parts.minute = digits(left, 2)?,
                "ss" | "s" => parts.second = digits(left, 2)?,
                "SSS" => parts.milli = digits(left, 3)?,
                "A" | "a" => {
                    let word = left.get(..2)?;
                    parts.afternoon = Some(word.eq_ignore_ascii_case("pm"));
                    *left = &left[2..];
                }
                "Z" | "ZZ" => parts.offset = Some(read_offset(left)?),
                _ => return None,
            }
        }
    }
    Some(())
}

fn digits(left: &mut &str, most: usize) -> Option<i64> {
    let count = left.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let number = left[..count].parse().ok()?;
    *left = &left[count..];
    Some(number)
}

/// Reads a full name or its first three letters.
fn named(left: &mut &str, names: &[&str]) -> Option<i64> {
    for (at, name) in names.iter().enumerate() {
        for candidate in [*name, &name[..3]] {
            if left.get(..candidate.len()).is_some_and(|head| head.eq_ignore_ascii_case(candidate))
            {
                *left = &left[candidate.len()..];
                return i64::try_from(at).ok();
            }
        }
    }
    None
}

fn read_offset(left: &mut &str) -> Option<i64> {
    if let Some(rest) = left.strip_prefix('Z') {
        *left = rest;
        return Some(0);
    }
    let sign = match left.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *left = &left[1..];
    let hours = digits(left, 2)?;
    *left = left.strip_prefix(':').unwrap_or(left);
    Some(sign * (hours * 60 + digits(left, 2)?))
}
