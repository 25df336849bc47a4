//! What a route makes of a request's address, and answers that need no destination.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, StatusCode};
use regex::bytes::Regex;
use serde_saphyr::Spanned;

use super::{MatchedUri, RouteQuery};
use crate::traffic::{review::Review, spec};

/// `rewrite`: what the destination, and the policies in front of it, see in the place of what the
/// caller sent.
#[derive(Clone, Debug)]
pub struct Rewrite {
    authority: Option<HeaderValue>,
    path: Option<Path>,
}

#[derive(Clone, Debug)]
enum Path {
    Replace(Box<str>),
    Regex { pattern: Regex, replacement: Box<[u8]> },
}

impl Rewrite {
    /// The new authority.
    #[must_use]
    pub fn authority(&self) -> Option<&HeaderValue> {
        self.authority.as_ref()
    }

    /// The new path, if it changes; `path` is without its query, which stays as it is.
    ///
    /// `uri` takes the place of the prefix that matched, or of the whole path when it matched
    /// exactly or by a regular expression; without a `uri` in the match, of the leading `/`, as in
    /// Envoy. `uriRegexRewrite` replaces every place that matches.
    #[must_use]
    pub fn path<'p>(&'p self, path: &str, matched: MatchedUri) -> Option<Cow<'p, str>> {
        match self.path.as_ref()? {
            Path::Replace(with) => {
                let cut = match matched {
                    MatchedUri::Any => usize::from(path.starts_with('/')),
                    MatchedUri::Prefix(length) => length,
                    MatchedUri::Exact | MatchedUri::Regex => path.len(),
                };
                match path.get(cut..).unwrap_or_default() {
                    "" => Some(Cow::Borrowed(with)),
                    rest => Some(Cow::Owned(format!("{with}{rest}"))),
                }
            }
            Path::Regex { pattern, replacement } => {
                match pattern.replace_all(path.as_bytes(), &**replacement) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(new) => {
                        let mut new = String::from_utf8(new).ok()?;
                        // A path that lost its slash would end the host's name.
                        if !new.starts_with('/') {
                            new.insert(0, '/');
                        }
                        Some(Cow::Owned(new))
                    }
                }
            }
        }
    }

    pub(super) fn read(review: &mut Review<'_>, of: &Spanned<spec::Rewrite>) -> Option<Self> {
        let spec = &of.value;
        if spec.uri.is_none() && spec.authority.is_none() && spec.uri_regex_rewrite.is_none() {
            review.error(of, "`rewrite` needs `uri`, `authority` or `uriRegexRewrite`");
            return None;
        }
        let authority = match &spec.authority {
            Some(text) => Some(read_authority(review, text)?),
            None => None,
        };
        let path = match (&spec.uri_regex_rewrite, &spec.uri) {
            // The regular expression goes before the plain text (Istio: `applyHTTPRouteDestination`).
            (Some(regex), _) => {
                let pattern = review.any_regex(&regex.pattern, &regex.pattern.value)?;
                let replacement = replacement(&regex.rewrite.value, pattern.captures_len() - 1);
                let replacement =
                    replacement.map_err(|message| review.error(&regex.rewrite, message)).ok()?;
                Some(Path::Regex { pattern, replacement: replacement.into_bytes().into() })
            }
            (None, Some(uri)) => {
                read_path(review, uri)?;
                Some(Path::Replace(uri.value.as_str().into()))
            }
            (None, None) => None,
        };
        Some(Self { authority, path })
    }
}

pub(super) fn read_authority(
    review: &mut Review<'_>,
    text: &Spanned<String>,
) -> Option<HeaderValue> {
    let authority = text.value.parse::<http::uri::Authority>().ok();
    let value = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if value.is_none() || text.value.contains('@') {
        review.error(text, format!("`{}` is not a host with an optional port", text.value));
        return None;
    }
    value
}

fn read_path(review: &mut Review<'_>, text: &Spanned<String>) -> Option<()> {
    let path = &text.value;
    let valid = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !valid || path.contains('?') {
        review.error(
            text,
            format!(
                "`{path}` is not a path: it begins with `/` and has neither spaces nor a query"
            ),
        );
        return None;
    }
    Some(())
}

/// RE2's `\1` as the `${1}` of this project's engine.
fn replacement(text: &str, groups: usize) -> Result<String, String> {
    let mut new = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('\\') => new.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    if digit.to_digit(10).is_some_and(|group| group as usize > groups) {
                        return Err(format!(
                            "`\\{digit}` names a group that `match` does not have; it has {groups}"
                        ));
                    }
                    new.push_str(&format!("${{{digit}}}"));
                }
                _ => return Err("`\\` is followed by the number of a group, or by `\\`".to_owned()),
            },
            '$' => new.push_str("$$"),
            ' ' | '?' | '#' => return Err(format!("`{c}` cannot be in a path")),
            c if c.is_ascii_graphic() => new.push(c),
            _ => return Err("a path has only visible ASCII characters".to_owned()),
        }
    }
    Ok(new)
}

/// `redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    scheme: Option<Box<str>>,
    authority: Option<Box<str>>,
    port: Option<Port>,
    uri: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Number(u16),
    /// `FROM_REQUEST_PORT`.
    Request,
}

impl Redirect {
    /// The `location` of the answer (Envoy: `RouteEntryImplBase::newUri`).
    #[must_use]
    pub fn location(&self, request: &RouteQuery<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let port = self.port.map(|port| match port {
            Port::Number(number) => number,
            Port::Request => request.port,
        });
        let own = |scheme: &str| match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let host = match &self.authority {
            Some(authority) => authority,
            None => {
                // The request's own port goes when another is named, or when it was the old
                // scheme's and the scheme changes.
                let (bare, sent) = split_port(request.authority);
                let was_own = sent.is_some() && sent == own(request.scheme);
                let drop = port.is_some() || (scheme != request.scheme && was_own);
                if drop { bare } else { request.authority }
            }
        };
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = port.filter(|port| Some(*port) != own(scheme)) {
            location.push_str(&format!(":{port}"));
        }
        location.push_str(self.uri.as_deref().unwrap_or(request.path));
        if let Some(query) = request.query
            && !self.uri.as_ref().is_some_and(|uri| uri.contains('?'))
        {
            location.push('?');
            location.push_str(query);
        }
        location
    }

    pub(super) fn read(review: &mut Review<'_>, of: &Spanned<spec::Redirect>) -> Option<Self> {
        let spec = &of.value;
        let nothing = spec.uri.is_none()
            && spec.authority.is_none()
            && spec.scheme.is_none()
            && spec.port.is_none()
            && spec.derive_port.is_none();
        if nothing {
            review.error(of, "`redirect` needs `uri`, `authority`, `scheme` or `port`");
            return None;
        }
        let status = match &spec.redirect_code {
            None => StatusCode::MOVED_PERMANENTLY,
            Some(code) if matches!(code.value, 301 | 302 | 303 | 307 | 308) => {
                review.status(code, 301..=308)?
            }
            Some(code) => {
                review.error(code, "`redirectCode` is 301, 302, 303, 307 or 308");
                return None;
            }
        };
        if let Some(authority) = &spec.authority {
            read_authority(review, authority)?;
        }
        if let Some(scheme) = &spec.scheme
            && scheme.value != "http"
            && scheme.value != "https"
        {
            review.error(scheme, "`scheme` is `http` or `https`");
            return None;
        }
        let port = match (&spec.port, &spec.derive_port) {
            (Some(port), Some(_)) => {
                review.error(port, "use one of `port` and `derivePort`, not both");
                return None;
            }
            (Some(port), None) => Some(Port::Number(review.port(port)?)),
            (None, Some(derive)) if derive.value == spec::DerivePort::FromRequestPort => {
                Some(Port::Request)
            }
            (None, _) => None,
        };
        if let Some(uri) = &spec.uri
            && !(uri.starts_with('/') && uri.bytes().all(|b| b.is_ascii_graphic()))
        {
            review.error(of, format!("`uri: {uri}` is not a path: it begins with `/`"));
            return None;
        }
        Some(Self {
            status,
            scheme: spec.scheme.as_ref().map(|scheme| scheme.value.as_str().into()),
            authority: spec.authority.as_ref().map(|authority| authority.value.as_str().into()),
            port,
            uri: spec.uri.as_deref().map(Into::into),
        })
    }
}

/// The host of an authority, and its port.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// `directResponse`: an answer without a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// The body, in plain text unless the route sets a `content-type`.
    pub body: Arc<[u8]>,
}

impl DirectResponse {
    pub(super) fn read(
        review: &mut Review<'_>,
        of: &Spanned<spec::DirectResponse>,
    ) -> Option<Self> {
        let status = review.status(&of.value.status, 200..=599)?;
        let body = match &of.value.body {
            None => Arc::from([]),
            Some(body) => match (&body.value.string, &body.value.bytes) {
                (Some(text), None) => Arc::from(text.as_bytes()),
                (None, Some(text)) => match BASE64_STANDARD.decode(text) {
                    Ok(bytes) => Arc::from(bytes),
                    Err(_) => {
                        review.error(body, "`bytes` is not base64");
                        return None;
                    }
                },
                _ => {
                    review.error(body, "`body` has either `string` or `bytes`");
                    return None;
                }
            },
        };
        Some(Self { status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_names_groups() {
        for (text, expect) in [
            (r"/v2/\1", Some("/v2/${1}")),
            (r"/\2/\0", Some("/${2}/${0}")),
            (r"/$1", Some("/$$1")),
            (r"/\\", Some(r"/\")),
            (r"/\3", None),
            (r"/\x", None),
            (r"/\", None),
            ("/a b", None),
            ("/a?b", None),
            ("/ä", None),
        ] {
            assert_eq!(replacement(text, 2).ok().as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn an_authority_has_a_port_or_not() {
        for (text, expect) in [
            ("a.com", ("a.com", None)),
            ("a.com:80", ("a.com", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:443", ("[::1]", Some(443))),
        ] {
            assert_eq!(split_port(text), expect, "{text}");
        }
    }
}
