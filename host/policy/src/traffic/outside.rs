//! This project's own kinds, for hosts that are called: `CircuitBreaker` and `EgressLimit`
//! (`airhost.dev/v1`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use airhost_core::ServiceName;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_saphyr::Spanned;

use super::{
    CircuitBreakerSettings, Failures,
    hosts::{HostMap, Pattern},
    review::Review,
    spec::{self, Span},
};
use crate::finding::{Finding, Place};

/// The longest wait that a policy can ask for.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The most requests of one limit.
const MOST_REQUESTS: u32 = 1_000_000;

/// What of a request is counted apart. The words are those of `key` in a manifest's
/// `[[egress.pace]]`, and `header:<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKey {
    /// `path:2`: a segment of the path, 1 for the first, at most 16.
    Segment(u8),
    /// `segment:app`: the first segment of the path that begins with this.
    Prefix(Box<str>),
    /// `credential`: the secret that is injected.
    Credential,
    /// `host`: the host, so that nothing is counted apart.
    Host,
    /// `header:x-base`: a header field's value.
    Header(Box<str>),
}

/// The text is not the key of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown key `{0}`; use `path:2` (the second segment of the path, 1 to 16), `segment:app` (the first segment that begins with `app`), `header:x-base`, `credential` or `host`"
)]
pub struct RequestKeyError(String);

impl RequestKey {
    /// What is counted apart: a request that lacks it is counted with others that do, as empty.
    /// `credential` names the secret that is injected, never its value.
    #[must_use]
    pub fn of<'r>(
        &self,
        host: &'r str,
        path: &'r str,
        headers: &'r HeaderMap,
        credential: &'r str,
    ) -> &'r str {
        match self {
            Self::Segment(nth) => path.split('/').nth(usize::from(*nth)).unwrap_or_default(),
            Self::Prefix(prefix) => {
                path.split('/').find(|segment| segment.starts_with(&**prefix)).unwrap_or_default()
            }
            Self::Credential => credential,
            Self::Host => host,
            Self::Header(name) => headers
                .get(&**name)
                .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
                .unwrap_or_default(),
        }
    }
}

impl FromStr for RequestKey {
    type Err = RequestKeyError;

    fn from_str(text: &str) -> Result<Self, RequestKeyError> {
        let wrong = || RequestKeyError(text.to_owned());
        match text.split_once(':') {
            None if text == "credential" => Ok(Self::Credential),
            None if text == "host" => Ok(Self::Host),
            Some(("segment", prefix)) => {
                let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
                let valid = (1..=32).contains(&prefix.len()) && prefix.bytes().all(known);
                if valid { Ok(Self::Prefix(prefix.into())) } else { Err(wrong()) }
            }
            Some(("header", name)) => HeaderName::from_bytes(name.as_bytes())
                .map(|name| Self::Header(name.as_str().into()))
                .map_err(|_| wrong()),
            Some(("path", segment)) if segment.bytes().all(|b| b.is_ascii_digit()) => segment
                .parse()
                .ok()
                .filter(|segment| (1..=16).contains(segment))
                .map(Self::Segment)
                .ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(f, "path:{segment}"),
            Self::Prefix(prefix) => write!(f, "segment:{prefix}"),
            Self::Credential => f.write_str("credential"),
            Self::Host => f.write_str("host"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// A `CircuitBreaker`: one state for each calling service, destination and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Where it is written.
    pub place: Place,
    /// When it opens and closes.
    pub settings: CircuitBreakerSettings,
    /// What has a state of its own; the host when absent.
    pub key: Option<RequestKey>,
}

/// An `EgressLimit`: how fast a host is called, all nodes together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressLimit {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Where it is written.
    pub place: Place,
    /// All of them hold.
    pub limits: Vec<Limit>,
}

/// So many requests in so long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted apart.
    pub key: RequestKey,
    /// Requests in `per`, 1 to 1 000 000.
    pub requests: u32,
    /// 1 ms to 1 h.
    pub per: Duration,
    /// How long the key rests after an answer of 429, up to 1 h.
    pub pause_after_429: Option<Duration>,
}

/// A resource for a host and for some callers, or all.
#[derive(Clone, Debug)]
pub(super) struct For<T> {
    pub(super) host: Pattern,
    pub(super) callers: Option<BTreeSet<ServiceName>>,
    pub(super) place: Place,
    pub(super) value: Arc<T>,
}

impl For<Breaker> {
    /// Reads a `CircuitBreaker`. None if it is wrong, which the review then says.
    pub(super) fn read(review: &mut Review<'_>, spec: &spec::CircuitBreaker) -> Option<Self> {
        let host = review.host(&spec.host);
        let callers = review.callers(spec.from.as_ref());
        let key = spec.key.as_ref().and_then(|key| read_key(review, key));
        let mut settings = CircuitBreakerSettings::default();
        let count = |review: &mut Review<'_>, name, of: &Option<Spanned<u32>>, to: &mut u32| {
            if let Some(of) = of {
                *to = of.value;
                if of.value == 0 {
                    review.error(of, format!("`{name}` is at least 1"));
                }
            }
        };
        count(review, "failureThreshold", &spec.failure_threshold, &mut settings.threshold);
        count(review, "halfOpenRequests", &spec.half_open_requests, &mut settings.trials);
        if let Some(recovery) = &spec.recovery_timeout {
            settings.recovery =
                bounded(review, "recoveryTimeout", recovery).unwrap_or(settings.recovery);
        }
        if let Some(words) = &spec.failures {
            settings.failures = read_failures(review, words);
        }
        let host = host.filter(|_| review.is_clean())?;
        let name = Arc::clone(&review.resource);
        let breaker = Breaker { name, place: review.place.clone(), settings, key };
        let place = review.at(&spec.host);
        Some(Self { host, callers, place, value: Arc::new(breaker) })
    }
}

impl For<EgressLimit> {
    /// Reads an `EgressLimit`. None if it is wrong, which the review then says.
    pub(super) fn read(review: &mut Review<'_>, spec: &spec::EgressLimit) -> Option<Self> {
        let host = review.host(&spec.host);
        let callers = review.callers(spec.from.as_ref());
        if spec.limits.value.is_empty() {
            review.error(&spec.limits, "`limits` is empty; name at least one");
        }
        let mut limits: Vec<Limit> = Vec::new();
        for of in &spec.limits.value {
            let limit = &of.value;
            let key = read_key(review, &limit.key);
            let requests = limit.requests.value;
            if !(1..=MOST_REQUESTS).contains(&requests) {
                review.error(&limit.requests, format!("`requests` is 1 to {MOST_REQUESTS}"));
            }
            let per = bounded(review, "per", &limit.per);
            let pause = limit.pause_after_429.as_ref();
            let pause = pause.and_then(|pause| bounded(review, "pauseAfter429", pause));
            let (Some(key), Some(per)) = (key, per) else { continue };
            if limits.iter().any(|other| other.key == key) {
                review.error(of, format!("the key `{key}` is there twice; remove one"));
            } else {
                limits.push(Limit { key, requests, per, pause_after_429: pause });
            }
        }
        let host = host.filter(|_| review.is_clean())?;
        let name = Arc::clone(&review.resource);
        let limit = EgressLimit { name, place: review.place.clone(), limits };
        let place = review.at(&spec.host);
        Some(Self { host, callers, place, value: Arc::new(limit) })
    }
}

fn read_key(review: &mut Review<'_>, of: &Spanned<String>) -> Option<RequestKey> {
    of.value.parse().map_err(|error: RequestKeyError| review.error(of, error.to_string())).ok()
}

fn bounded(review: &mut Review<'_>, name: &str, of: &Spanned<Span>) -> Option<Duration> {
    let duration = review.duration(name, of)?;
    if duration > LONGEST {
        review.error(of, format!("`{name}` is at most 1h"));
        return None;
    }
    Some(duration)
}

fn read_failures(review: &mut Review<'_>, words: &Spanned<Vec<Spanned<String>>>) -> Failures {
    let mut failures =
        Failures { connect: false, timeout: false, server_error: false, statuses: BTreeSet::new() };
    if words.value.is_empty() {
        review.error(
            words,
            "`failures` is empty, so that the breaker never opens; remove it for the default",
        );
    }
    for word in &words.value {
        match word.value.as_str() {
            "connect" => failures.connect = true,
            "timeout" => failures.timeout = true,
            "5xx" => failures.server_error = true,
            text => {
                let status = StatusCode::from_bytes(text.as_bytes()).ok();
                match status.filter(|s| s.is_client_error() || s.is_server_error()) {
                    Some(status) => {
                        failures.statuses.insert(status);
                    }
                    None => review.error(
                        word,
                        format!("`{text}` is no failure; use connect, timeout, 5xx, or a status of 400 to 599"),
                    ),
                }
            }
        }
    }
    failures
}

/// Resources by host and caller: one that names the caller goes before one for all.
#[derive(Clone, Debug)]
pub(super) struct CallerMap<T> {
    hosts: HostMap<Callers<T>>,
}

#[derive(Clone, Debug)]
struct Callers<T> {
    named: BTreeMap<ServiceName, T>,
    all: Option<T>,
}

impl<T> Default for CallerMap<T> {
    fn default() -> Self {
        Self { hosts: HostMap::default() }
    }
}

impl<T> Default for Callers<T> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), all: None }
    }
}

impl<T> CallerMap<T> {
    /// What is for this host and caller, of the most specific host that has anything for it.
    pub(super) fn get(&self, host: &str, caller: Option<&ServiceName>) -> Option<&T> {
        self.hosts.find(host, |callers| {
            let named = caller.and_then(|caller| callers.named.get(caller));
            named.or(callers.all.as_ref())
        })
    }
}

impl CallerMap<Arc<Breaker>> {
    /// Of two breakers for the same host and caller the second is refused.
    pub(super) fn breakers(list: &[For<Breaker>], findings: &mut Vec<Finding>) -> Self {
        let mut map = Self::default();
        for of in list {
            let callers = map.hosts.entry(&of.host);
            let mut refuse = |other: &Arc<Breaker>, whom: &str| {
                let message = format!(
                    "{} in {} is a CircuitBreaker for the same host {whom}; remove one",
                    other.name, other.place
                );
                findings.push(Finding::error(of.place.clone(), message));
            };
            match &of.callers {
                None => match &callers.all {
                    Some(other) => refuse(other, "for every caller"),
                    None => callers.all = Some(Arc::clone(&of.value)),
                },
                Some(names) => {
                    for name in names {
                        match callers.named.get(name) {
                            Some(other) => refuse(other, &format!("for the caller {name}")),
                            None => {
                                callers.named.insert(name.clone(), Arc::clone(&of.value));
                            }
                        }
                    }
                }
            }
        }
        map
    }
}

impl CallerMap<Vec<Arc<EgressLimit>>> {
    /// All limits of a host that are for a caller hold for it, those for every caller included.
    pub(super) fn limits(list: &[For<EgressLimit>]) -> Self {
        let mut map = Self::default();
        // Those for all first, so that whoever is named begins with them.
        for of in list.iter().filter(|of| of.callers.is_none()) {
            map.hosts.entry(&of.host).all.get_or_insert_default().push(Arc::clone(&of.value));
        }
        for of in list {
            let callers = map.hosts.entry(&of.host);
            for name in of.callers.iter().flatten() {
                let all = || callers.all.clone().unwrap_or_default();
                let own = callers.named.entry(name.clone()).or_insert_with(all);
                own.push(Arc::clone(&of.value));
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_found() {
        let mut headers = HeaderMap::new();
        headers.insert("x-base", "appB".parse().unwrap());
        for (text, expect) in [
            ("path:1", Some("v0")),
            ("path:2", Some("appA")),
            ("path:9", Some("")),
            ("segment:app", Some("appA")),
            ("segment:tbl", Some("tblX")),
            ("segment:zzz", Some("")),
            ("credential", Some("secret")),
            ("host", Some("api.airtable.com")),
            ("header:X-Base", Some("appB")),
            ("header:x-other", Some("")),
            ("path:0", None),
            ("path:17", None),
            ("path:+1", None),
            ("path:", None),
            ("segment:", None),
            ("segment:a/b", None),
            ("header:", None),
            ("header:a b", None),
            ("hosts", None),
            ("", None),
        ] {
            let key = text.parse::<RequestKey>();
            let value = key
                .as_ref()
                .ok()
                .map(|key| key.of("api.airtable.com", "/v0/appA/tblX", &headers, "secret"));
            assert_eq!(value, expect, "{text}");
            if let Ok(key) = key {
                assert_eq!(key.to_string().parse(), Ok(key), "{text}");
            }
        }
    }
}
