//! Path templates: `{*}` for one segment, `{**}` for any number of them.

/// A template, taken apart (Envoy: extensions/path/match/uri_template; Istio's `{*}` is its `*`,
/// `{**}` its `**`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// Segments in front of `{**}`, or all of them.
    segments: Box<[Segment]>,
    /// With `{**}`: what follows it, to the end.
    rest: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    One,
    Literal(Box<str>),
}

const ONE: &str = "{*}";
const ANY: &str = "{**}";

impl Template {
    /// Whether a value of `paths` is a template.
    pub(super) fn is_one(value: &str) -> bool {
        value.contains(ONE) || value.contains(ANY)
    }

    /// Reads a template; the error says what is wrong with it.
    pub(super) fn parse(value: &str) -> Result<Self, &'static str> {
        let path = value.strip_prefix('/').ok_or("it does not begin with `/`")?;
        let mut segments = Vec::new();
        let mut rest: Option<String> = None;
        for segment in path.split('/') {
            let segment = match segment {
                ONE => Segment::One,
                ANY if rest.is_none() => {
                    rest = Some(String::new());
                    continue;
                }
                ANY => return Err("`{**}` is the last operator of a template"),
                literal => Segment::Literal(Self::literal(literal)?.into()),
            };
            match (&mut rest, segment) {
                (None, segment) => segments.push(segment),
                (Some(rest), Segment::Literal(literal)) => {
                    rest.push('/');
                    rest.push_str(&literal);
                }
                (Some(_), Segment::One) => return Err("`{**}` is the last operator of a template"),
            }
        }
        Ok(Self { segments: segments.into(), rest: rest.map(Into::into) })
    }

    fn literal(segment: &str) -> Result<&str, &'static str> {
        if segment.contains(ONE) || segment.contains(ANY) {
            Err("`{*}` and `{**}` stand for whole segments")
        } else if segment.contains(['*', '{', '}']) {
            Err("beside `{*}` and `{**}` there are no `*`, `{` and `}` in a template")
        } else if segment.bytes().all(is_path_character) {
            Ok(segment)
        } else {
            Err("only the characters that RFC 3986 has for paths are in a template")
        }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let mut left = path;
        for segment in &self.segments {
            let Some(after) = left.strip_prefix('/') else { return false };
            let end = after.find('/').unwrap_or(after.len());
            let (found, after) = after.split_at(end);
            let fits = match segment {
                Segment::One => !found.is_empty() && found.bytes().all(is_path_character),
                Segment::Literal(literal) => found == literal.as_ref(),
            };
            if !fits {
                return false;
            }
            left = after;
        }
        match &self.rest {
            None => left.is_empty(),
            Some(rest) => left
                .strip_prefix('/')
                .and_then(|left| left.strip_suffix(rest.as_ref()))
                .is_some_and(|globbed| globbed.bytes().all(|b| b == b'/' || is_path_character(b))),
        }
    }
}

/// RFC 3986's `pchar` without `*`, which is how Envoy matches.
fn is_path_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};
    use regex::Regex;

    use super::*;

    #[test]
    fn templates_are_checked() {
        for (value, valid) in [
            ("/{*}", true),
            ("/{**}", true),
            ("/a/{*}/b/{**}", true),
            ("/a/{**}/b.tmp", true),
            ("/{*}/", true),
            ("a/{*}", false),
            ("/{*}.txt", false),
            ("/a{**}", false),
            ("/{**}/{*}", false),
            ("/{**}/a/{**}", false),
            ("/{*}/*", false),
            ("/{*}/{a}", false),
            ("/{*}/{a=*}", false),
            ("/{*}/{}", false),
            ("/{*}/ä", false),
            ("/{*}/a b", false),
            ("/{*}?a", false),
        ] {
            assert!(Template::is_one(value), "{value}");
            assert_eq!(Template::parse(value).is_ok(), valid, "{value}");
        }
        for value in ["/a", "/*", "/{a}", "*{*"] {
            assert!(!Template::is_one(value), "{value}");
        }
    }

    #[test]
    fn operators_match_as_in_envoy() {
        for (value, path, expect) in [
            ("/foo/{*}", "/foo/bar", true),
            ("/foo/{*}", "/foo/", false),
            ("/foo/{*}", "/foo", false),
            ("/foo/{*}", "/foo/bar/", false),
            ("/foo/{*}", "/foo/bar/baz", false),
            ("/foo/{*}", "/foo//bar/..", false),
            ("/foo/{*}", "/foo/b*r", false),
            ("/foo/{*}", "/foo/%2e", true),
            ("/foo/{*}/baz", "/foo/bar/baz", true),
            ("/foo/{*}/baz", "/foo/bar/bar", false),
            ("/foo/{*}/", "/foo/bar/", true),
            ("/foo/{*}/", "/foo/bar", false),
            ("/foo/{**}", "/foo/", true),
            ("/foo/{**}", "/foo", false),
            ("/foo/{**}", "/foo/a/b/c", true),
            ("/foo/{**}", "/food", false),
            ("/{**}", "/", true),
            ("/{**}/end", "/a/b/end", true),
            ("/{**}/end", "/end", false),
            ("/{**}/end", "//end", true),
            ("/{**}/end", "/a/bend", false),
            ("/{*}/x/{**}/end", "/a/x/b/c/end", true),
            ("/{*}/x/{**}/end", "/a/y/b/end", false),
            ("/foo/{**}", "/foo/a b", false),
        ] {
            assert_eq!(Template::parse(value).unwrap().matches(path), expect, "{value} {path}");
        }
    }

    /// The expression that Envoy makes of a template.
    fn envoys(template: &str) -> Regex {
        let character = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=";
        let segments = template[1..].split('/').map(|segment| match segment {
            ONE => format!("{character}]+"),
            ANY => format!("{character}/]*"),
            literal => regex::escape(literal),
        });
        let pattern: String = segments.map(|segment| format!("/{segment}")).collect();
        Regex::new(&format!("^{pattern}$")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2_000,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn templates_match_as_envoys_expressions(
            template in r"(/(a|b|\{\*\}|)){0,3}(/\{\*\*\}(/(a|b|)){0,2})?", path in "(/(a|b|ab|\\*| |)){0,6}"
        ) {
            prop_assume!(Template::is_one(&template));
            let found = Template::parse(&template).unwrap().matches(&path);
            prop_assert_eq!(found, envoys(&template).is_match(&path), "{} {}", template, path);
        }
    }
}
