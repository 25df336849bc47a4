use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A duration as Istio writes it: `1h30m`, `1.5s`, `25ms`, and `5s` of protobuf's JSON. A number
/// without a unit is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let (part, after) = Self::part(rest)?;
            nanos = nanos.checked_add(part)?;
            rest = after;
        }
        // Protobuf's longest duration is ten thousand years.
        let longest: u128 = 315_576_000_000 * 1_000_000_000;
        if text.is_empty() || nanos > longest {
            return None;
        }
        let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
        let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
        Some(Self(Duration::new(seconds, rest)))
    }

    /// One number with its unit, in nanoseconds, and what follows. Digits below a nanosecond are
    /// dropped, as in Go.
    fn part(text: &str) -> Option<(u128, &str)> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            _ => return None,
        };
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: String = fraction.chars().take(18).collect();
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let nanos = whole.checked_mul(unit)?.checked_add(fraction.checked_mul(unit)? / scale)?;
        Some((nanos, rest))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as `1h`, `1m30s`, `1.5s` or `25ms`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).ok_or_else(|| {
                    E::custom(format_args!(
                        "`{text}` is not a duration; write it as `1h`, `1m30s`, `1.5s` or `25ms`"
                    ))
                })
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expect) in [
            ("0s", Some(Duration::ZERO)),
            ("0", Some(Duration::ZERO)),
            ("1h", Some(Duration::from_secs(3_600))),
            ("1h30m", Some(Duration::from_secs(5_400))),
            ("1.5s", Some(Duration::from_millis(1_500))),
            (".5s", Some(Duration::from_millis(500))),
            ("5.s", Some(Duration::from_secs(5))),
            ("25ms", Some(Duration::from_millis(25))),
            ("3us", Some(Duration::from_micros(3))),
            ("3µs", Some(Duration::from_micros(3))),
            ("0.000000001s", Some(Duration::from_nanos(1))),
            ("0.0000000019s", Some(Duration::from_nanos(1))),
            ("1m0.5s", Some(Duration::from_millis(60_500))),
            ("", None),
            ("5", None),
            ("5 s", None),
            ("-5s", None),
            ("+5s", None),
            ("1d", None),
            ("s", None),
            (".s", None),
            ("1..5s", None),
            ("1e3s", None),
            ("99999999999999999999999999999999999999999h", None),
            ("999999999999h", None),
        ] {
            assert_eq!(Span::parse(text).map(|span| span.0), expect, "{text}");
        }
    }
}
