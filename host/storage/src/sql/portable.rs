//! The portable column types and the values they take.

use std::{borrow::Cow, cmp::Ordering};

use airhost_core::{Result, codes};
use serde::de::IgnoredAny;
use sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

use super::Value;

/// A column type that both engines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Portable {
    /// 36 characters of RFC 9562, lower case.
    Uuid,
    /// Exact decimal digits.
    Decimal,
    /// A JSON text.
    Json,
    /// Text without U+0000.
    Text,
    /// Microseconds since the epoch.
    Timestamp,
    /// True or false.
    Boolean,
    /// A 64-bit integer.
    Bigint,
    /// A 64-bit float, never NaN.
    Double,
    /// Bytes.
    Bytes,
}

impl Portable {
    /// The name in migrations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Decimal => "decimal",
            Self::Json => "json",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Double => "double",
            Self::Bytes => "bytes",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Uuid,
            Self::Decimal,
            Self::Json,
            Self::Text,
            Self::Timestamp,
            Self::Boolean,
            Self::Bigint,
            Self::Double,
            Self::Bytes,
        ]
        .into_iter()
        .find(|portable| portable.name() == name)
    }

    /// What a parsed type means; nothing when it is not portable.
    #[must_use]
    pub(crate) fn from_sql(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Uuid => Some(Self::Uuid),
            DataType::Decimal(ExactNumberInfo::None) => Some(Self::Decimal),
            DataType::JSON => Some(Self::Json),
            DataType::Text => Some(Self::Text),
            DataType::Timestamp(None, TimezoneInfo::None) => Some(Self::Timestamp),
            DataType::Boolean => Some(Self::Boolean),
            DataType::BigInt(None) => Some(Self::Bigint),
            DataType::Double(ExactNumberInfo::None) => Some(Self::Double),
            DataType::Bytes(None) => Some(Self::Bytes),
            DataType::Custom(name, arguments) if arguments.is_empty() => {
                name.to_string().eq_ignore_ascii_case("bytes").then_some(Self::Bytes)
            }
            _ => None,
        }
    }

    /// How SQLite stores it.
    pub(crate) fn sqlite(self) -> &'static str {
        match self {
            Self::Uuid | Self::Decimal | Self::Json | Self::Text => "TEXT",
            Self::Timestamp | Self::Boolean | Self::Bigint => "INTEGER",
            Self::Double => "REAL",
            Self::Bytes => "BLOB",
        }
    }

    /// How PostgreSQL stores it.
    pub(crate) fn postgres(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Decimal => "numeric",
            Self::Json => "jsonb",
            Self::Text => "text",
            Self::Timestamp => "timestamptz",
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Double => "double precision",
            Self::Bytes => "bytea",
        }
    }
}

/// Checks a parameter and brings it into the one form that is stored, so that equal values are
/// equal bytes. `expected` is the type of the column it meets, where that is known: texts are
/// taken for `uuid`, `decimal` and `json`, and integers for `double` and `decimal`, as PostgreSQL
/// does; anything else is refused on both engines.
///
/// # Errors
/// `sql.parameter`, with the attribute `parameter` (from 1).
pub(crate) fn conform(value: Value, expected: Option<Portable>, number: usize) -> Result<Value> {
    let value = match (expected, value) {
        (Some(Portable::Uuid), Value::Text(text)) => Value::Uuid(text),
        (Some(Portable::Decimal), Value::Text(text)) => Value::Decimal(text),
        (Some(Portable::Json), Value::Text(text)) => Value::Json(text),
        (Some(Portable::Decimal), Value::Bigint(number)) => Value::Decimal(number.to_string()),
        #[expect(clippy::cast_precision_loss, reason = "PostgreSQL converts bigint to double so")]
        (Some(Portable::Double), Value::Bigint(number)) => Value::Double(number as f64),
        (_, value) => value,
    };
    let refused = |what: &str| {
        Err(codes::SQL_PARAMETER
            .error(format!("parameter ${number} {what}"))
            .with("parameter", number.to_string()))
    };
    if let (Some(expected), Some(given)) = (expected, type_of(&value))
        && expected != given
    {
        return refused(&format!("is {} where {} is needed", given.name(), expected.name()));
    }
    match value {
        Value::Text(text) if text.contains('\0') => refused("holds U+0000"),
        Value::Double(number) if number.is_nan() => refused("is not a number"),
        Value::Uuid(text) => match canonical_uuid(text) {
            Some(uuid) => Ok(Value::Uuid(uuid)),
            None => refused("is not a UUID of 36 characters"),
        },
        Value::Decimal(text) => match canonical_decimal(&text) {
            Some(decimal) => Ok(Value::Decimal(decimal)),
            None => refused("is not a decimal number"),
        },
        Value::Json(text) => match canonical_json(&text) {
            Some(json) => Ok(Value::Json(json)),
            None => refused("is not a JSON text"),
        },
        other => Ok(other),
    }
}

/// The type of a value; none for null.
pub(crate) fn type_of(value: &Value) -> Option<Portable> {
    match value {
        Value::Null => None,
        Value::Boolean(_) => Some(Portable::Boolean),
        Value::Bigint(_) => Some(Portable::Bigint),
        Value::Double(_) => Some(Portable::Double),
        Value::Text(_) => Some(Portable::Text),
        Value::Bytes(_) => Some(Portable::Bytes),
        Value::Timestamp(_) => Some(Portable::Timestamp),
        Value::Uuid(_) => Some(Portable::Uuid),
        Value::Decimal(_) => Some(Portable::Decimal),
        Value::Json(_) => Some(Portable::Json),
    }
}

/// Lower case, if it has the form of RFC 9562.
fn canonical_uuid(mut text: String) -> Option<String> {
    let fits = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    text.make_ascii_lowercase();
    fits.then_some(text)
}

/// Most digits of a decimal on each side of its point.
const DECIMAL_DIGITS: usize = 1000;

/// Without superfluous sign and leading zeros; the scale is kept, as PostgreSQL does.
fn canonical_decimal(text: &str) -> Option<String> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.unwrap_or_default();
    if whole.len() + fraction.len() == 0
        || whole.len() > DECIMAL_DIGITS
        || fraction.len() > DECIMAL_DIGITS
        || !all_digits(whole)
        || !all_digits(fraction)
    {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let is_zero = whole.is_empty() && fraction.bytes().all(|byte| byte == b'0');
    let mut canonical = String::with_capacity(text.len() + 1);
    if negative && !is_zero {
        canonical.push('-');
    }
    canonical.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        canonical.push('.');
        canonical.push_str(fraction);
    }
    Some(canonical)
}

/// Without insignificant white space; numbers and the order of members are kept as given.
/// `\u0000` is refused because PostgreSQL cannot hold it.
fn canonical_json(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut compact = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'"' => {
                let end = end_of_string(bytes, at)?;
                compact.extend_from_slice(&bytes[at..end]);
                at = end;
            }
            other => {
                compact.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8(compact).ok()
}

/// The index after the closing quote of the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if bytes.get(at + 1..at + 6) == Some(b"u0000") => return None,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Orders decimals by value; anything else after them, by bytes. The collation of `decimal`
/// columns on SQLite.
pub(crate) fn compare_decimals(left: &str, right: &str) -> Ordering {
    match (Parts::of(left), Parts::of(right)) {
        (Some(left), Some(right)) => left.compare(&right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

/// A decimal without the zeros that do not count.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fits = !whole.is_empty()
            && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let is_zero = whole.is_empty() && fraction.is_empty();
        fits.then_some(Self { negative: negative && !is_zero, whole, fraction })
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
        }
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        (self.whole.len(), self.whole, self.fraction).cmp(&(
            other.whole.len(),
            other.whole,
            other.fraction,
        ))
    }
}

/// A member (by name) or element (by index, from the end when negative) of a JSON text, compact:
/// the operator `->` as PostgreSQL means it.
pub(crate) fn json_get(json: &str, key: JsonKey<'_>) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let found = match (key, &value) {
        (JsonKey::Name(name), serde_json::Value::Object(members)) => members.get(name)?,
        (JsonKey::Index(index), serde_json::Value::Array(elements)) => {
            let index = match usize::try_from(index) {
                Ok(index) => index,
                Err(_) => {
                    elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
                }
            };
            elements.get(index)?
        }
        _ => return None,
    };
    Some(found.to_string())
}

/// As [`json_get`], as text: strings without quotes, null as nothing. The operator `->>`.
pub(crate) fn json_text(json: &str, key: JsonKey<'_>) -> Option<String> {
    let found = json_get(json, key)?;
    match found.as_bytes().first()? {
        b'n' => None,
        b'"' => serde_json::from_str::<Cow<'_, str>>(&found).ok().map(Cow::into_owned),
        _ => Some(found),
    }
}

/// What is taken out of a JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JsonKey<'a> {
    /// A member of an object.
    Name(&'a str),
    /// An element of an array.
    Index(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_one_form() {
        for (given, canonical) in [
            ("1", Some("1")),
            ("+1.50", Some("1.50")),
            ("-0.00", Some("0.00")),
            ("007", Some("7")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("-12.0340", Some("-12.0340")),
            ("1e3", None),
            ("", None),
            (".", None),
            ("-", None),
            ("1.2.3", None),
            (" 1", None),
            ("NaN", None),
        ] {
            assert_eq!(canonical_decimal(given).as_deref(), canonical, "{given}");
        }
    }

    #[test]
    fn decimals_are_ordered_by_value() {
        let ordered = ["-10.5", "-9", "-0.1", "0", "0.05", "0.5", "1", "1.01", "9", "10", "100"];
        for (i, left) in ordered.iter().enumerate() {
            for (j, right) in ordered.iter().enumerate() {
                assert_eq!(compare_decimals(left, right), i.cmp(&j), "{left} {right}");
            }
        }
        assert_eq!(compare_decimals("1.50", "1.5"), Ordering::Equal);
        assert_eq!(compare_decimals("-0", "0.0"), Ordering::Equal);
    }

    #[test]
    fn json_is_compact_and_checked() {
        for (given, canonical) in [
            (
                " { \"b\" : [ 1 , 2.50e400 ], \"a\":\" x \\\" y \" } ",
                Some("{\"b\":[1,2.50e400],\"a\":\" x \\\" y \"}"),
            ),
            ("null", Some("null")),
            ("", None),
            ("{} {}", None),
            ("{\"a\":}", None),
            ("\"\\u0000\"", None),
            ("\"\\\\u0000\"", Some("\"\\\\u0000\"")),
        ] {
            assert_eq!(canonical_json(given).as_deref(), canonical, "{given}");
        }
    }

    #[test]
    fn json_operators_follow_postgresql() {
        let json = r#"{"a.b":{"c":[1,"two",null,true]}}"#;
        let inner = json_get(json, JsonKey::Name("a.b")).expect("member");
        let list = json_get(&inner, JsonKey::Name("c")).expect("member");
        assert_eq!(list, r#"[1,"two",null,true]"#);
        let text = |index| json_text(&list, JsonKey::Index(index));
        assert_eq!(text(0).as_deref(), Some("1"));
        assert_eq!(text(1).as_deref(), Some("two"));
        assert_eq!(text(2), None);
        assert_eq!(text(-1).as_deref(), Some("true"));
        assert_eq!(text(-5), None);
        assert_eq!(json_text(json, JsonKey::Index(0)), None);
    }

    #[test]
    fn parameters_meet_their_column() {
        let upper = "0190A2B4-0000-7000-8000-0123456789AB";
        let conformed = conform(Value::Text(upper.to_owned()), Some(Portable::Uuid), 1);
        assert_eq!(conformed, Ok(Value::Uuid(upper.to_lowercase())));
        assert_eq!(conform(Value::Bigint(2), Some(Portable::Double), 1), Ok(Value::Double(2.0)));
        for (value, expected) in [
            (Value::Text("1".to_owned()), Some(Portable::Bigint)),
            (Value::Bigint(1), Some(Portable::Boolean)),
            (Value::Text("x\0".to_owned()), None),
            (Value::Double(f64::NAN), None),
            (Value::Uuid("x".to_owned()), None),
        ] {
            let error = conform(value, expected, 3).expect_err("refused");
            assert!(codes::SQL_PARAMETER.is(&error));
            assert_eq!(error.attrs, [("parameter".to_owned(), "3".to_owned())]);
        }
        assert_eq!(conform(Value::Null, Some(Portable::Uuid), 1), Ok(Value::Null));
    }
}
