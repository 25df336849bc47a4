//! Cross-origin requests (Fetch standard, section 3.2), answered by the host.

use std::time::Duration;

use airhost_core::{Body, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    file,
    table::{header_name, methods},
};

/// How long a preflight's answer may be kept when the policy does not say.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Which origins may call from a browser.
#[derive(Debug)]
pub(crate) struct CorsPolicy {
    any_origin: bool,
    origins: Vec<Origin>,
    methods: Vec<Method>,
    headers: Vec<HeaderName>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Origin {
    Exact(String),
    /// `https://*.example.com` as `https://` and `.example.com`.
    Below {
        scheme: String,
        suffix: String,
    },
}

impl CorsPolicy {
    pub(crate) fn compile(from: &file::Cors) -> Result<Self, String> {
        let any_origin = from.origins.iter().any(|origin| origin == "*");
        if any_origin && from.credentials {
            return Err(
                "credentials cannot be allowed to every origin: name the origins".to_owned()
            );
        }
        let origins = from
            .origins
            .iter()
            .filter(|origin| *origin != "*")
            .map(|text| origin(text))
            .collect::<Result<_, _>>()?;
        let headers: Vec<HeaderName> =
            from.headers.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
        let expose: Vec<HeaderName> =
            from.expose.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
        let expose =
            if expose.is_empty() { None } else { HeaderValue::from_str(&joined(&expose)).ok() };
        let max_age = from.max_age.unwrap_or(MAX_AGE).as_secs();
        Ok(Self {
            any_origin,
            origins,
            methods: methods(&from.methods)?,
            headers,
            expose,
            credentials: from.credentials,
            max_age: HeaderValue::from(max_age),
        })
    }

    /// The answer to a preflight for a route that takes `route_methods`. An origin that is not
    /// allowed gets no permission, and the browser refuses.
    pub(crate) fn preflight(&self, request: &HeaderMap, route_methods: &[Method]) -> Response {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for name in ["origin", "access-control-request-method", "access-control-request-headers"] {
            headers.append(header::VARY, HeaderValue::from_static(name));
        }
        let Some(origin) = request.get(header::ORIGIN).filter(|origin| self.allows(origin)) else {
            return response;
        };
        self.allow(origin, headers);
        let methods = if self.methods.is_empty() { route_methods } else { &self.methods };
        let methods = if methods.is_empty() {
            request.get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned()
        } else {
            let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
            HeaderValue::from_str(&methods.join(", ")).ok()
        };
        if let Some(methods) = methods {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        let asked = if self.headers.is_empty() {
            request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned()
        } else {
            HeaderValue::from_str(&joined(&self.headers)).ok()
        };
        if let Some(asked) = asked {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        response
    }

    /// Adds the permission to a response. What the service itself said about origins is dropped:
    /// there is one policy, and it is here.
    pub(crate) fn decorate(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        response.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        response.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if !self.any_origin {
            response.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return };
        self.allow(origin, response);
        if let Some(expose) = &self.expose {
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let origin = if self.any_origin { HeaderValue::from_static("*") } else { origin.clone() };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        self.any_origin
            || self.origins.iter().any(|allowed| match allowed {
                Origin::Exact(allowed) => allowed.eq_ignore_ascii_case(origin),
                Origin::Below { scheme, suffix } => {
                    let origin = origin.to_ascii_lowercase();
                    origin
                        .strip_prefix(scheme.as_str())
                        .and_then(|host| host.strip_suffix(suffix.as_str()))
                        .is_some_and(|label| !label.is_empty() && !label.contains(['/', ':', '@']))
                }
            })
    }
}

fn origin(text: &str) -> Result<Origin, String> {
    let text = text.to_ascii_lowercase();
    let wrong = || {
        format!(
            "`{text}` is not an origin: write `https://app.example.com` or `https://*.example.com`"
        )
    };
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let bare = host.strip_prefix("*.").unwrap_or(host);
    if !matches!(scheme, "http" | "https") || bare.is_empty() || bare.contains(['/', '*', '?', '@'])
    {
        return Err(wrong());
    }
    Ok(match host.strip_prefix('*') {
        Some(suffix) => Origin::Below { scheme: format!("{scheme}://"), suffix: suffix.to_owned() },
        None => Origin::Exact(text),
    })
}

fn joined(names: &[HeaderName]) -> String {
    names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[&str], credentials: bool) -> Result<CorsPolicy, String> {
        CorsPolicy::compile(&file::Cors {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            methods: Vec::new(),
            headers: Vec::new(),
            expose: vec!["ETag".to_owned()],
            credentials,
            max_age: None,
        })
    }

    #[test]
    fn origins_are_whole_names() {
        let policy = policy(&["https://app.example.com", "https://*.example.org"], true).unwrap();
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("https://APP.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com.evil", false),
            ("https://a.example.org", true),
            ("https://example.org", false),
            ("https://evil.com/.example.org", false),
            ("https://evil.com:1.example.org", false),
            ("null", false),
        ] {
            assert_eq!(policy.allows(&HeaderValue::from_static(origin)), allowed, "{origin}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(policy(&["*"], true).is_err());
        assert!(policy(&["*"], false).is_ok());
        for bad in ["example.com", "ftp://a", "https://", "https://a/b", "https://a*b"] {
            assert!(policy(&[bad], false).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_preflight_is_answered_from_the_route() {
        let policy = policy(&["https://a.example"], true).unwrap();
        let mut request = HeaderMap::new();
        request.insert("origin", HeaderValue::from_static("https://a.example"));
        request.insert("access-control-request-headers", HeaderValue::from_static("content-type"));
        let response = policy.preflight(&request, &[Method::GET, Method::PUT]);
        assert_eq!(response.status(), 204);
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], "https://a.example");
        assert_eq!(headers["access-control-allow-methods"], "GET, PUT");
        assert_eq!(headers["access-control-allow-headers"], "content-type");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        request.insert("origin", HeaderValue::from_static("https://evil.example"));
        assert!(
            !policy.preflight(&request, &[]).headers().contains_key("access-control-allow-origin")
        );
    }
}
