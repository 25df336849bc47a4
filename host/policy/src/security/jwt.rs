//! `RequestAuthentication`: which tokens a workload takes, and where they are looked for. Tokens
//! are verified elsewhere.

mod compile;
mod keys;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, Uri, header};

use crate::{
    document::{Document, Head},
    finding::Finding,
    mesh::MeshConfig,
    rule::RuleName,
};

/// One resource, compiled.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// `namespace/name`.
    pub(super) name: Arc<str>,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    forward_unrecognized: bool,
    rules: Box<[Arc<JwtRule>]>,
}

impl Policy {
    pub(super) fn compile(
        document: &Document,
        head: &Head,
        mesh: &MeshConfig,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        compile::compile(document, head, mesh, findings)
    }
}

/// The rules of all resources that select one workload. A request without a token goes on
/// without a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtRules {
    /// In the order of the resources' names.
    pub rules: Vec<Arc<JwtRule>>,
    /// Whether a token that is invalid, expired or of an issuer without a rule goes on unverified
    /// instead of being answered with 401: every resource that selects the workload has the
    /// annotation `airhost.dev/forward-unrecognized: "true"`. For a gateway whose API keys are
    /// bearer tokens too.
    pub forward_unrecognized: bool,
}

impl JwtRules {
    pub(super) fn new<'a>(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let mut pooled = Self::default();
        let mut resources = 0;
        let mut forwarding = 0;
        for policy in policies {
            resources += 1;
            forwarding += usize::from(policy.forward_unrecognized);
            pooled.rules.extend(policy.rules.iter().cloned());
        }
        pooled.forward_unrecognized = resources > 0 && forwarding == resources;
        pooled
    }

    /// The rules for tokens of this issuer.
    pub fn of_issuer<'a>(&'a self, issuer: &str) -> impl Iterator<Item = &'a Arc<JwtRule>> {
        self.rules.iter().filter(move |rule| *rule.issuer == *issuer)
    }
}

/// One of `jwtRules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRule {
    /// Which rule it is.
    pub name: Arc<RuleName>,
    /// `issuer`: what `iss` must be.
    pub issuer: Box<str>,
    /// `audiences`: one of them must be in `aud`, unless there are none.
    pub audiences: Box<[Box<str>]>,
    /// `jwksUri` or `jwks`.
    pub keys: Keys,
    /// `fromHeaders`, `fromParams` and `fromCookies`; without any, `Authorization: Bearer` and
    /// the parameter `access_token`.
    pub locations: Box<[TokenLocation]>,
    /// `outputPayloadToHeader`: the field that the payload is sent on in, as base64url.
    pub output_payload: Option<HeaderName>,
    /// `outputClaimToHeaders`: fields that claims are sent on in. A `.` in a claim's name is a
    /// step into an object.
    pub output_claims: Box<[(HeaderName, Box<str>)]>,
    /// `forwardOriginalToken`: whether the token is sent on. False.
    pub forward_original_token: bool,
    /// `timeout` of fetching the keys. 5 s.
    pub timeout: Duration,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They are fetched: `http` or `https`.
    Uri(Uri),
    /// They are written in the policy: a JWK set with public keys.
    Inline(Arc<str>),
}

/// A place in a request where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenLocation {
    /// A header field, behind a prefix such as `Bearer `.
    Header {
        /// Name of the field.
        name: HeaderName,
        /// Fields without it have no token; may be empty.
        prefix: Box<str>,
    },
    /// A parameter of the query.
    Param(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

impl TokenLocation {
    /// Where Istio looks when a rule says nothing.
    fn defaults() -> Box<[Self]> {
        Box::new([
            Self::Header { name: header::AUTHORIZATION, prefix: "Bearer ".into() },
            Self::Param("access_token".into()),
        ])
    }

    fn tokens<'a>(
        &'a self,
        headers: &'a HeaderMap,
        uri: &'a Uri,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        // One of the three has something; the types of the others are not named.
        let (field, prefix, param, cookie) = match self {
            Self::Header { name, prefix } => (Some(name), prefix.as_ref(), None, None),
            Self::Param(name) => (None, "", Some(name.as_ref()), None),
            Self::Cookie(name) => (None, "", None, Some(name.as_ref())),
        };
        let fields = field
            .into_iter()
            .flat_map(|name| headers.get_all(name))
            .filter_map(move |value| value.to_str().ok()?.strip_prefix(prefix));
        let params =
            param.into_iter().flat_map(|name| pairs(uri.query().unwrap_or_default(), '&', name));
        let cookies = cookie.into_iter().flat_map(|name| {
            let values = headers.get_all(header::COOKIE).into_iter();
            values
                .filter_map(|value| value.to_str().ok())
                .flat_map(move |value| pairs(value, ';', name))
        });
        fields.chain(params).chain(cookies).map(str::trim).filter(|token| !token.is_empty())
    }
}

/// Values of this name among `name=value` pairs.
fn pairs<'a>(text: &'a str, separator: char, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(separator)
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(found, _)| found.trim() == name)
        .map(|(_, value)| value)
}

impl JwtRule {
    /// What may be a token of this rule, in the order of its locations. Nothing is verified, nor
    /// decoded: a JWT has no characters that need it.
    pub fn tokens<'a>(
        &'a self,
        headers: &'a HeaderMap,
        uri: &'a Uri,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        self.locations.iter().flat_map(move |location| location.tokens(headers, uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_a_rule_says() {
        let field = |name: &'static str, prefix: &str| TokenLocation::Header {
            name: HeaderName::from_static(name),
            prefix: prefix.into(),
        };
        let param = |name: &str| TokenLocation::Param(name.into());
        let cookie = |name: &str| TokenLocation::Cookie(name.into());
        let defaults = TokenLocation::defaults().into_vec();
        for (locations, headers, uri, expect) in [
            (&defaults, &[("authorization", "Bearer a.b.c")][..], "/", &["a.b.c"][..]),
            (&defaults, &[("authorization", "bearer a")], "/", &[]),
            (&defaults, &[("authorization", "Basic a")], "/", &[]),
            (&defaults, &[("authorization", "Bearer ")], "/", &[]),
            (&defaults, &[], "/p?x=1&access_token=t&access_token=u", &["t", "u"]),
            (&defaults, &[("authorization", "Bearer a")], "/?access_token=b", &["a", "b"]),
            (&defaults, &[("cookie", "access_token=a")], "/?access_tokens=b", &[]),
            (
                &vec![field("x-jwt", "")],
                &[("x-jwt", "a"), ("authorization", "Bearer b")],
                "/",
                &["a"],
            ),
            (
                &vec![field("x-jwt", ""), param("t")],
                &[("x-jwt", "a"), ("x-jwt", "b")],
                "/?t=c",
                &["a", "b", "c"],
            ),
            (
                &vec![cookie("id")],
                &[("cookie", "x=1; id=a.b;y=id"), ("cookie", "id=c")],
                "/?id=d",
                &["a.b", "c"],
            ),
        ] {
            let rule = JwtRule { locations: locations.clone().into(), ..rule() };
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let uri: Uri = uri.parse().unwrap();
            let tokens: Vec<&str> = rule.tokens(&map, &uri).collect();
            assert_eq!(tokens, expect, "{locations:?} {headers:?} {uri}");
        }
    }

    fn rule() -> JwtRule {
        JwtRule {
            name: Arc::new(RuleName {
                policy: "a/b".into(),
                rule: Some(0),
                place: crate::Place { file: "f".into(), line: 1, column: 1 },
            }),
            issuer: "i".into(),
            audiences: Box::default(),
            keys: Keys::Inline("{}".into()),
            locations: Box::default(),
            output_payload: None,
            output_claims: Box::default(),
            forward_original_token: false,
            timeout: Duration::from_secs(5),
        }
    }
}
