//! Values with a `*`, as Istio's policies compare them.

/// One value of a list (Istio: pilot/pkg/security/authz/matcher/string.go). The order in which the
/// forms are tried is Istio's, so that `*foo*` is a suffix with a star at its end, and a star
/// inside of a value is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// `*`: there is a value, and it is not empty.
    Any,
    /// `*end`.
    Suffix(Box<str>),
    /// `begin*`.
    Prefix(Box<str>),
    /// The value itself.
    Exact(Box<str>),
}

impl Text {
    pub(crate) fn new(value: &str) -> Self {
        if value == "*" {
            Self::Any
        } else if let Some(suffix) = value.strip_prefix('*') {
            Self::Suffix(suffix.into())
        } else if let Some(prefix) = value.strip_suffix('*') {
            Self::Prefix(prefix.into())
        } else {
            Self::Exact(value.into())
        }
    }

    /// The part that is compared as it stands.
    pub(crate) fn literal(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Suffix(text) | Self::Prefix(text) | Self::Exact(text) => text,
        }
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        self.matches_bytes(value.as_bytes())
    }

    /// The same for what need not be UTF-8: values of header fields.
    pub(crate) fn matches_bytes(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => !value.is_empty(),
            Self::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Exact(exact) => value == exact.as_bytes(),
        }
    }

    /// Without regard to the case of ASCII letters.
    pub(crate) fn matches_any_case(&self, value: &str) -> bool {
        let value = value.as_bytes();
        match self {
            Self::Any => !value.is_empty(),
            Self::Suffix(suffix) => value
                .len()
                .checked_sub(suffix.len())
                .is_some_and(|start| value[start..].eq_ignore_ascii_case(suffix.as_bytes())),
            Self::Prefix(prefix) => value
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::Exact(exact) => value.eq_ignore_ascii_case(exact.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_tried_in_istios_order() {
        for (value, text, matches, ignoring_case) in [
            ("*", "a", true, true),
            ("*", "", false, false),
            ("*end", "the end", true, true),
            ("*end", "the END", false, true),
            ("*end", "nd", false, false),
            ("*end", "ends", false, false),
            ("begin*", "beginning", true, true),
            ("begin*", "BEGINNING", false, true),
            ("begin*", "begi", false, false),
            ("a", "a", true, true),
            ("a", "A", false, true),
            ("a", "ab", false, false),
            ("*a*", "bab", false, false),
            ("*a*", "ba*", true, true),
            ("a*b", "axb", false, false),
            ("a*b", "a*b", true, true),
            ("**", "b*", true, true),
            ("**", "b", false, false),
            ("a*", "é", false, false),
        ] {
            assert_eq!(Text::new(value).matches(text), matches, "{value} {text}");
            assert_eq!(Text::new(value).matches_any_case(text), ignoring_case, "{value} {text}");
        }
    }
}
