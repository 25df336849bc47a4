use std::fmt;

use airhost_core::{Error, codes};

/// Why the host itself decided about a response: Envoy's response flags, as Istio users know them
/// from the access log and the label `response_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flag {
    /// Connection to the host failed (503).
    UF,
    /// Overflow: a limit of requests, connections or waiting calls was reached (503).
    UO,
    /// No route matched (404 or 405).
    NR,
    /// No healthy endpoint: no active revision (503).
    UH,
    /// The deadline ran out (504).
    UT,
    /// The other side ended the call before it answered (502).
    UC,
    /// The client went away, or was too slow.
    DC,
    /// The circuit breaker is open (503).
    CB,
    /// A local rate limit or egress pace refused it (429).
    RL,
    /// A policy or a missing grant refused it (403).
    DENY,
    /// The node is draining (503).
    DR,
}

impl Flag {
    const ALL: [Self; 11] = [
        Self::UF,
        Self::UO,
        Self::NR,
        Self::UH,
        Self::UT,
        Self::UC,
        Self::DC,
        Self::CB,
        Self::RL,
        Self::DENY,
        Self::DR,
    ];

    /// The flag as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UF => "UF",
            Self::UO => "UO",
            Self::NR => "NR",
            Self::UH => "UH",
            Self::UT => "UT",
            Self::UC => "UC",
            Self::DC => "DC",
            Self::CB => "CB",
            Self::RL => "RL",
            Self::DENY => "DENY",
            Self::DR => "DR",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The flags of one response; written as `UT,DC`, or `-` when there are none.
///
/// It travels as an extension of the response, where no guest can set it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u16);

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// These flags and one more.
    #[must_use]
    pub fn with(self, flag: Flag) -> Self {
        Self(self.0 | flag.bit())
    }

    /// Both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the flag is among them.
    #[must_use]
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// The flags that an error stands for.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let flag = match error.code.as_ref() {
            code if code == codes::CALL_UNREACHABLE.code && error.attrs.iter().any(is_breaker) => Flag::CB,
            code if code == codes::CALL_UNREACHABLE.code || code == codes::CALL_UNKNOWN_HOST.code => Flag::UF,
            code if code == codes::CALL_OVERLOADED.code => Flag::UO,
            code if code == codes::CALL_RESET.code => Flag::UC,
            code if code == codes::CALL_PACED.code => Flag::RL,
            code if code == codes::CALL_DENIED.code => Flag::DENY,
            code if code == codes::REQUEST_NO_ROUTE.code || code == codes::REQUEST_METHOD.code => Flag::NR,
            code if code == codes::GUEST_NO_REVISION.code => Flag::UH,
            code if code == codes::DEADLINE_EXCEEDED.code => Flag::UT,
            code if code == codes::CANCELLED_CALLER.code || code == codes::BODY_TOO_SLOW.code => Flag::DC,
            code if code == codes::CANCELLED_SHUTDOWN.code => Flag::DR,
            _ => return Self::NONE,
        };
        Self::NONE.with(flag)
    }
}

/// The detail (`flag` = `CB`) that tells an open breaker from a refused connection.
pub(crate) const BREAKER_ATTR: (&str, &str) = ("flag", "CB");

fn is_breaker((name, value): &(String, String)) -> bool {
    (name.as_str(), value.as_str()) == BREAKER_ATTR
}

impl From<Flag> for ResponseFlags {
    fn from(flag: Flag) -> Self {
        Self::NONE.with(flag)
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("-");
        }
        let mut first = true;
        for flag in Flag::ALL.into_iter().filter(|flag| self.contains(*flag)) {
            if !std::mem::take(&mut first) {
                f.write_str(",")?;
            }
            f.write_str(flag.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_envoy_writes_them() {
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        assert_eq!(ResponseFlags::from(Flag::DC).with(Flag::UT).to_string(), "UT,DC");
    }

    #[test]
    fn an_error_has_its_flag() {
        let cases = [
            (codes::CALL_OVERLOADED.error("full"), "UO"),
            (codes::GUEST_NO_REVISION.error("none"), "UH"),
            (codes::DEADLINE_EXCEEDED.error("late"), "UT"),
            (codes::CALL_UNREACHABLE.error("refused"), "UF"),
            (codes::CALL_UNREACHABLE.error("open").with("flag", "CB"), "CB"),
            (codes::CALL_PACED.error("wait"), "RL"),
            (codes::INTERNAL.error("other"), "-"),
        ];
        for (error, flag) in cases {
            assert_eq!(ResponseFlags::of(&error).to_string(), flag, "{error}");
        }
    }
}
