//! Values and the conversions between them.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::dates::parse_date_text;
use super::eval::EvalError;

/// What a formula computes with.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Blank,
    Bool(bool),
    Num(f64),
    Text(String),
    Date(DateValue),
    List(Vec<Value>),
}

/// A moment, with the zone its parts are read in.
#[derive(Debug, Clone)]
pub(crate) struct DateValue {
    pub(crate) at: Timestamp,
    pub(crate) has_time: bool,
    pub(crate) zone: TimeZone,
}

impl DateValue {
    /// A moment read in UTC.
    pub(crate) fn utc(at: Timestamp, has_time: bool) -> Self {
        Self { at, has_time, zone: TimeZone::UTC }
    }

    /// The same moment as a calendar reading.
    pub(crate) fn zoned(&self) -> jiff::Zoned {
        self.at.to_zoned(self.zone.clone())
    }

    /// `2024-01-02T03:04:05.000Z`, or only the date when there is no time.
    pub(crate) fn iso(&self) -> String {
        if self.has_time {
            super::dates::iso(self.at)
        } else {
            self.at.to_zoned(TimeZone::UTC).date().to_string()
        }
    }
}

/// A number as text: no exponent, no trailing zeros.
pub(crate) fn number_text(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if number == 0.0 {
        "0".to_owned()
    } else {
        number.to_string()
    }
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Whether a condition holds.
    pub(crate) fn truthy(&self) -> bool {
        match self {
            Self::Blank => false,
            Self::Bool(value) => *value,
            Self::Num(value) => *value != 0.0 && !value.is_nan(),
            Self::Text(value) => !value.is_empty(),
            Self::Date(_) => true,
            Self::List(values) => values.iter().any(Self::truthy),
        }
    }

    /// Whether nothing would be shown for the value.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Blank => true,
            Self::Text(value) => value.is_empty(),
            Self::List(values) => values.iter().all(Self::is_blank),
            _ => false,
        }
    }

    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Blank => String::new(),
            Self::Bool(value) => String::from(if *value { "1" } else { "0" }),
            Self::Num(value) => number_text(*value),
            Self::Text(value) => value.clone(),
            Self::Date(value) => value.iso(),
            Self::List(values) => {
                let parts: Vec<_> = values.iter().map(Self::to_text).collect();
                parts.join(", ")
            }
        }
    }

    pub(crate) fn to_number(&self) -> Result<f64, EvalError> {
        match self {
            Self::Blank => Ok(0.0),
            Self::Bool(value) => Ok(f64::from(u8::from(*value))),
            Self::Num(value) => Ok(*value),
            Self::Text(value) if value.is_empty() => Ok(0.0),
            Self::Text(value) => finite(value).ok_or(EvalError::Error),
            Self::Date(value) => Ok(value.at.as_millisecond() as f64),
            Self::List(values) => match values.as_slice() {
                [] => Ok(0.0),
                [only] => only.to_number(),
                _ => Err(EvalError::Error),
            },
        }
    }

    pub(crate) fn to_date(&self) -> Result<DateValue, EvalError> {
        match self {
            Self::Date(value) => Ok(value.clone()),
            Self::Text(value) => parse_date_text(value).ok_or(EvalError::Error),
            Self::List(values) if values.len() == 1 => values[0].to_date(),
            _ => Err(EvalError::Error),
        }
    }

    /// `=` of the language. An empty cell equals `BLANK()`, `""`, `0` and `FALSE()`.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(values), single) | (single, Self::List(values)) => {
                match (values.as_slice(), single) {
                    (_, Self::List(_)) => self.to_text() == other.to_text(),
                    ([], single) => Self::Blank.equals(single),
                    ([only], single) => only.equals(single),
                    (_, single) => self_text(values) == single.to_text(),
                }
            }
            (Self::Blank, value) | (value, Self::Blank) => match value {
                Self::Num(number) => *number == 0.0,
                Self::Bool(flag) => !flag,
                _ => value.is_blank(),
            },
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Date(left), Self::Date(right)) => left.at == right.at,
            (Self::Date(date), Self::Text(text)) | (Self::Text(text), Self::Date(date)) => {
                parse_date_text(text).is_some_and(|parsed| parsed.at == date.at)
            }
            (Self::Text(text), number) | (number, Self::Text(text)) => number.to_text() == *text,
            (left, right) => match (left.to_number(), right.to_number()) {
                (Ok(left), Ok(right)) => left == right,
                _ => false,
            },
        }
    }

    /// The order for `<` and its kin; none when the two cannot be compared.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Date(left), right) => Some(left.at.cmp(&right.to_date().ok()?.at)),
            (left, Self::Date(right)) => Some(left.to_date().ok()?.at.cmp(&right.at)),
            (left, right) => left.to_number().ok()?.partial_cmp(&right.to_number().ok()?),
        }
    }
}

fn self_text(values: &[Value]) -> String {
    let parts: Vec<_> = values.iter().map(Value::to_text).collect();
    parts.join(", ")
}

/// A plain decimal number; words such as `inf` that the standard parser takes are refused.
fn finite(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
        return None;
    }
    text.parse().ok()
}
