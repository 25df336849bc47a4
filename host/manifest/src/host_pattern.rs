use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};

/// Which hosts outside are meant: one host, or with a leading `*.` every host under a name (of
/// any depth, but not the name itself); with `:port` that port, else the scheme's own. Compared
/// without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    /// In lower case, without `*.`; an IPv6 address without brackets.
    host: String,
    wildcard: bool,
    port: Option<u16>,
}

/// The text is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host: write a name as `api.example.com`, `*.example.com` or an address, with `:port` if it is not the scheme's own, and no scheme or path"
)]
pub struct HostPatternError(String);

impl HostPattern {
    /// Whether a host and port are meant; `own` is the port of the scheme that is spoken.
    /// An IPv6 address may be in brackets.
    #[must_use]
    pub fn matches(&self, host: &str, port: u16, own: u16) -> bool {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        self.port.unwrap_or(own) == port && self.matches_name(host)
    }

    /// Whether every host that `other` means is meant by this one too, both under a scheme whose
    /// port is `own`.
    #[must_use]
    pub fn covers(&self, other: &Self, own: u16) -> bool {
        if self.port.unwrap_or(own) != other.port.unwrap_or(own) {
            return false;
        }
        match (self.wildcard, other.wildcard) {
            (_, false) => self.matches_name(&other.host),
            (true, true) => self.host == other.host || self.matches_name(&other.host),
            (false, true) => false,
        }
    }

    /// The port, if the pattern names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The name of the one host it means; none for a wildcard.
    #[must_use]
    pub fn exact_host(&self) -> Option<&str> {
        (!self.wildcard).then_some(&*self.host)
    }

    fn matches_name(&self, host: &str) -> bool {
        if !self.wildcard {
            return host.eq_ignore_ascii_case(&self.host);
        }
        let Some(cut) = host.len().checked_sub(self.host.len()) else { return false };
        let (Some(front), Some(back)) = (host.get(..cut), host.get(cut..)) else { return false };
        back.eq_ignore_ascii_case(&self.host) && front.len() > 1 && front.ends_with('.')
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        parse(text).ok_or_else(|| HostPatternError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<HostPattern> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (address, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some(port.parse::<u16>().ok().filter(|port| *port > 0)?)
        }
        Some(_) => return None,
        None => None,
    };
    let host = host.to_ascii_lowercase();
    let (wildcard, host) = match host.strip_prefix("*.") {
        Some(suffix) => (true, suffix.to_owned()),
        None => (false, host),
    };
    let address = host.parse::<IpAddr>().is_ok();
    let valid = if address { !wildcard } else { is_name(&host) };
    // `*.com` would be half of the internet.
    if !valid || (wildcard && !host.contains('.')) {
        return None;
    }
    Some(HostPattern { host, wildcard, port })
}

/// RFC 1123 host name. A last label of digits would be read as an IPv4 address (WHATWG URL).
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && host.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn only_hosts_are_patterns() {
        for good in [
            "api.airtable.com",
            "API.Airtable.com:8443",
            "*.example.com",
            "127.0.0.1:9000",
            "[::1]:80",
            "localhost",
        ] {
            let parsed = pattern(good);
            assert_eq!(pattern(&parsed.to_string()), parsed, "{good}");
        }
        for bad in [
            "",
            "*",
            "*.com",
            "a.*.com",
            "https://a.com",
            "a.com/path",
            "a.com:0",
            "a.com:99999",
            "a.com:",
            "a.com:+1",
            "*.127.0.0.1",
            "1.2.3",
            "-a.com",
            "a..com",
            "ä.com",
            "[::1",
            "::1",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_hosts_and_ports() {
        for (text, host, port, expect) in [
            ("api.airtable.com", "api.airtable.com", 443, true),
            ("api.airtable.com", "API.AIRTABLE.COM", 443, true),
            ("api.airtable.com", "api.airtable.com", 8443, false),
            ("api.airtable.com", "api.airtable.com.", 443, false),
            ("api.airtable.com:8443", "api.airtable.com", 8443, true),
            ("api.airtable.com:8443", "api.airtable.com", 443, false),
            ("*.example.com", "a.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
            ("*.example.com", "aexample.com", 443, false),
            ("*.example.com", "ä.example.com", 443, true),
            ("*.example.com", "example.com.evil.org", 443, false),
            ("[::1]:443", "[::1]", 443, true),
        ] {
            assert_eq!(pattern(text).matches(host, port, 443), expect, "{text} {host}:{port}");
        }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (outer, inner, expect) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "*.a.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("*.a.example.com", "*.example.com", false),
            ("a.example.com", "*.a.example.com", false),
            ("*.example.com", "example.com", false),
            ("a.com", "a.com:443", true),
            ("a.com", "a.com:444", false),
        ] {
            assert_eq!(pattern(outer).covers(&pattern(inner), 443), expect, "{outer} {inner}");
        }
    }
}
