//! Conditions on a text: exact, prefix, regular expression, or that it is there.

use regex::bytes::Regex;
use serde_saphyr::Spanned;

use super::{review::Review, spec::StringMatch};

/// `StringMatch`. Case counts, unless said otherwise.
#[derive(Clone, Debug)]
pub(super) enum Text {
    /// Any value.
    Present,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    /// Anchored at both ends.
    Regex(Regex),
}

impl Text {
    /// Reads a condition; `{}` and the regular expression `*` mean that there is a value
    /// (Istio: `canBeConvertedToPresentMatch`).
    pub(super) fn read(review: &mut Review<'_>, of: &Spanned<StringMatch>) -> Option<Self> {
        match (&of.value.exact, &of.value.prefix, &of.value.regex) {
            (None, None, None) => Some(Self::Present),
            (Some(exact), None, None) => Some(Self::Exact(exact.as_bytes().into())),
            (None, Some(prefix), None) if prefix.is_empty() => {
                review.error(of, "an empty `prefix` matches every value; write {} for any value");
                None
            }
            (None, Some(prefix), None) => Some(Self::Prefix(prefix.as_bytes().into())),
            (None, None, Some(regex)) if regex == "*" => Some(Self::Present),
            (None, None, Some(regex)) => review.regex(of, regex).map(Self::Regex),
            _ => {
                review.error(of, "use one of `exact`, `prefix` and `regex`, not several");
                None
            }
        }
    }

    /// As [`Self::read`], for what is always there, so that a condition must be one.
    pub(super) fn required(
        review: &mut Review<'_>,
        name: &str,
        of: &Spanned<StringMatch>,
    ) -> Option<Self> {
        match Self::read(review, of)? {
            Self::Present => {
                review.error(of, format!("`{name}` needs `exact`, `prefix` or `regex`"));
                None
            }
            text => Some(text),
        }
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(exact) => value == &**exact,
            Self::Prefix(prefix) => value.starts_with(prefix),
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    /// As [`Self::matches`] without regard to the case of ASCII letters in exact values and
    /// prefixes.
    pub(super) fn matches_any_case(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value.eq_ignore_ascii_case(exact),
            Self::Prefix(prefix) => {
                value.get(..prefix.len()).is_some_and(|front| front.eq_ignore_ascii_case(prefix))
            }
            Self::Present | Self::Regex(_) => self.matches(value),
        }
    }
}
