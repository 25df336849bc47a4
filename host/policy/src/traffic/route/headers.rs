//! Changes of header fields.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_saphyr::Spanned;

use crate::traffic::{review::Review, spec};

/// Fields that frame the message or belong to the connection (RFC 9110, section 7.6.1).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is done to the header fields of a request and of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Before the request leaves the caller.
    pub request: HeaderOperations,
    /// Before the caller sees the answer.
    pub response: HeaderOperations,
}

/// Removed first, then set, then added (Envoy: `HeaderParser::evaluateHeaders`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderOperations {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderOperations {
    /// Whether nothing is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Does it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    fn read(
        review: &mut Review<'_>,
        of: &spec::HeaderOperations,
        mut authority: Option<&mut Vec<HeaderValue>>,
    ) -> Self {
        let mut fields = |review: &mut Review<'_>, of: &BTreeMap<String, Spanned<String>>| {
            let mut found = Vec::new();
            for (name, text) in of {
                let Some(value) = value(review, text) else { continue };
                match (field(name), &mut authority) {
                    (Name::Authority, Some(authority)) => authority.push(value),
                    (Name::Field(name), _) => found.push((name, value)),
                    (wrong, _) => review.error(text, wrong.reason(name)),
                }
            }
            found
        };
        let set = fields(review, &of.set);
        let add = fields(review, &of.add);
        let mut remove = Vec::new();
        for text in &of.remove {
            match field(&text.value) {
                Name::Field(name) => remove.push(name),
                wrong => review.error(text, wrong.reason(&text.value)),
            }
        }
        Self { remove, set, add }
    }
}

impl HeaderChanges {
    /// Reads the changes, and the authorities that the request is given by them.
    pub(super) fn read(
        review: &mut Review<'_>,
        of: Option<&spec::HeaderChanges>,
    ) -> (Self, Vec<HeaderValue>) {
        let mut authority = Vec::new();
        let Some(of) = of else { return (Self::default(), authority) };
        let request = HeaderOperations::read(review, &of.request, Some(&mut authority));
        let response = HeaderOperations::read(review, &of.response, None);
        (Self { request, response }, authority)
    }
}

/// What a name stands for.
enum Name {
    Field(HeaderName),
    /// `host` or `:authority`.
    Authority,
    Pseudo,
    Framing,
    Wrong,
}

impl Name {
    fn reason(&self, name: &str) -> String {
        match self {
            Self::Authority => {
                format!("`{name}` can only be set or added, and only in a request")
            }
            Self::Pseudo => format!(
                "`{name}` is no header field and cannot be changed here; use `rewrite` for the path and the host"
            ),
            Self::Framing => {
                format!("`{name}` frames the message or belongs to the connection; remove it")
            }
            Self::Wrong | Self::Field(_) => format!("`{name}` is not the name of a header field"),
        }
    }
}

fn field(name: &str) -> Name {
    if name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority") {
        return Name::Authority;
    }
    if name.starts_with(':') {
        return Name::Pseudo;
    }
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) if FRAMING.contains(&name.as_str()) => Name::Framing,
        Ok(name) => Name::Field(name),
        Err(_) => Name::Wrong,
    }
}

/// A value as it is sent. Envoy puts what it knows of a request in the place of `%NAME%`, which
/// would be sent as it stands here; `%%` is a percent sign there and here.
fn value(review: &mut Review<'_>, text: &Spanned<String>) -> Option<HeaderValue> {
    if text.value.replace("%%", "").contains('%') {
        review.error(
            text,
            "commands as `%REQ(name)%` are not supported in values; write `%%` for a percent sign",
        );
        return None;
    }
    let value = HeaderValue::from_str(&text.value.replace("%%", "%"));
    if value.is_err() {
        review.error(text, "the value of a header field is visible characters on one line");
    }
    value.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let operations = HeaderOperations {
            remove: vec![name("a")],
            set: vec![(name("a"), value("1")), (name("b"), value("2"))],
            add: vec![(name("a"), value("3")), (name("c"), value("4"))],
        };
        let mut headers = HeaderMap::new();
        for (field, text) in [("a", "old"), ("a", "older"), ("b", "old"), ("d", "kept")] {
            headers.append(name(field), value(text));
        }
        operations.apply(&mut headers);
        let mut seen: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        seen.sort_unstable();
        let expect: [(&str, &[u8]); 5] =
            [("a", b"1"), ("a", b"3"), ("b", b"2"), ("c", b"4"), ("d", b"kept")];
        assert_eq!(seen, expect);
    }
}
