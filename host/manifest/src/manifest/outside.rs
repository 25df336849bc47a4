//! What a service may reach outside, how fast, and with which secrets.

use std::{fmt, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use super::is_off;
use crate::{
    HostPattern, SecretPattern,
    decode::{Field, Section},
    duration,
};

const HOUR: Duration = Duration::from_secs(3_600);
/// Where the value of a secret goes.
const SECRET: &str = "{secret}";
/// Where the `secret-scope` of a call goes.
const SCOPE: &str = "{scope}";
/// Fields that frame the message or belong to the connection (RFC 9110, 7.6.1), or that the host
/// sets itself.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A host outside that a service may call, `[[egress]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Egress {
    /// Which hosts.
    pub host: HostPattern,
    /// How they are spoken to.
    pub scheme: Scheme,
    /// Whether the name may resolve to loopback, private and link-local addresses.
    #[serde(skip_serializing_if = "is_off")]
    pub private: bool,
    /// How fast, all nodes together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pace: Vec<Pace>,
}

/// The scheme of a call outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Over TLS.
    #[default]
    Https,
    /// In the clear.
    Http,
}

/// A limit of the calls to a host, `[[egress.pace]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pace {
    /// What is counted apart.
    pub key: PaceKey,
    /// Calls in `per`, 1 to 1 000 000.
    pub rate: u32,
    /// 1 ms to 1 h.
    #[serde(serialize_with = "duration::serialize")]
    pub per: Duration,
    /// How long the key rests after an answer of 429, up to 1 h.
    #[serde(
        rename = "pause-after-429",
        skip_serializing_if = "Option::is_none",
        serialize_with = "duration::serialize_option"
    )]
    pub pause_after_429: Option<Duration>,
}

/// What a pace counts apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaceKey {
    /// A segment of the path, 1 for the first, at most 16.
    Path(u8),
    /// The first segment of the path that begins with this: 1 to 32 letters, digits, `-` and `_`.
    /// For what is named at different depths of the paths of an API.
    Prefix(Box<str>),
    /// The secret that is injected.
    Credential,
    /// The host.
    Host,
}

/// What a service may use of the vault, `[secrets]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Secrets {
    /// Names it may put and use by handle; any of them grants `context/secrets`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SecretPattern>,
    /// What the host adds to calls outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<Injection>,
}

/// A header field with a secret in it that the host adds to calls, `[[secrets.inject]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Injection {
    /// Calls to these hosts.
    pub host: HostPattern,
    /// The field's name, in lower case.
    pub header: String,
    /// The field's value with `{secret}` in it.
    pub value: String,
    /// The name in the vault; `{scope}` in it is the call's attribute `secret-scope`.
    pub secret: String,
}

impl Egress {
    /// Whether a call is to this entry.
    #[must_use]
    pub fn allows(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        self.scheme == scheme && self.host.matches(host, port, scheme.port())
    }

    pub(super) fn decode(section: Section<'_>) -> Option<Self> {
        let host = section.required("host", "\"api.example.com\"").and_then(|f| f.parse());
        let scheme = section.get("scheme");
        let scheme =
            scheme.and_then(|f| f.choice(&[("https", Scheme::Https), ("http", Scheme::Http)]));
        let private = section.get("private").and_then(|f| f.flag());
        let mut pace: Vec<Pace> = Vec::new();
        for (entry, place) in section.get("pace").map(|f| f.sections()).unwrap_or_default() {
            let Some(next) = Pace::decode(entry) else { continue };
            if pace.iter().any(|other| other.key == next.key) {
                let key = next.key;
                place.fail(format!("pace `{key}` is there twice for this host; remove one"));
            } else {
                pace.push(next);
            }
        }
        section.finish(super::parse::belongs);
        Some(Self {
            host: host?,
            scheme: scheme.unwrap_or_default(),
            private: private.unwrap_or_default(),
            pace,
        })
    }
}

impl Scheme {
    /// The port that is meant where none is named.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }

    /// As in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

impl Pace {
    fn decode(section: Section<'_>) -> Option<Self> {
        let key = section.required("key", "\"host\"").and_then(|f| f.parse());
        let rate = section.required("rate", "5").and_then(|f| f.integer(1..=1_000_000));
        let per = section.required("per", "\"1s\"");
        let per = per.and_then(|f| f.duration(Duration::from_millis(1)..=HOUR));
        let pause = section.get("pause-after-429");
        let pause = pause.and_then(|f| f.duration(Duration::from_millis(1)..=HOUR));
        section.finish(super::parse::belongs);
        Some(Self { key: key?, rate: rate?, per: per?, pause_after_429: pause })
    }
}

/// The text is not the key of a pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown pace key `{0}`; use `path:2` (the second segment of the path, 1 to 16), `segment:app` (the first segment that begins with `app`), `credential` or `host`"
)]
pub struct PaceKeyError(String);

impl FromStr for PaceKey {
    type Err = PaceKeyError;

    fn from_str(text: &str) -> Result<Self, PaceKeyError> {
        match text {
            "credential" => return Ok(Self::Credential),
            "host" => return Ok(Self::Host),
            _ => {}
        }
        if let Some(prefix) = text.strip_prefix("segment:") {
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if (1..=32).contains(&prefix.len()) && prefix.bytes().all(known) {
                return Ok(Self::Prefix(prefix.into()));
            }
        }
        text.strip_prefix("path:")
            .filter(|segment| segment.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|segment| segment.parse().ok())
            .filter(|segment| (1..=16).contains(segment))
            .map(Self::Path)
            .ok_or_else(|| PaceKeyError(text.to_owned()))
    }
}

impl fmt::Display for PaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(segment) => write!(f, "path:{segment}"),
            Self::Prefix(prefix) => write!(f, "segment:{prefix}"),
            Self::Credential => f.write_str("credential"),
            Self::Host => f.write_str("host"),
        }
    }
}

impl Serialize for PaceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Secrets {
    /// Whether a guest may use a name.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }

    /// Reads `[secrets]`; rules of injection are held against the egress that was read before.
    pub(super) fn decode(section: Section<'_>, egress: &[Egress]) -> Self {
        let names = section.get("names").map(|f| f.distinct::<SecretPattern>());
        let names = names.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
        let mut secrets = Self { names, inject: Vec::new() };
        for (entry, place) in section.get("inject").map(|f| f.sections()).unwrap_or_default() {
            let Some(next) = Injection::decode(entry, &secrets.names, egress) else { continue };
            let same = |o: &Injection| o.host == next.host && o.header == next.header;
            if secrets.inject.iter().any(same) {
                let (host, header) = (&next.host, &next.header);
                place.fail(format!("`{header}` is injected into `{host}` twice; remove one"));
            } else {
                secrets.inject.push(next);
            }
        }
        section.finish(super::parse::belongs);
        secrets
    }
}

impl Injection {
    /// The name in the vault for a call with this `secret-scope`; none if the rule asks for a
    /// scope and there is none.
    #[must_use]
    pub fn secret_name(&self, scope: Option<&str>) -> Option<String> {
        if !self.secret.contains(SCOPE) {
            return Some(self.secret.clone());
        }
        scope.filter(|scope| !scope.is_empty()).map(|scope| self.secret.replace(SCOPE, scope))
    }

    /// The field's value for a secret.
    #[must_use]
    pub fn value_with(&self, secret: &str) -> String {
        self.value.replace(SECRET, secret)
    }

    fn decode(section: Section<'_>, names: &[SecretPattern], egress: &[Egress]) -> Option<Self> {
        let host_field = section.required("host", "\"api.example.com\"");
        let host = host_field.as_ref().and_then(|f| f.parse::<HostPattern>());
        if let (Some(field), Some(host)) = (&host_field, &host) {
            check_host(field, host, egress);
        }
        let header = section.required("header", "\"authorization\"").and_then(|f| header(&f));
        let value = section.required("value", "\"Bearer {secret}\"").and_then(|f| value(&f));
        let secret_field = section.required("secret", "\"connection/{scope}\"");
        let secret = secret_field.as_ref().and_then(|f| secret(f, names));
        section.finish(super::parse::belongs);
        Some(Self { host: host?, header: header?, value: value?, secret: secret? })
    }
}

fn check_host(field: &Field<'_>, host: &HostPattern, egress: &[Egress]) {
    let covers = |e: &&Egress| e.host.covers(host, e.scheme.port());
    match egress.iter().find(covers) {
        None => {
            field.fail(format!("`{host}` is not in [[egress]]; add it there, or remove this rule"))
        }
        Some(entry) if entry.scheme == Scheme::Http && !entry.private => field.fail(format!(
            "a secret would go to `{host}` in the clear; use `scheme = \"https\"` in its [[egress]]"
        )),
        Some(_) => {}
    }
}

fn header(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        field.fail(format!("`{text}` is not the name of a header field"));
        return None;
    };
    if FRAMING.contains(&name.as_str()) {
        field.fail(format!("`{name}` is set by the host and cannot be injected"));
        return None;
    }
    Some(name.as_str().to_owned())
}

fn value(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if !text.contains(SECRET) {
        field.fail(format!(
            "`value` needs `{SECRET}` where the secret goes, as in `Bearer {SECRET}`"
        ));
        return None;
    }
    if HeaderValue::from_str(text).is_err() || !text.is_ascii() {
        field.fail("`value` must be visible ASCII, since it is a header field");
        return None;
    }
    Some(text.to_owned())
}

fn secret(field: &Field<'_>, names: &[SecretPattern]) -> Option<String> {
    let text = field.text()?;
    // What stands for the scope may be anything, so that the rest must be covered as a prefix.
    let meant = match text.split_once(SCOPE) {
        Some((before, _)) => format!("{before}*"),
        None => text.to_owned(),
    };
    let Ok(pattern) = meant.parse::<SecretPattern>() else {
        field.fail(format!("`{text}` is not a name of the vault"));
        return None;
    };
    if !names.iter().any(|name| name.covers(&pattern)) {
        field.fail(format!(
            "`{text}` is not covered by `names` in [secrets]; add `names = [\"{pattern}\"]`"
        ));
        return None;
    }
    Some(text.to_owned())
}
