//! `RequestAuthentication` as it is written, checked (Istio: pkg/config/validation,
//! `ValidateRequestAuthentication`).

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Uri};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{JwtRule, Keys, Policy, TokenLocation, keys};
use crate::{
    document::{Document, Head, Resource},
    finding::Finding,
    mesh::MeshConfig,
    notes::Notes,
    refused::refused,
    rule::RuleName,
    security::{
        annotations,
        refused_fields::{TargetRef, TargetRefs},
    },
    selector::{Selector, selected_labels},
    traffic::Span,
};

refused! {
    SpaceDelimited: "`spaceDelimitedClaims` is not supported: `scope` and `permission` are lists written with spaces, and no others; remove it",
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    selector: Option<Spanned<Selector>>,
    #[serde(rename = "targetRef")]
    _target_ref: Option<TargetRef>,
    #[serde(rename = "targetRefs")]
    _target_refs: Option<TargetRefs>,
    #[serde(default)]
    jwt_rules: Vec<Spanned<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    issuer: Option<Spanned<String>>,
    #[serde(default)]
    audiences: Vec<Spanned<String>>,
    jwks_uri: Option<Spanned<String>>,
    jwks: Option<Spanned<String>>,
    #[serde(default)]
    from_headers: Vec<FromHeader>,
    #[serde(default)]
    from_params: Vec<Spanned<String>>,
    #[serde(default)]
    from_cookies: Vec<Spanned<String>>,
    output_payload_to_header: Option<Spanned<String>>,
    #[serde(default)]
    output_claim_to_headers: Vec<ClaimToHeader>,
    forward_original_token: Option<bool>,
    timeout: Option<Spanned<Span>>,
    #[serde(rename = "spaceDelimitedClaims")]
    _space_delimited: Option<SpaceDelimited>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromHeader {
    name: Spanned<String>,
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimToHeader {
    header: Spanned<String>,
    claim: Spanned<String>,
}

/// Istio's.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn compile(
    document: &Document,
    head: &Head,
    mesh: &MeshConfig,
    findings: &mut Vec<Finding>,
) -> Option<Policy> {
    let resource: Resource<Spec> = match document.resource() {
        Ok(resource) => resource,
        Err(finding) => {
            findings.push(finding);
            return None;
        }
    };
    let mut notes = Notes::new(document, findings);
    let forwarding = annotations::FORWARD_UNRECOGNIZED;
    annotations::check(&resource.metadata, &[forwarding], &mut notes);
    let forward_unrecognized = annotations::flag(&resource.metadata, forwarding, &mut notes);
    let spec = resource.spec;
    let labels = selected_labels(spec.selector.as_ref(), &mut notes);
    let namespace = head.namespace(mesh).to_owned();
    let name: Arc<str> = format!("{namespace}/{}", resource.metadata.name.value).into();
    if spec.jwt_rules.is_empty() {
        notes.warning(
            &resource.metadata.name,
            "a RequestAuthentication without `jwtRules` does nothing",
        );
    }
    let rules = spec
        .jwt_rules
        .iter()
        .enumerate()
        .filter_map(|(position, written)| rule(written, position, &name, &mut notes))
        .map(Arc::new)
        .collect();
    Some(Policy { name, namespace, labels, forward_unrecognized, rules })
}

fn rule(
    written: &Spanned<Rule>,
    position: usize,
    policy: &Arc<str>,
    notes: &mut Notes<'_>,
) -> Option<JwtRule> {
    let rule = &written.value;
    let issuer = match &rule.issuer {
        Some(issuer) if !issuer.value.is_empty() => Some(issuer.value.as_str()),
        _ => {
            notes.error(written, "`issuer` is missing: a token's rule is found by its `iss`");
            None
        }
    };
    for (list, field) in [
        (&rule.audiences, "audiences"),
        (&rule.from_params, "fromParams"),
        (&rule.from_cookies, "fromCookies"),
    ] {
        for value in list.iter().filter(|value| value.value.is_empty()) {
            notes.error(value, format!("`{field}` has an empty value"));
        }
    }
    let keys = keys(written, notes);
    let headers: Vec<TokenLocation> = rule
        .from_headers
        .iter()
        .filter_map(|from| {
            let prefix = from.prefix.as_str().into();
            header(&from.name, notes).map(|name| TokenLocation::Header { name, prefix })
        })
        .collect();
    let text = |value: &Spanned<String>| value.value.as_str().into();
    let params = rule.from_params.iter().map(text).map(TokenLocation::Param);
    let cookies = rule.from_cookies.iter().map(text).map(TokenLocation::Cookie);
    let mut locations: Box<[TokenLocation]> =
        headers.into_iter().chain(params).chain(cookies).collect();
    if locations.is_empty() {
        locations = TokenLocation::defaults();
    }
    let output_payload =
        rule.output_payload_to_header.as_ref().and_then(|name| header(name, notes));
    let output_claims = rule
        .output_claim_to_headers
        .iter()
        .filter_map(|output| {
            if output.claim.value.is_empty() {
                notes.error(&output.claim, "`claim` is empty");
            }
            Some((header(&output.header, notes)?, text(&output.claim)))
        })
        .collect();
    let timeout = match &rule.timeout {
        Some(timeout) if timeout.value.0 < Duration::from_millis(1) => {
            notes.error(timeout, "`timeout` is at least 1ms");
            TIMEOUT
        }
        Some(timeout) => timeout.value.0,
        None => TIMEOUT,
    };
    Some(JwtRule {
        name: Arc::new(RuleName {
            policy: Arc::clone(policy),
            rule: Some(position),
            place: notes.at(written),
        }),
        issuer: issuer?.into(),
        audiences: rule.audiences.iter().map(text).collect(),
        keys: keys?,
        locations,
        output_payload,
        output_claims,
        forward_original_token: rule.forward_original_token.unwrap_or(false),
        timeout,
    })
}

fn keys(written: &Spanned<Rule>, notes: &mut Notes<'_>) -> Option<Keys> {
    match (&written.value.jwks_uri, &written.value.jwks) {
        (Some(_), Some(jwks)) => {
            notes.error(jwks, "a rule has `jwks` or `jwksUri`, and not both");
            None
        }
        (None, None) => {
            notes.error(
                written,
                "`jwksUri` or `jwks` is missing: keys are not discovered from the issuer",
            );
            None
        }
        (None, Some(jwks)) => match keys::problem(&jwks.value) {
            Some(problem) => {
                notes.error(jwks, problem);
                None
            }
            None => Some(Keys::Inline(jwks.value.as_str().into())),
        },
        (Some(written), None) => {
            let uri: Option<Uri> = written.value.parse().ok();
            let fetched = uri.filter(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.host().is_some_and(|host| !host.is_empty())
            });
            if fetched.is_none() {
                let message = format!("`{}` is not an http or https URI", written.value);
                notes.error(written, message);
            }
            fetched.map(Keys::Uri)
        }
    }
}

fn header(name: &Spanned<String>, notes: &mut Notes<'_>) -> Option<HeaderName> {
    let parsed = name.value.parse().ok();
    if parsed.is_none() {
        notes.error(name, format!("`{}` is not the name of a header field", name.value));
    }
    parsed
}
