//! Values of columns and parameters.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::Value;
use crate::{Timestamp, Uuid};

/// The outcome of a conversion; the text says what was expected.
pub type Conversion<T> = Result<T, &'static str>;

/// What can be a parameter.
pub trait ToValue {
    /// The value in its portable type.
    fn to_value(&self) -> Value;
}

/// What a column can be read into. On SQLite an expression (`max(created_at)`) has lost its
/// portable type, hence each takes every value it can be stored as.
pub trait FromValue: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// If it is of another type.
    fn from_value(value: Value) -> Conversion<Self>;
}

/// Parameters of a statement: `params![id, name, Json(&tags)]` is `$1`, `$2`, `$3`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        $crate::sql::params_of(&[$(&$value as &dyn $crate::sql::ToValue),*])
    };
}

/// What [`params!`](crate::params) expands to.
#[doc(hidden)]
#[must_use]
pub fn params_of(values: &[&dyn ToValue]) -> Vec<Value> {
    // One more for the tenant.
    let mut params = Vec::with_capacity(values.len() + 1);
    params.extend(values.iter().map(|value| value.to_value()));
    params
}

/// A `json` column of any type that serde knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> ToValue for Json<T> {
    fn to_value(&self) -> Value {
        serde_json::to_string(&self.0).map_or(Value::Null, Value::Json)
    }
}

impl<T: DeserializeOwned> FromValue for Json<T> {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Json(text) | Value::Text(text) => {
                serde_json::from_str(&text).map(Self).map_err(|_| "json of the type")
            }
            _ => Err("json"),
        }
    }
}

/// A decimal number of any precision, kept as its digits: an optional sign, digits, and at most
/// one point. A string in JSON, so that no client rounds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest double.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The text is not a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDecimal;

impl fmt::Display for InvalidDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a decimal number such as -12.50")
    }
}

impl std::error::Error for InvalidDecimal {}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    fn from_str(text: &str) -> Result<Self, InvalidDecimal> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        if text.len() <= 200 && all_digits(whole) && all_digits(fraction) {
            Ok(Self(text.strip_prefix('+').unwrap_or(text).to_owned()))
        } else {
            Err(InvalidDecimal)
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

impl ToValue for Value {
    fn to_value(&self) -> Value {
        self.clone()
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Conversion<Self> {
        Ok(value)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

macro_rules! to_value {
    ($($type:ty: $self:ident => $value:expr;)*) => {$(
        impl ToValue for $type {
            fn to_value(&self) -> Value {
                let $self = self;
                $value
            }
        }
    )*};
}

to_value! {
    str: s => Value::Text(s.to_owned());
    String: s => Value::Text(s.clone());
    std::borrow::Cow<'_, str>: s => Value::Text(s.clone().into_owned());
    bool: b => Value::Boolean(*b);
    i64: n => Value::Bigint(*n);
    i32: n => Value::Bigint(i64::from(*n));
    i16: n => Value::Bigint(i64::from(*n));
    u8: n => Value::Bigint(i64::from(*n));
    u16: n => Value::Bigint(i64::from(*n));
    u32: n => Value::Bigint(i64::from(*n));
    f64: n => Value::Double(*n);
    [u8]: b => Value::Bytes(b.to_vec());
    Vec<u8>: b => Value::Bytes(b.clone());
    Uuid: id => Value::Uuid(id.to_string());
    Timestamp: t => Value::Timestamp(t.as_micros());
    Decimal: d => Value::Decimal(d.0.clone());
    serde_json::Value: v => Value::Json(v.to_string());
    crate::Tenant: t => Value::Text(t.as_str().to_owned());
}

impl FromValue for String {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Text(s) | Value::Uuid(s) | Value::Decimal(s) | Value::Json(s) => Ok(s),
            _ => Err("text"),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Boolean(b) => Ok(b),
            Value::Bigint(0) => Ok(false),
            Value::Bigint(1) => Ok(true),
            _ => Err("boolean"),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Bigint(n) | Value::Timestamp(n) => Ok(n),
            Value::Boolean(b) => Ok(Self::from(b)),
            // What `sum` of bigint columns answers on PostgreSQL.
            Value::Decimal(d) => d.parse().map_err(|_| "bigint"),
            _ => Err("bigint"),
        }
    }
}

macro_rules! from_bigint {
    ($($type:ty)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Conversion<Self> {
                i64::from_value(value)?.try_into().map_err(|_| "bigint in range")
            }
        }
    )*};
}

from_bigint!(u8 u16 u32 u64 usize i16 i32);

impl FromValue for f64 {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Double(n) => Ok(n),
            Value::Bigint(n) => Ok(n as Self),
            Value::Decimal(d) => d.parse().map_err(|_| "double"),
            _ => Err("double"),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Bytes(b) => Ok(b),
            _ => Err("bytes"),
        }
    }
}

impl FromValue for Uuid {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Uuid(s) | Value::Text(s) => s.parse().map_err(|_| "uuid"),
            _ => Err("uuid"),
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Timestamp(micros) | Value::Bigint(micros) => Ok(Self::from_micros(micros)),
            _ => Err("timestamp"),
        }
    }
}

impl FromValue for Decimal {
    fn from_value(value: Value) -> Conversion<Self> {
        match value {
            Value::Decimal(s) | Value::Text(s) => s.parse().map_err(|_| "decimal"),
            Value::Bigint(n) => Ok(n.into()),
            Value::Double(n) => {
                serde_json::Value::from(n).to_string().parse().map_err(|_| "decimal")
            }
            _ => Err("decimal"),
        }
    }
}

impl FromValue for serde_json::Value {
    fn from_value(value: Value) -> Conversion<Self> {
        Json::from_value(value).map(|Json(value)| value)
    }
}
