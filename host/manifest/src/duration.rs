//! Durations as people write them: `500ms`, `30s`, `5m`, `1h`, `30d`.

use std::time::Duration;

use serde::Serializer;

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The duration of a text, or a sentence that says how to write one.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let parse = || {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let millis = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        number.parse::<u64>().ok()?.checked_mul(millis)
    };
    parse().map(Duration::from_millis).ok_or_else(|| {
        format!(
            "`{text}` is not a duration: write a whole number with a unit, ms, s, m, h or d, as in `500ms`"
        )
    })
}

/// In the largest unit that divides it. Manifests know no less than a millisecond.
pub(crate) fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS.iter().find(|(_, size)| millis >= *size && millis.is_multiple_of(*size));
    let (name, size) = unit.unwrap_or(&("s", 1_000));
    format!("{}{name}", millis / size)
}

/// For `serialize_with`.
pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*value))
}

/// For `serialize_with`, where it may be absent.
#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
pub(crate) fn serialize_option<S: Serializer>(
    value: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serialize(value, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_durations_and_come_back_in_the_largest_whole_unit() {
        for (text, millis, canonical) in [
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("24h", 86_400_000, "1d"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format(duration), canonical);
        }
        for bad in ["", "5", "5 s", "1h30m", "-1s", "1.5s", "5µs", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
