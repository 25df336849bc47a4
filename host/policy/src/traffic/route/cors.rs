//! `corsPolicy`: which origins may call from a browser (Envoy: the CORS filter).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_saphyr::Spanned;

use crate::traffic::{
    review::Review,
    spec::{self, UnmatchedPreflights},
    text::Text,
};

/// What is allowed to which origins.
#[derive(Clone, Debug)]
pub struct CorsPolicy {
    origins: Vec<Text>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    forward_unmatched: bool,
}

impl CorsPolicy {
    /// The fields of the answer, with status 200 and no body, to a preflight; none if the request
    /// is not a preflight or is left to the destination.
    #[must_use]
    pub fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<HeaderMap> {
        if method != Method::OPTIONS || !request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let origin = request.get(header::ORIGIN).filter(|origin| !origin.is_empty())?;
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if !self.allows(origin) {
            return (!self.forward_unmatched).then_some(headers);
        }
        self.allow(origin, &mut headers);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (header::ACCESS_CONTROL_MAX_AGE, &self.max_age),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        Some(headers)
    }

    /// Adds to an answer what a browser must see; `origin` is the request's.
    pub fn decorate(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        response.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return };
        self.allow(origin, response);
        if let Some(expose) = &self.expose {
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let allowed = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
    }

    /// An origin that is written as `*` stands for all of them.
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|text| text.matches(b"*") || text.matches(origin.as_bytes()))
    }

    pub(super) fn read(review: &mut Review<'_>, of: &Spanned<spec::CorsPolicy>) -> Option<Self> {
        let spec = &of.value;
        let mut origins = Vec::new();
        match (&spec.allow_origins, &spec.allow_origin) {
            (Some(_), Some(old)) => {
                review.error(old, "use `allowOrigins` alone; `allowOrigin` is its old form");
            }
            (Some(list), None) => {
                for text in list {
                    origins.extend(Text::required(review, "allowOrigins", text));
                }
            }
            (None, Some(old)) => {
                review.warning(old, "`allowOrigin` is deprecated; use `allowOrigins`");
                let exact = |text: &String| Text::Exact(text.as_bytes().into());
                origins.extend(old.value.iter().map(exact));
            }
            (None, None) => {
                review.error(of, "`corsPolicy` needs `allowOrigins`; without, it allows nobody");
            }
        }
        for method in &spec.allow_methods {
            if method.value != "*" && Method::from_bytes(method.value.as_bytes()).is_err() {
                review.error(method, format!("`{}` is not a method", method.value));
            }
        }
        for name in spec.allow_headers.iter().chain(&spec.expose_headers) {
            if name.value != "*" && HeaderName::from_bytes(name.value.as_bytes()).is_err() {
                review.error(name, format!("`{}` is not the name of a header field", name.value));
            }
        }
        let max_age = spec.max_age.as_ref().map(|age| HeaderValue::from(age.value.0.as_secs()));
        review.is_clean().then(|| Self {
            origins,
            methods: list(&spec.allow_methods),
            headers: list(&spec.allow_headers),
            expose: list(&spec.expose_headers),
            max_age,
            credentials: spec.allow_credentials,
            forward_unmatched: spec.unmatched_preflights != Some(UnmatchedPreflights::Ignore),
        })
    }
}

fn list(of: &[Spanned<String>]) -> Option<HeaderValue> {
    let texts: Vec<&str> = of.iter().map(|text| text.value.as_str()).collect();
    HeaderValue::from_str(&texts.join(",")).ok().filter(|value| !value.is_empty())
}
