//! The format of `policies/gateway/*.yaml`.
//!
//! ```yaml
//! # Policies by name, used by the routes of all files.
//! cors:
//!   web:
//!     origins: ["https://app.example.com", "https://*.example.com"]
//!     methods: [GET, POST]          # of the route when absent
//!     headers: [content-type]       # what is asked for when absent
//!     expose: [etag]
//!     credentials: true
//!     max-age: 10m
//! response-headers:
//!   api:
//!     set: { x-frame-options: DENY }
//!     add: { link: "</docs>; rel=help" }
//!     remove: [server]
//! request-headers:
//!   plain:
//!     remove: [cookie]
//! routes:
//!   - name: users                   # required, unique
//!     path: /api/v1/users/{id}      # required; or path: [one, another]
//!     service: user-service         # required
//!     methods: [GET, PATCH]         # all when absent; GET answers HEAD too
//!     hosts: ["api.example.com"]    # all when absent; "*.example.com" for one level or more
//!     headers: { x-beta: "1" }      # "*" for any value
//!     rewrite: /users/{id}          # path as the service sees it; as sent when absent
//!     timeout: 10s                  # limits.wall of the gateway when absent
//!     body: 1MiB                    # 10 MiB when absent
//!     auth: required                # none | optional | required (default)
//!     rate: standard                # name of a rate policy of rate-limiter-service
//!     cache: true                   # GETs may be answered by edge-cache-service
//!     compression: true             # default true
//!     cors: web
//!     request-headers: plain
//!     response-headers: api
//! ```
//!
//! A template is made of whole segments: text, `{name}` for one segment, and `**` as the last one
//! for the rest, nothing included (`/v0/**` takes `/v0`, `/v0/` and `/v0/a/b`). A segment of text
//! goes before a name and a name before `**`, and then the route with more conditions (hosts,
//! headers) before the one with fewer. An unknown field is an error with its file and line.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) cors: BTreeMap<String, Spanned<Cors>>,
    #[serde(default)]
    pub(crate) request_headers: BTreeMap<String, Spanned<Headers>>,
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, Spanned<Headers>>,
    #[serde(default)]
    pub(crate) routes: Vec<Spanned<Route>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Cors {
    pub(crate) origins: Vec<String>,
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    #[serde(default)]
    pub(crate) expose: Vec<String>,
    #[serde(default)]
    pub(crate) credentials: bool,
    #[serde(default, deserialize_with = "optional_duration")]
    pub(crate) max_age: Option<Duration>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Headers {
    #[serde(default)]
    pub(crate) set: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) add: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) remove: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Route {
    pub(crate) name: String,
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) path: Vec<String>,
    pub(crate) service: String,
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) rewrite: Option<String>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub(crate) timeout: Option<Duration>,
    #[serde(default = "default_body", deserialize_with = "size")]
    pub(crate) body: u64,
    #[serde(default)]
    pub(crate) auth: Auth,
    pub(crate) rate: Option<String>,
    #[serde(default)]
    pub(crate) cache: bool,
    #[serde(default = "yes")]
    pub(crate) compression: bool,
    pub(crate) cors: Option<String>,
    pub(crate) request_headers: Option<String>,
    pub(crate) response_headers: Option<String>,
}

/// Whether a route needs a verified user. The gateway component acts on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Credentials are not looked at.
    None,
    /// They are verified when there are any.
    Optional,
    /// There must be valid ones.
    #[default]
    Required,
}

impl Auth {
    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let paths = match OneOrMore::deserialize(from)? {
        OneOrMore::One(path) => vec![path],
        OneOrMore::More(paths) => paths,
    };
    if paths.is_empty() {
        return Err(de::Error::custom("a route needs at least one path"));
    }
    Ok(paths)
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let millis = quantity(&text, &units).ok_or_else(|| {
        de::Error::custom(format!("`{text}` is not a duration: write 250ms, 10s, 5m or 1h"))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

fn default_body() -> u64 {
    10 << 20
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    quantity(&text, &units).ok_or_else(|| {
        de::Error::custom(format!("`{text}` is not a size: write 512B, 64KiB, 10MiB or 2GiB"))
    })
}

/// A positive whole number with a unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?.trim_end();
        if !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        number.parse::<u64>().ok()?.checked_mul(*factor).filter(|value| *value > 0)
    })
}
