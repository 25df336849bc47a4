//! What policies say of a peer and of a token's subject.

use airhost_core::SpiffeId;

use crate::{claims::Claims, text::Text};

/// A value of `principals`, against the id without its scheme: Istio puts `spiffe://` in front of
/// the value, and `*` is any id.
pub(super) fn principal_matches(value: &Text, peer: &SpiffeId) -> bool {
    let uri = peer.as_str();
    value.matches(uri.strip_prefix("spiffe://").unwrap_or(uri))
}

/// A value of `namespaces`: `.*/ns/<value>/.*` with a `*` anywhere for anything, slashes too
/// (Istio: pilot/pkg/security/authz/model/generator.go, `srcNamespaceGenerator`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namespace(Box<[Box<str>]>);

impl Namespace {
    pub(super) fn new(value: &str) -> Self {
        let delimited = format!("/ns/{value}/");
        Self(delimited.split('*').map(Into::into).collect())
    }

    pub(super) fn matches(&self, peer: &SpiffeId) -> bool {
        let mut rest = peer.as_str();
        // Anything may stand before, between and behind the parts: the first place of each will
        // do.
        self.0.iter().all(|part| match rest.find(part.as_ref()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

/// A value of `serviceAccounts`: `ns/<namespace>` and later `sa/<account>` among the path's
/// segments (Istio: the same file, `serviceAccountRegex`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) namespace: Box<str>,
    pub(super) account: Box<str>,
}

impl Account {
    pub(super) fn matches(&self, peer: &SpiffeId) -> bool {
        let mut segments = peer.path().split('/').skip(1);
        let mut has = |name: &str, value: &str| {
            let mut previous = "";
            segments.any(|segment| {
                let found = previous == name && segment == value;
                previous = segment;
                found
            })
        };
        has("ns", &self.namespace) && has("sa", &self.account)
    }
}

/// A value of `requestPrincipals`, `<iss>/<sub>`: an issuer has slashes of its own, so the last one
/// divides (Istio: the same file, `requestPrincipalGenerator`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestPrincipal {
    issuer: Text,
    subject: Text,
}

impl RequestPrincipal {
    pub(super) fn new(value: &str) -> Self {
        let exact = |text: &str| Text::Exact(text.into());
        let (issuer, subject) = match value.rsplit_once('/') {
            None if value == "*" => (Text::Any, Text::Any),
            None => match Text::new(value) {
                suffix @ Text::Suffix(_) => (Text::Any, suffix),
                prefix @ Text::Prefix(_) => (prefix, Text::Any),
                Text::Any | Text::Exact(_) => (exact(value), exact("")),
            },
            Some((issuer, subject)) if value.starts_with('*') => {
                (Text::new(issuer), exact(subject))
            }
            Some((issuer, "*")) => (exact(issuer), Text::Any),
            Some((issuer, subject)) if subject.ends_with('*') => {
                (exact(issuer), Text::Prefix(subject[..subject.len() - 1].into()))
            }
            Some((issuer, subject)) => (exact(issuer), exact(subject)),
        };
        Self { issuer, subject }
    }

    pub(super) fn matches(&self, claims: &Claims) -> bool {
        self.issuer.matches(&claims.issuer) && self.subject.matches(&claims.subject)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};
    use regex::Regex;

    use super::*;

    fn id(text: &str) -> SpiffeId {
        SpiffeId::parse(text).unwrap()
    }

    #[test]
    fn namespaces_have_stars_anywhere() {
        for (value, peer, expect) in [
            ("a", "spiffe://td/ns/a/sa/x", true),
            ("a", "spiffe://td/ns/ab/sa/x", false),
            ("a", "spiffe://td/ns/a", false),
            ("*", "spiffe://td/ns/a/sa/x", true),
            ("*", "spiffe://td/other/a", false),
            ("a*", "spiffe://td/ns/ab/sa/x", true),
            ("*b", "spiffe://td/ns/ab/sa/x", true),
            ("a*c", "spiffe://td/ns/abc/sa/x", true),
            ("a*c", "spiffe://td/ns/abd/sa/x", false),
            ("a*c*e", "spiffe://td/ns/abcde/sa/x", true),
            ("*x*", "spiffe://td/ns/a/sa/x", false),
            ("a*x", "spiffe://td/ns/a/sa/x/y", true),
            ("a.c", "spiffe://td/ns/abc/sa/x", false),
        ] {
            assert_eq!(Namespace::new(value).matches(&id(peer)), expect, "{value} {peer}");
        }
    }

    #[test]
    fn accounts_are_segments() {
        for (namespace, account, peer, expect) in [
            ("a", "x", "spiffe://td/ns/a/sa/x", true),
            ("a", "x", "spiffe://td/ns/b/sa/x", false),
            ("a", "x", "spiffe://td/ns/a/sa/xy", false),
            ("a", "x", "spiffe://td/ns/a/sa/x/more", true),
            ("a", "x", "spiffe://td/ns/a/k/v/sa/x", true),
            ("a", "x", "spiffe://td/k/ns/a/sa/x", true),
            ("a", "x", "spiffe://td/sa/x/ns/a", false),
            ("a", "x", "spiffe://td/ns/a", false),
            ("a", "x.y", "spiffe://td/ns/a/sa/xzy", false),
        ] {
            let account = Account { namespace: namespace.into(), account: account.into() };
            assert_eq!(account.matches(&id(peer)), expect, "{account:?} {peer}");
        }
    }

    #[test]
    fn request_principals_are_divided_at_their_last_slash() {
        for (value, issuer, subject, expect) in [
            ("*", "i", "s", true),
            ("*", "i", "", false),
            ("*", "", "s", false),
            ("https://i/x/s", "https://i/x", "s", true),
            ("https://i/x/s", "https://i", "x/s", false),
            ("https://i/*", "https://i", "s", true),
            ("https://i/*", "https://j", "s", false),
            ("https://i/s*", "https://i", "sub", true),
            ("https://i/s*", "https://i", "x", false),
            ("*/s", "https://i", "s", true),
            ("*i/s", "https://i", "s", true),
            ("*i/s", "https://j", "s", false),
            ("*sub", "https://i", "the-sub", true),
            ("iss*", "issuer", "s", true),
            ("i", "i", "s", false),
            ("*/s*", "https://i", "sub", false),
        ] {
            let claims = Claims {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
                ..Claims::default()
            };
            assert_eq!(RequestPrincipal::new(value).matches(&claims), expect, "{value} {claims:?}");
        }
    }

    /// An id with the segments that matter, in whatever order.
    fn ids() -> impl Strategy<Value = SpiffeId> {
        prop::collection::vec(r"ns|sa|a|ab|b|a\.b", 0..7).prop_map(|segments| {
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            id(&format!("spiffe://td{path}"))
        })
    }

    fn whole(regex: &str) -> Regex {
        Regex::new(&format!("^(?:{regex})$")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2_000,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        /// Against the expressions that Istio gives to Envoy.
        #[test]
        fn identities_match_as_istios_expressions(
            peer in ids(), value in "[ab.*]{1,4}", account in r"a|b|ab|a\.b"
        ) {
            let glob = regex::escape(&value).replace("\\*", ".*");
            let expected = whole(&format!(".*/ns/{glob}/.*")).is_match(peer.as_str());
            prop_assert_eq!(Namespace::new(&value).matches(&peer), expected);

            let escaped = regex::escape(&account);
            let expected = whole(&format!("spiffe://.+/ns/a/(.+/|)sa/{escaped}(/.+)?"));
            let found = Account { namespace: "a".into(), account: account.into() }.matches(&peer);
            prop_assert_eq!(found, expected.is_match(peer.as_str()));
        }
    }
}
