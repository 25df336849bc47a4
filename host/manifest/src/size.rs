use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes, written as `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// The text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a size: write a whole number with a unit, B, KiB, MiB, GiB or TiB, as in `64MiB`"
)]
pub struct ByteSizeError(String);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// So many GiB.
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes for what is held in memory; as large as there is where it does not fit.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let parse = || {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = text.split_at_checked(digits)?;
            let factor = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?.1;
            number.parse::<u64>().ok()?.checked_mul(factor)
        };
        parse().map(Self).ok_or_else(|| ByteSizeError(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        let (name, size) = unit.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_bytes_and_come_back_in_the_largest_whole_unit() {
        for (text, bytes, canonical) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1024 KiB", 1 << 20, "1MiB"),
            ("1500B", 1500, "1500B"),
            ("0B", 0, "0B"),
            ("2GiB", 2 << 30, "2GiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.get(), bytes, "{text}");
            assert_eq!(size.to_string(), canonical);
        }
        for bad in ["", "64", "64MB", "MiB", "-1MiB", "1.5MiB", "99999999999TiB", "64mib", "6ä"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
