//! Names of hosts: what a short name means, and tables that are looked up by a host.

use std::{collections::HashMap, fmt, net::IpAddr};

/// Kubernetes' names of services end with this; the mesh keeps them.
const SERVICES: &str = ".svc.cluster.local";
/// Longest name of a host (RFC 1035, section 2.3.4).
const LONGEST: usize = 253;

/// A host in full: lower case, no trailing dot, services as `name.namespace.svc.cluster.local`. It
/// is on the stack, since every call makes one.
pub(super) struct Host {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Host {
    /// What somebody in `namespace` means by `text`. A name without a dot is a service there
    /// (Istio: `ResolveShortnameToFQDN`); `name.namespace`, where the namespace is that one or the
    /// services' own, and `name.namespace.svc` are services too, as the cluster's DNS has it.
    pub(super) fn resolve(text: &str, namespace: &str, services: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut host = Self { bytes: [0; LONGEST], length: 0 };
        host.push(text)?;
        if text.is_empty() || text.starts_with('[') || text.contains(':') {
            return (!text.is_empty()).then_some(host);
        }
        let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        match text.split_once('.') {
            None => {
                host.push(".")?;
                host.push(namespace)?;
                host.push(SERVICES)?;
            }
            Some((_, rest)) if is(rest, namespace) || is(rest, services) => host.push(SERVICES)?,
            Some((_, rest)) => {
                let is_service = rest
                    .split_once('.')
                    .is_some_and(|(namespace, last)| !namespace.is_empty() && is(last, "svc"));
                if is_service {
                    host.push(&SERVICES[".svc".len()..])?;
                }
            }
        }
        Some(host)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    fn push(&mut self, text: &str) -> Option<()> {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end)?;
        place.copy_from_slice(text.as_bytes());
        place.make_ascii_lowercase();
        self.length = end;
        Some(())
    }
}

/// The name and namespace of a service whose host is written in full.
pub(super) fn service_of(host: &str) -> Option<(&str, &str)> {
    let (name, namespace) = host.strip_suffix(SERVICES)?.split_once('.')?;
    (!namespace.contains('.')).then_some((name, namespace))
}

/// A host of a resource in full, or with a leading `*.` all hosts below one; `*` is any host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pattern {
    /// Without `*.`; empty for `*`.
    host: Box<str>,
    wildcard: bool,
}

impl Pattern {
    /// Reads a host as a resource of `namespace` writes it. The error is a sentence.
    pub(super) fn parse(text: &str, namespace: &str, services: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a host: write a service as `name` or `name.namespace`, a host outside as `api.example.com`, all below one as `*.example.com`"
            )
        };
        if text == "*" {
            return Ok(Self { host: "".into(), wildcard: true });
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if !(is_name(name) || (!wildcard && name.parse::<IpAddr>().is_ok())) {
            return Err(wrong());
        }
        if !wildcard {
            let host = Host::resolve(name, namespace, services).ok_or_else(wrong)?;
            return Ok(Self { host: host.as_str().into(), wildcard });
        }
        let name = name.to_ascii_lowercase();
        let host = if name == namespace || name == services {
            format!("{name}{SERVICES}")
        } else if name.split_once('.').is_some_and(|(_, last)| last == "svc") {
            format!("{name}{}", &SERVICES[".svc".len()..])
        } else {
            name
        };
        Ok(Self { host: host.into(), wildcard })
    }

    /// The one host that is meant; none for a wildcard.
    pub(super) fn exact(&self) -> Option<&str> {
        (!self.wildcard).then_some(&*self.host)
    }

    /// Whether it is `*`.
    pub(super) fn is_any(&self) -> bool {
        self.wildcard && self.host.is_empty()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.wildcard, &*self.host) {
            (true, "") => f.write_str("*"),
            (true, host) => write!(f, "*.{host}"),
            (false, host) => f.write_str(host),
        }
    }
}

/// RFC 1123, and `_` as DNS-SD has it.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.len() <= LONGEST && host.split('.').all(label)
}

/// A table by [`Pattern`]. A lookup hashes the host, then each of its parents: what it costs does
/// not depend on how many entries there are.
#[derive(Clone, Debug)]
pub(super) struct HostMap<T> {
    exact: HashMap<Box<str>, T>,
    /// By the host that the wildcard is below.
    below: HashMap<Box<str>, T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new() }
    }
}

impl<T> HostMap<T> {
    pub(super) fn entry(&mut self, pattern: &Pattern) -> &mut T
    where
        T: Default,
    {
        let table = if pattern.wildcard { &mut self.below } else { &mut self.exact };
        table.entry(pattern.host.clone()).or_default()
    }

    pub(super) fn insert(&mut self, pattern: &Pattern, value: T) {
        let table = if pattern.wildcard { &mut self.below } else { &mut self.exact };
        table.insert(pattern.host.clone(), value);
    }

    /// The first answer of the entries that a host matches, the most specific first: the host
    /// itself, then wildcards, the longer before the shorter.
    pub(super) fn find<'t, R>(
        &'t self,
        host: &str,
        mut answer: impl FnMut(&'t T) -> Option<R>,
    ) -> Option<R> {
        if let Some(found) = self.exact.get(host).and_then(&mut answer) {
            return Some(found);
        }
        if self.below.is_empty() {
            return None;
        }
        let parents = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        parents
            .chain(std::iter::once(""))
            .filter_map(|parent| self.below.get(parent))
            .find_map(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_services_and_others_stand_for_themselves() {
        for (text, expect) in [
            ("airtable-connector", "airtable-connector.team.svc.cluster.local"),
            ("Airtable-Connector", "airtable-connector.team.svc.cluster.local"),
            ("airtable-connector.team", "airtable-connector.team.svc.cluster.local"),
            ("airtable-connector.pyairtable", "airtable-connector.pyairtable.svc.cluster.local"),
            ("a.other.svc", "a.other.svc.cluster.local"),
            ("a.other.svc.cluster.local", "a.other.svc.cluster.local"),
            ("a.other.svc.cluster.local.", "a.other.svc.cluster.local"),
            ("a.other", "a.other"),
            ("api.airtable.com", "api.airtable.com"),
            ("API.airtable.com.", "api.airtable.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
        ] {
            let host = Host::resolve(text, "team", "pyairtable").unwrap();
            assert_eq!(host.as_str(), expect, "{text}");
        }
        assert!(Host::resolve("", "team", "pyairtable").is_none());
        assert!(Host::resolve(&"a".repeat(240), "team", "pyairtable").is_none());
    }

    #[test]
    fn hosts_of_resources_are_checked() {
        for (text, expect) in [
            ("*", Some("*")),
            ("*.example.com", Some("*.example.com")),
            ("*.pyairtable", Some("*.pyairtable.svc.cluster.local")),
            ("*.other.svc", Some("*.other.svc.cluster.local")),
            ("*.com", Some("*.com")),
            ("auth-service", Some("auth-service.pyairtable.svc.cluster.local")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("", None),
            ("*foo.com", None),
            ("a.*.com", None),
            ("https://a.com", None),
            ("a.com:443", None),
            ("a..com", None),
            ("-a.com", None),
            ("ä.com", None),
        ] {
            let pattern = Pattern::parse(text, "pyairtable", "pyairtable").ok();
            assert_eq!(pattern.map(|p| p.to_string()).as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn the_most_specific_entry_answers_first() {
        let mut map = HostMap::default();
        for text in ["*", "*.com", "*.example.com", "a.example.com", "*.svc.cluster.local"] {
            map.insert(&Pattern::parse(text, "n", "n").unwrap(), text);
        }
        for (host, expect) in [
            ("a.example.com", &["a.example.com", "*.example.com", "*.com", "*"][..]),
            ("b.example.com", &["*.example.com", "*.com", "*"]),
            ("x.b.example.com", &["*.example.com", "*.com", "*"]),
            ("example.com", &["*.com", "*"]),
            ("aexample.com", &["*.com", "*"]),
            ("a.n.svc.cluster.local", &["*.svc.cluster.local", "*"]),
            ("org", &["*"]),
        ] {
            let mut seen = Vec::new();
            map.find(host, |entry| {
                seen.push(*entry);
                None::<()>
            });
            assert_eq!(seen, expect, "{host}");
        }
    }
}
