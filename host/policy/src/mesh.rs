//! What Istio keeps in its mesh configuration and the node knows from its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use airhost_core::TrustDomain;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::text::Text;

/// Settings of the whole mesh that policies are read against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// The mesh's own trust domain. `cluster.local` in a policy means it and its aliases
    /// (Istio: `trustDomainAliases`).
    pub trust_domain: TrustDomain,
    /// Names the trust domain had or has elsewhere.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The namespace of a resource that names none, and of all services. `pyairtable`.
    pub namespace: String,
    /// Policies in this namespace hold for all. `istio-system`.
    pub root_namespace: String,
    /// What is done to a path before it is looked at and forwarded.
    pub path_normalization: PathNormalization,
    /// Who can be asked by `AuthorizationPolicy` with action `CUSTOM`, by `provider.name`.
    pub extension_providers: BTreeMap<String, Arc<ExtensionProvider>>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            trust_domain_aliases: Vec::new(),
            namespace: "pyairtable".to_owned(),
            root_namespace: "istio-system".to_owned(),
            path_normalization: PathNormalization::default(),
            extension_providers: BTreeMap::new(),
        }
    }
}

/// Istio's `pathNormalization.normalization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// Only the fragment is removed.
    None,
    /// Dot segments (RFC 3986, section 5.2.4), `\` as `/`, unreserved characters decoded.
    #[default]
    Base,
    /// That, and `//` as `/`.
    MergeSlashes,
    /// That, after `%2f` and `%5c` were decoded.
    DecodeAndMergeSlashes,
}

/// A service that decides on requests over HTTP (Istio: `envoyExtAuthzHttp`). It is sent the
/// request's method, host and path without the body, and allows by answering 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionProvider {
    /// `service`: the host it is asked at.
    pub service: String,
    /// `port`.
    pub port: u16,
    /// `pathPrefix`: stands before the path of the request. Empty.
    pub path_prefix: String,
    /// `timeout` of the whole check. 600 s, as in Istio.
    pub timeout: Duration,
    /// `failOpen`: a provider that cannot be asked, or answers 5xx, allows.
    pub fail_open: bool,
    /// `statusOnError`: the answer when it cannot be asked and that does not allow. 403.
    pub status_on_error: StatusCode,
    /// `includeRequestHeadersInCheck`: fields of the request that it is sent, beside
    /// `authorization`.
    pub headers_in_check: HeaderNames,
    /// `includeAdditionalHeadersInCheck`: fields that every check carries.
    pub additional_headers: Vec<(HeaderName, HeaderValue)>,
    /// `headersToUpstreamOnAllow`: fields of its answer that replace those of the request.
    pub headers_upstream: HeaderNames,
    /// `headersToDownstreamOnAllow`: fields of its answer that go into the response.
    pub headers_downstream_on_allow: HeaderNames,
    /// `headersToDownstreamOnDeny`: fields of its answer that the client gets; all when empty, as
    /// in Istio.
    pub headers_downstream_on_deny: HeaderNames,
}

impl ExtensionProvider {
    /// A provider with Istio's defaults.
    #[must_use]
    pub fn new(service: impl Into<String>, port: u16) -> Self {
        Self {
            service: service.into(),
            port,
            path_prefix: String::new(),
            timeout: Duration::from_secs(600),
            fail_open: false,
            status_on_error: StatusCode::FORBIDDEN,
            headers_in_check: HeaderNames::default(),
            additional_headers: Vec::new(),
            headers_upstream: HeaderNames::default(),
            headers_downstream_on_allow: HeaderNames::default(),
            headers_downstream_on_deny: HeaderNames::default(),
        }
    }
}

/// Names of header fields, with a `*` at one end as in Istio's mesh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames(Box<[Text]>);

impl HeaderNames {
    /// `x-id`, `x-id-*`, `*-id` or `*`, in whatever case.
    #[must_use]
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self(patterns.into_iter().map(|name| Text::new(&name.to_ascii_lowercase())).collect())
    }

    /// Whether this field is among them.
    #[must_use]
    pub fn includes(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name.as_str()))
    }

    /// Whether none is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_compared_without_their_case() {
        let names = HeaderNames::new(["X-Id", "X-User-*", "*-Token"]);
        for (name, included) in [
            ("x-id", true),
            ("x-ids", false),
            ("x-user-name", true),
            ("x-user", false),
            ("csrf-token", true),
            ("token", false),
        ] {
            assert_eq!(names.includes(&HeaderName::from_static(name)), included, "{name}");
        }
    }
}
