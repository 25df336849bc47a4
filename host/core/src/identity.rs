use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::ServiceName;

/// The namespace that the services live in.
const NAMESPACE: &str = "pyairtable";
/// Longest trust domain name, in bytes (SPIFFE ID standard, section 2.1).
const MAX_TRUST_DOMAIN: usize = 255;
/// Longest SPIFFE ID, in bytes (SPIFFE ID standard, section 2.3).
const MAX_ID: usize = 2048;

/// The text is not a SPIFFE ID or a trust domain name (SPIFFE ID standard, section 2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeError {
    /// It does not begin with `spiffe://`.
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// The trust domain is empty, longer than 255 bytes, or has characters other than `a-z`,
    /// `0-9`, `.`, `-` and `_` (so neither a port nor user information nor upper case).
    #[error("a trust domain is 1 to 255 characters of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain,
    /// A path segment is empty, `.` or `..`, or has characters other than letters, digits, `.`,
    /// `-` and `_` (so neither percent-encoding nor a query nor a fragment).
    #[error("path segments are letters, digits, '.', '-' and '_', and neither empty nor relative")]
    Path,
    /// It is longer than 2 048 bytes.
    #[error("a SPIFFE ID has at most 2048 bytes")]
    TooLong,
}

/// A SPIFFE trust domain; `cluster.local` unless configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity of a service in this trust domain.
    #[must_use]
    pub fn identity(&self, service: &ServiceName) -> SpiffeId {
        let uri = format!("spiffe://{}/ns/{NAMESPACE}/sa/{service}", self.0);
        SpiffeId { uri: uri.into(), domain: self.0.len() }
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self("cluster.local".into())
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(name: &str) -> Result<Self, SpiffeError> {
        let valid = (1..=MAX_TRUST_DOMAIN).contains(&name.len())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if valid { Ok(Self(name.into())) } else { Err(SpiffeError::TrustDomain) }
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = SpiffeError;

    fn try_from(name: String) -> Result<Self, SpiffeError> {
        name.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0.as_ref().to_owned()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a workload is: `spiffe://<trust domain>/<path>`. A service of the platform is
/// `spiffe://<trust domain>/ns/<namespace>/sa/<service>`, as in Istio.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    uri: Arc<str>,
    /// Length of the trust domain, which begins after the scheme.
    domain: usize,
}

impl SpiffeId {
    const SCHEME: &'static str = "spiffe://";

    /// Reads a SPIFFE ID by the rules of the standard: they are stricter than a URI's, so that
    /// two ids are the same exactly when their texts are.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > MAX_ID {
            return Err(SpiffeError::TooLong);
        }
        let rest = text.strip_prefix(Self::SCHEME).ok_or(SpiffeError::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        domain.parse::<TrustDomain>()?;
        let valid = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        };
        if path.is_some_and(|path| !path.split('/').all(valid)) {
            return Err(SpiffeError::Path);
        }
        Ok(Self { uri: text.into(), domain: domain.len() })
    }

    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain's name.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.uri[Self::SCHEME.len()..Self::SCHEME.len() + self.domain]
    }

    /// The path with its leading `/`; empty when the id is that of the trust domain itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.uri[Self::SCHEME.len() + self.domain..]
    }

    /// Namespace and service account, if the path is `/ns/<namespace>/sa/<account>`.
    #[must_use]
    pub fn workload(&self) -> Option<(&str, &str)> {
        let (namespace, account) = self.path().strip_prefix("/ns/")?.split_once("/sa/")?;
        (!namespace.contains('/') && !account.contains('/')).then_some((namespace, account))
    }

    /// The service of the platform this is, if it is one.
    #[must_use]
    pub fn service(&self) -> Option<ServiceName> {
        let (namespace, account) = self.workload()?;
        if namespace == NAMESPACE { account.parse().ok() } else { None }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeError;

    fn try_from(text: String) -> Result<Self, SpiffeError> {
        Self::parse(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.uri.as_ref().to_owned()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.uri, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_identity_names_it() {
        let service: ServiceName = "auth-service".parse().unwrap();
        let id = TrustDomain::default().identity(&service);
        assert_eq!(id.as_str(), "spiffe://cluster.local/ns/pyairtable/sa/auth-service");
        assert_eq!(SpiffeId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(id.trust_domain(), "cluster.local");
        assert_eq!(id.workload(), Some(("pyairtable", "auth-service")));
        assert_eq!(id.service(), Some(service));
    }

    #[test]
    fn ids_follow_the_standard() {
        let longest = format!("spiffe://{}", "a".repeat(255));
        for good in ["spiffe://example.org", "spiffe://a_b-1/X/y.z/_-", &longest] {
            assert!(SpiffeId::parse(good).is_ok(), "{good}");
        }
        let domain = format!("spiffe://{}", "a".repeat(256));
        let long = format!("spiffe://a/{}", "b".repeat(2048));
        for (bad, error) in [
            ("", SpiffeError::Scheme),
            ("SPIFFE://a/b", SpiffeError::Scheme),
            ("https://a/b", SpiffeError::Scheme),
            ("spiffe:/a/b", SpiffeError::Scheme),
            ("spiffe://", SpiffeError::TrustDomain),
            ("spiffe:///b", SpiffeError::TrustDomain),
            ("spiffe://Example.org/b", SpiffeError::TrustDomain),
            ("spiffe://a:80/b", SpiffeError::TrustDomain),
            ("spiffe://user@a/b", SpiffeError::TrustDomain),
            ("spiffe://a?q", SpiffeError::TrustDomain),
            ("spiffe://a/", SpiffeError::Path),
            ("spiffe://a/b/", SpiffeError::Path),
            ("spiffe://a//b", SpiffeError::Path),
            ("spiffe://a/./b", SpiffeError::Path),
            ("spiffe://a/b/..", SpiffeError::Path),
            ("spiffe://a/b%2fc", SpiffeError::Path),
            ("spiffe://a/b?q", SpiffeError::Path),
            ("spiffe://a/b#f", SpiffeError::Path),
            ("spiffe://a/ä", SpiffeError::Path),
            (&domain, SpiffeError::TrustDomain),
            (&long, SpiffeError::TooLong),
        ] {
            assert_eq!(SpiffeId::parse(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn only_workloads_of_the_platforms_namespace_are_services() {
        for (id, service) in [
            ("spiffe://td/ns/pyairtable/sa/a", Some("a")),
            ("spiffe://td/ns/other/sa/a", None),
            ("spiffe://td/ns/pyairtable/sa/A_b", None),
            ("spiffe://td/ns/pyairtable/sa/a/b", None),
            ("spiffe://td/x/ns/pyairtable/sa/a", None),
            ("spiffe://td", None),
        ] {
            let id = SpiffeId::parse(id).unwrap();
            assert_eq!(id.service().map(String::from).as_deref(), service, "{id}");
        }
    }
}
