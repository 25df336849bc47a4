//! `match` blocks: whether a request is one that a route is for.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderName};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{MatchedUri, RouteQuery};
use crate::traffic::{
    review::Review,
    spec::{MatchRequest, StringMatch},
    text::Text,
};

/// A header name that begins with this stands for a claim of the verified token.
const CLAIMS: &str = "@request.auth.claims";
/// Names that Istio takes for the pseudo header fields and ignores.
const IGNORED: [&str; 4] = ["uri", "scheme", "method", "authority"];

/// A `match` block: all of it must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    uri: Option<Uri>,
    scheme: Option<Text>,
    method: Option<Text>,
    authority: Option<Text>,
    headers: Vec<Field>,
    claims: Vec<Claim>,
    query: Vec<(Box<str>, Text)>,
    port: Option<u16>,
    labels: BTreeMap<String, String>,
    namespace: Option<Box<str>>,
}

#[derive(Clone, Debug)]
struct Uri {
    text: Text,
    any_case: bool,
}

/// A condition on a header field.
#[derive(Clone, Debug)]
struct Field {
    name: HeaderName,
    text: Text,
    without: bool,
}

/// A condition on a claim, by its path.
#[derive(Clone, Debug)]
struct Claim {
    path: Vec<Box<str>>,
    text: Text,
    without: bool,
}

impl Conditions {
    /// Reads a block. None if it never applies to calls inside the mesh, or is wrong.
    pub(super) fn read(review: &mut Review<'_>, of: &Spanned<MatchRequest>) -> Option<Self> {
        let spec = &of.value;
        let mut conditions = Self {
            labels: spec.source_labels.clone(),
            namespace: spec.source_namespace.as_deref().map(Into::into),
            ..Self::default()
        };
        let mut sound = true;
        let mut text = |review: &mut Review<'_>, name: &str, of: &Option<Spanned<StringMatch>>| {
            let found = of.as_ref().map(|of| Text::required(review, name, of));
            sound &= !matches!(found, Some(None));
            found.flatten()
        };
        conditions.scheme = text(review, "scheme", &spec.scheme);
        conditions.method = text(review, "method", &spec.method);
        conditions.authority = text(review, "authority", &spec.authority);
        match spec.uri.as_ref().map(|uri| read_uri(review, uri, spec.ignore_uri_case)) {
            None => {}
            Some(None) => sound = false,
            Some(uri) => conditions.uri = uri,
        }
        for (fields, without) in [(&spec.headers, false), (&spec.without_headers, true)] {
            for (name, of) in fields {
                sound &= conditions.read_field(review, name, of, without).is_some();
            }
        }
        for (name, of) in &spec.query_params {
            match Text::read(review, of) {
                Some(text) => conditions.query.push((name.as_str().into(), text)),
                None => sound = false,
            }
        }
        if let Some(port) = &spec.port {
            conditions.port = review.port(port);
            sound &= conditions.port.is_some();
        }
        if let Some(gateways) = &spec.gateways
            && !gateways.value.is_empty()
            && !gateways.value.iter().any(|gateway| gateway == super::MESH)
        {
            review.warning(gateways, "calls inside the mesh never match: `gateways` lacks `mesh`");
            return None;
        }
        sound.then_some(conditions)
    }

    fn read_field(
        &mut self,
        review: &mut Review<'_>,
        name: &str,
        of: &Spanned<StringMatch>,
        without: bool,
    ) -> Option<()> {
        if IGNORED.contains(&name) {
            review.warning(
                of,
                format!("a header named `{name}` is not looked at, as in Istio; use the field `{name}` of the block"),
            );
            return Some(());
        }
        let text = Text::read(review, of)?;
        if name.starts_with('@') {
            let Some(path) = claim_path(name) else {
                review.error(
                    of,
                    format!(
                        "`{name}` is no claim; write `{CLAIMS}[group][id]` or `{CLAIMS}.group.id`"
                    ),
                );
                return None;
            };
            self.claims.push(Claim { path, text, without });
            return Some(());
        }
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            review.error(of, format!("`{name}` is not the name of a header field"));
            return None;
        };
        self.headers.push(Field { name, text, without });
        Some(())
    }

    /// Whether every request matches.
    pub(super) fn is_catch_all(&self) -> bool {
        let any_uri = self.uri.as_ref().is_none_or(|uri| match &uri.text {
            Text::Present => true,
            Text::Prefix(prefix) => matches!(&**prefix, b"" | b"/"),
            Text::Regex(regex) => regex.as_str() == r"\A(?:.*)\z",
            Text::Exact(_) => false,
        });
        any_uri
            && self.scheme.is_none()
            && self.method.is_none()
            && self.authority.is_none()
            && self.headers.is_empty()
            && self.claims.is_empty()
            && self.query.is_empty()
            && self.port.is_none()
            && self.labels.is_empty()
            && self.namespace.is_none()
    }

    /// How the path matched, if all conditions hold.
    pub(super) fn matches(&self, request: &RouteQuery<'_>) -> Option<MatchedUri> {
        let holds = |text: &Option<Text>, value: &str| {
            text.as_ref().is_none_or(|text| text.matches(value.as_bytes()))
        };
        let all = self.port.is_none_or(|port| port == request.port)
            && self.is_from(request)
            && holds(&self.method, request.method.as_str())
            && holds(&self.scheme, request.scheme)
            && holds(&self.authority, request.authority)
            && self.uri.as_ref().is_none_or(|uri| uri.matches(request.path))
            && self.headers.iter().all(|field| field.holds(request.headers))
            && self.query.iter().all(|(name, text)| {
                parameter(request.query, name).is_some_and(|value| text.matches(value.as_bytes()))
            })
            && self.claims.iter().all(|claim| claim.holds(request.claims));
        all.then(|| match self.uri.as_ref().map(|uri| &uri.text) {
            None | Some(Text::Present) => MatchedUri::Any,
            Some(Text::Exact(_)) => MatchedUri::Exact,
            Some(Text::Prefix(prefix)) => MatchedUri::Prefix(prefix.len()),
            Some(Text::Regex(_)) => MatchedUri::Regex,
        })
    }

    fn is_from(&self, request: &RouteQuery<'_>) -> bool {
        if self.labels.is_empty() && self.namespace.is_none() {
            return true;
        }
        request.caller.is_some_and(|caller| {
            caller.has_labels(&self.labels)
                && self.namespace.as_ref().is_none_or(|own| **own == *caller.namespace)
        })
    }
}

fn read_uri(review: &mut Review<'_>, of: &Spanned<StringMatch>, any_case: bool) -> Option<Uri> {
    let spec = &of.value;
    // Unlike elsewhere, an empty prefix is legal: it is how a route is written that takes all.
    if spec.prefix.as_deref() == Some("") && spec.exact.is_none() && spec.regex.is_none() {
        return Some(Uri { text: Text::Prefix([].into()), any_case });
    }
    if spec.regex.as_deref() == Some("*") {
        review.error(of, "`*` is not a regular expression for a path; write `.*`, or no `uri`");
        return None;
    }
    Text::required(review, "uri", of).map(|text| Uri { text, any_case })
}

impl Uri {
    fn matches(&self, path: &str) -> bool {
        if self.any_case {
            self.text.matches_any_case(path.as_bytes())
        } else {
            self.text.matches(path.as_bytes())
        }
    }
}

impl Field {
    fn holds(&self, headers: &HeaderMap) -> bool {
        let value = joined(headers, &self.name);
        if !self.without {
            return value.is_some_and(|value| self.text.matches(&value));
        }
        match (&self.text, value) {
            (Text::Present, value) => value.is_none(),
            // A field that is not there counts as empty (Envoy: `treat_missing_header_as_empty`).
            (text, value) => !text.matches(value.as_deref().unwrap_or_default()),
        }
    }
}

/// The value of a field; of several, joined by commas (Envoy: `getAllOfHeaderAsString`).
fn joined<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut all = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    Some(Cow::Owned(all))
}

/// The value of the first query parameter with this name, as sent; empty for one without `=`.
fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

impl Claim {
    fn holds(&self, claims: Option<&Value>) -> bool {
        let found = self.path.iter().fold(claims, |value, key| value?.get(&**key));
        self.matches(found) != self.without
    }

    /// A string, or a list that has one that matches (Istio: `MetadataMatcherForJWTClaims`).
    fn matches(&self, value: Option<&Value>) -> bool {
        match value {
            Some(Value::String(text)) => self.text.matches(text.as_bytes()),
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).any(|text| self.text.matches(text.as_bytes()))
            }
            Some(_) => matches!(self.text, Text::Present),
            None => false,
        }
    }
}

/// `@request.auth.claims[a][b]` and `@request.auth.claims.a.b` as `a`, `b`.
fn claim_path(name: &str) -> Option<Vec<Box<str>>> {
    let front = name.get(..CLAIMS.len())?;
    if !front.eq_ignore_ascii_case(CLAIMS) {
        return None;
    }
    let rest = &name[CLAIMS.len()..];
    let names: Vec<&str> = if let Some(rest) = rest.strip_prefix('.') {
        rest.split('.').collect()
    } else {
        rest.strip_prefix('[')?.strip_suffix(']')?.split("][").collect()
    };
    let valid = |name: &&str| !name.is_empty() && !name.contains(['[', ']']);
    names.iter().all(valid).then(|| names.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_claims() {
        for (name, expect) in [
            ("@request.auth.claims[admin]", Some(vec!["admin"])),
            ("@request.auth.claims[group][id]", Some(vec!["group", "id"])),
            ("@request.auth.claims[https://a.b/c]", Some(vec!["https://a.b/c"])),
            ("@request.auth.claims.group.id", Some(vec!["group", "id"])),
            ("@request.auth.claims", None),
            ("@request.auth.claims.", None),
            ("@request.auth.claims[]", None),
            ("@request.auth.claims[a", None),
            ("@request.auth.claims[a]b]", None),
            ("@request.auth.principal", None),
        ] {
            let path = claim_path(name);
            let path = path.as_ref().map(|path| path.iter().map(|p| &**p).collect::<Vec<_>>());
            assert_eq!(path, expect, "{name}");
        }
    }

    #[test]
    fn parameters_of_a_query() {
        for (query, expect) in [
            (Some("v=1"), Some("1")),
            (Some("a=0&v=1&v=2"), Some("1")),
            (Some("v"), Some("")),
            (Some("v="), Some("")),
            (Some("vv=1"), None),
            (Some(""), None),
            (None, None),
        ] {
            assert_eq!(parameter(query, "v"), expect, "{query:?}");
        }
    }
}
