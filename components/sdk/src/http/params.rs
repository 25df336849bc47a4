//! Path and query parameters into types.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{CowStrDeserializer, StringDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::{Error, Result};

/// Path parameters: in order for a value or tuple, by name for a struct.
pub(crate) fn from_path<T: DeserializeOwned>(params: &[(&'static str, String)]) -> Result<T> {
    let pairs = params
        .iter()
        .map(|(name, value)| (Cow::Borrowed(*name), vec![Cow::Borrowed(value.as_str())]))
        .collect();
    // An id of the wrong shape names nothing: 404, as for one that does not exist.
    T::deserialize(Pairs { pairs, root: "/path", positional: true }).map_err(|fault| {
        if fault.missing {
            Error::internal(format!("the pattern of the route has no {}", fault.pointer))
        } else {
            Error::not_found("it does not exist")
        }
    })
}

/// Query parameters into a struct.
pub(crate) fn from_query<T: DeserializeOwned>(query: &str) -> Result<T> {
    from_form(query, "/query")
}

/// A form (`application/x-www-form-urlencoded`) into a struct; `root` is where its faults are.
pub(crate) fn from_form<T: DeserializeOwned>(query: &str, root: &'static str) -> Result<T> {
    let mut pairs: Vec<(Cow<'_, str>, Vec<Cow<'_, str>>)> = Vec::new();
    for (name, value) in decode_form(query) {
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => pairs.push((name, vec![value])),
        }
    }
    T::deserialize(Pairs { pairs, root, positional: false })
        .map_err(|fault| Error::violation(fault.pointer, fault.message))
}

/// Names and values of a form.
pub(crate) fn decode_form(form: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(name, true), percent_decode(value, true))
    })
}

/// Undoes percent-encoding; what is not UTF-8 becomes U+FFFD.
#[must_use]
pub fn percent_decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    let encoded = text.contains('%') || (plus_is_space && text.contains('+'));
    if !encoded {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| {
        text.as_bytes()
            .get(at)
            .and_then(|c| char::from(*c).to_digit(16))
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) if plus_is_space => bytes.push(b' '),
            (byte, ..) => bytes.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[derive(Debug)]
struct Fault {
    pointer: String,
    message: String,
    missing: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self { pointer: String::new(), message: message.to_string(), missing: false }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { pointer: format!("/{field}"), message: "is required".to_owned(), missing: true }
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        Self {
            pointer: format!("/{field}"),
            message: "is not a known parameter".to_owned(),
            missing: false,
        }
    }
}

struct Pairs<'a> {
    pairs: Vec<(Cow<'a, str>, Vec<Cow<'a, str>>)>,
    root: &'static str,
    positional: bool,
}

impl<'a> Pairs<'a> {
    fn first(self) -> Result<Values<'a>, Fault> {
        if !self.positional {
            return Err(de::Error::custom("query parameters are read into a struct"));
        }
        let pair = self.pairs.into_iter().next();
        pair.map(|(name, values)| Values { pointer: format!("/path/{name}"), values })
            .ok_or_else(|| de::Error::missing_field("parameter"))
    }
}

struct MapOf<'a> {
    pairs: std::vec::IntoIter<(Cow<'a, str>, Vec<Cow<'a, str>>)>,
    next: Option<Values<'a>>,
    root: &'static str,
}

impl<'de> MapAccess<'de> for MapOf<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((name, values)) = self.pairs.next() else { return Ok(None) };
        self.next = Some(Values { pointer: format!("{}/{name}", self.root), values });
        let name: CowStrDeserializer<'_, Fault> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.next.take() {
            Some(values) => values.place(|values| seed.deserialize(values)),
            None => Err(de::Error::custom("a value without a name")),
        }
    }
}

struct Listed<'a>(std::vec::IntoIter<Values<'a>>);

impl<'de> SeqAccess<'de> for Listed<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|value| value.place(|value| seed.deserialize(value))).transpose()
    }
}

impl<'de> Deserializer<'de> for Pairs<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_any(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let root = self.root;
        visitor.visit_map(MapOf { pairs: self.pairs.into_iter(), next: None, root }).map_err(
            |mut fault| {
                if !fault.pointer.starts_with(root) {
                    fault.pointer.insert_str(0, root);
                }
                fault
            },
        )
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let values: Vec<_> = self
            .pairs
            .into_iter()
            .map(|(name, values)| Values { pointer: format!("/path/{name}"), values })
            .collect();
        visitor.visit_seq(Listed(values.into_iter()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_str(visitor))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_bool(visitor))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_i64(visitor))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_u64(visitor))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.first()?.place(|value| value.deserialize_f64(visitor))
    }

    forward_to_deserialize_any! {
        i8 i16 u8 u16 i128 u128 f32 char bytes byte_buf option unit unit_struct seq tuple_struct
        identifier ignored_any
    }
}

/// The values of one parameter.
struct Values<'a> {
    pointer: String,
    values: Vec<Cow<'a, str>>,
}

impl<'a> Values<'a> {
    fn text(&self) -> &str {
        self.values.first().map_or("", AsRef::as_ref)
    }

    /// Runs a step and adds the pointer to its fault.
    fn place<T>(self, step: impl FnOnce(Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let pointer = self.pointer.clone();
        step(self).map_err(|mut fault| {
            if fault.pointer.is_empty() {
                fault.pointer = pointer;
            }
            fault
        })
    }

    fn parse<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Fault> {
        self.text().parse().map_err(|_| de::Error::custom(format_args!("must be {expected}")))
    }
}

macro_rules! numbers {
    ($($name:ident $visit:ident $expected:literal;)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.parse($expected)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Fault;

    numbers! {
        deserialize_i8 visit_i8 "a whole number";
        deserialize_i16 visit_i16 "a whole number";
        deserialize_i32 visit_i32 "a whole number";
        deserialize_i64 visit_i64 "a whole number";
        deserialize_u8 visit_u8 "a whole number of at least 0";
        deserialize_u16 visit_u16 "a whole number of at least 0";
        deserialize_u32 visit_u32 "a whole number of at least 0";
        deserialize_u64 visit_u64 "a whole number of at least 0";
        deserialize_f32 visit_f32 "a number";
        deserialize_f64 visit_f64 "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            "true" | "1" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(de::Error::custom("must be true or false")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let pointer = self.pointer;
        let values: Vec<_> = self
            .values
            .into_iter()
            .map(|value| Values { pointer: pointer.clone(), values: vec![value] })
            .collect();
        visitor.visit_seq(Listed(values.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if !variants.contains(&self.text()) {
            return Err(de::Error::custom(format_args!("must be one of {}", variants.join(", "))));
        }
        let name: StringDeserializer<Fault> = self.text().to_owned().into_deserializer();
        visitor.visit_enum(name)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Uuid;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Filter {
        limit: Option<u32>,
        #[serde(default)]
        tag: Vec<String>,
        #[serde(default)]
        state: State,
        #[serde(default)]
        deep: bool,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum State {
        #[default]
        Open,
        Closed,
    }

    #[test]
    fn a_query_into_a_struct() {
        let filter: Filter =
            from_query("limit=7&tag=a+b&tag=c%26&state=closed&deep=true&other=1").unwrap();
        assert_eq!(
            filter,
            Filter {
                limit: Some(7),
                tag: vec!["a b".into(), "c&".into()],
                state: State::Closed,
                deep: true
            }
        );
        let rows = [
            ("limit=x", "/query/limit", "must be a whole number of at least 0"),
            ("limit=-1", "/query/limit", "must be a whole number of at least 0"),
            ("state=ajar", "/query/state", "must be one of open, closed"),
            ("deep=yes", "/query/deep", "must be true or false"),
        ];
        for (query, pointer, message) in rows {
            let error = from_query::<Filter>(query).unwrap_err();
            assert_eq!(error.faults()[0].pointer, pointer);
            assert_eq!(error.faults()[0].message, message);
        }
    }

    #[test]
    fn path_parameters_as_value_tuple_and_struct() {
        #[derive(Debug, Deserialize)]
        struct Named {
            id: Uuid,
            n: u16,
        }
        let id = "0192f0c1-2345-7abc-8def-0123456789ab";
        let params = [("id", id.to_owned()), ("n", "7".to_owned())];
        assert_eq!(from_path::<Uuid>(&params).unwrap().to_string(), id);
        assert_eq!(from_path::<String>(&params).unwrap(), id);
        let (first, second): (Uuid, u16) = from_path(&params).unwrap();
        assert_eq!((first.to_string().as_str(), second), (id, 7));
        let named: Named = from_path(&params).unwrap();
        assert_eq!((named.id.to_string().as_str(), named.n), (id, 7));
        assert_eq!(from_path::<Uuid>(&[("id", "x".to_owned())]).unwrap_err().status(), 404);
    }

    #[test]
    fn percent_encoding_both_ways() {
        assert_eq!(percent_decode("a%2Fb%zz+%C3%A4", false), "a/b%zz+ä");
        assert_eq!(percent_decode("%ff", false), "\u{fffd}");
        assert_eq!(percent_encode("a/b ä"), "a%2Fb%20%C3%A4");
    }
}
