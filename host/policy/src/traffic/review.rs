//! What every resource is checked with: findings with their places, and the values that several
//! kinds have.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use airhost_core::ServiceName;
use http::{HeaderName, StatusCode};
use regex::bytes::{Regex, RegexBuilder};
use serde_saphyr::Spanned;

use super::{
    hosts::Pattern,
    spec::{Percent, Span},
};
use crate::{
    document::{Document, Metadata},
    finding::{Finding, Place},
    mesh::MeshConfig,
    traffic::Proportion,
};

/// A regular expression may take so much memory when it is compiled, in bytes.
const REGEX_SIZE: usize = 1 << 20;
/// What the policies say in `airhost.dev/` annotations begins with this.
const OWN_ANNOTATIONS: &str = "airhost.dev/";

/// One resource under review.
pub(super) struct Review<'a> {
    document: &'a Document,
    findings: &'a mut Vec<Finding>,
    errors: usize,
    /// The resource's namespace.
    pub(super) namespace: Arc<str>,
    /// `namespace/name`.
    pub(super) resource: Arc<str>,
    /// Where its name stands.
    pub(super) place: Place,
    /// The namespace of the services.
    services: &'a str,
}

/// Who sees a resource, `exportTo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    Everywhere,
    OwnNamespace,
}

impl<'a> Review<'a> {
    pub(super) fn new(
        document: &'a Document,
        metadata: &Metadata,
        mesh: &'a MeshConfig,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        let namespace = metadata.namespace.as_ref().map_or(&mesh.namespace, |own| &own.value);
        Self {
            document,
            findings,
            errors: 0,
            namespace: namespace.as_str().into(),
            resource: format!("{namespace}/{}", metadata.name.value).into(),
            place: document.at(&metadata.name),
            services: &mesh.namespace,
        }
    }

    pub(super) fn error<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.errors += 1;
        self.findings.push(Finding::error(self.document.at(at), message));
    }

    pub(super) fn warning<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.findings.push(Finding::warning(self.document.at(at), message));
    }

    pub(super) fn at<T>(&self, value: &Spanned<T>) -> Place {
        self.document.at(value)
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.errors == 0
    }

    /// An annotation that switches something on with `"true"`.
    pub(super) fn switch(&mut self, metadata: &Metadata, name: &str) -> bool {
        match metadata.annotations.get(name) {
            None => false,
            Some(value) => match value.value.as_str() {
                "true" => true,
                "false" => false,
                _ => {
                    self.error(value, format!("`{name}` is \"true\" or \"false\""));
                    false
                }
            },
        }
    }

    /// Refuses annotations of the project's own that this kind does not have.
    pub(super) fn own_annotations(&mut self, metadata: &Metadata, known: &[&str]) {
        for (name, value) in &metadata.annotations {
            if name.starts_with(OWN_ANNOTATIONS) && !known.contains(&name.as_str()) {
                self.error(value, format!("this kind has no annotation `{name}`; remove it"));
            }
        }
    }

    pub(super) fn host(&mut self, text: &Spanned<String>) -> Option<Pattern> {
        Pattern::parse(&text.value, &self.namespace, self.services)
            .map_err(|message| self.error(text, message))
            .ok()
    }

    /// A host that is one host.
    pub(super) fn exact_host(&mut self, text: &Spanned<String>) -> Option<Arc<str>> {
        let pattern = self.host(text)?;
        if pattern.exact().is_none() {
            self.error(text, format!("`{}` is many hosts; a call goes to one", text.value));
        }
        pattern.exact().map(Into::into)
    }

    pub(super) fn port(&mut self, number: &Spanned<u32>) -> Option<u16> {
        let port = u16::try_from(number.value).ok().filter(|port| *port > 0);
        if port.is_none() {
            self.error(number, format!("`{}` is not a port; ports are 1 to 65535", number.value));
        }
        port
    }

    /// A duration of at least a millisecond, which is what Istio's validation asks for.
    pub(super) fn duration(&mut self, name: &str, span: &Spanned<Span>) -> Option<Duration> {
        let duration = span.value.0;
        if duration < Duration::from_millis(1) {
            self.error(span, format!("`{name}` must be at least 1ms"));
            return None;
        }
        Some(duration)
    }

    /// A duration where 0 says that there is none.
    pub(super) fn duration_or_off(
        &mut self,
        name: &str,
        span: &Spanned<Span>,
    ) -> Option<Option<Duration>> {
        if span.value.0.is_zero() {
            return Some(None);
        }
        self.duration(name, span).map(Some)
    }

    pub(super) fn percent(&mut self, percent: &Spanned<Percent>) -> Option<Proportion> {
        let value = percent.value.value;
        if !(0.0..=100.0).contains(&value) {
            self.error(percent, "a percentage is 0 to 100");
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e6")]
        let per_million = (value * 10_000.0).round() as u32;
        if per_million == 0 && value > 0.0 {
            self.warning(percent, format!("{value} % is less than 0.0001 % and becomes 0 %"));
        }
        Some(Proportion { per_million })
    }

    /// A whole percentage, of a field that has been replaced by one with fractions.
    pub(super) fn old_percent(&mut self, percent: &Spanned<u32>) -> Option<Proportion> {
        if percent.value > 100 {
            self.error(percent, "a percentage is 0 to 100");
            return None;
        }
        Some(Proportion { per_million: percent.value * 10_000 })
    }

    /// A status between two others.
    pub(super) fn status(
        &mut self,
        status: &Spanned<u32>,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<StatusCode> {
        let found = u16::try_from(status.value).ok().and_then(|s| StatusCode::from_u16(s).ok());
        let found = found.filter(|_| range.contains(&status.value));
        if found.is_none() {
            let (from, to) = (range.start(), range.end());
            self.error(status, format!("`{}` is not a status of {from} to {to}", status.value));
        }
        found
    }

    pub(super) fn header_name(&mut self, text: &Spanned<String>) -> Option<HeaderName> {
        let name = HeaderName::from_bytes(text.value.as_bytes());
        if name.is_err() {
            self.error(text, format!("`{}` is not the name of a header field", text.value));
        }
        name.ok()
    }

    /// A regular expression that a whole value is held against.
    pub(super) fn regex<T>(&mut self, at: &Spanned<T>, pattern: &str) -> Option<Regex> {
        // On its own first, so that the expression cannot close the group around it.
        self.any_regex(at, pattern)?;
        self.any_regex(at, &format!(r"\A(?:{pattern})\z"))
    }

    /// A regular expression that is searched for.
    pub(super) fn any_regex<T>(&mut self, at: &Spanned<T>, pattern: &str) -> Option<Regex> {
        RegexBuilder::new(pattern)
            .size_limit(REGEX_SIZE)
            .build()
            .map_err(|error| {
                let message = match error {
                    regex::Error::CompiledTooBig(_) => {
                        format!("the regular expression `{pattern}` takes too much memory; make it smaller")
                    }
                    other => {
                        // The last line is the sentence; those before it draw an arrow.
                        let text = other.to_string();
                        let why = text.lines().last().unwrap_or_default();
                        let why = why.strip_prefix("error: ").unwrap_or(why);
                        format!("`{pattern}` is not a regular expression: {why}")
                    }
                };
                self.error(at, message);
            })
            .ok()
    }

    /// `exportTo`.
    pub(super) fn export_to(&mut self, export_to: Option<&Spanned<Vec<String>>>) -> Visibility {
        let Some(list) = export_to else { return Visibility::Everywhere };
        match list.value.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] | ["*"] => Visibility::Everywhere,
            ["."] => Visibility::OwnNamespace,
            _ => {
                self.error(
                    list,
                    "`exportTo` is [\"*\"] (every namespace) or [\".\"] (this one); single namespaces are not supported",
                );
                Visibility::Everywhere
            }
        }
    }

    /// `from`: the services that a resource is for; none is all.
    pub(super) fn callers(
        &mut self,
        from: Option<&Spanned<Vec<Spanned<String>>>>,
    ) -> Option<BTreeSet<ServiceName>> {
        let list = from?;
        if list.value.is_empty() {
            self.error(list, "`from` names no service; remove it to mean all of them");
        }
        let mut callers = BTreeSet::new();
        for text in &list.value {
            match text.value.parse::<ServiceName>() {
                Ok(name) if callers.contains(&name) => {
                    self.error(text, format!("`{name}` is there twice; remove one"));
                }
                Ok(name) => {
                    callers.insert(name);
                }
                Err(error) => self.error(text, error.to_string()),
            }
        }
        Some(callers)
    }
}
