//! A tree of path segments. Finding a route costs one step per segment, whatever the number of
//! routes.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Exactly this text.
    Text(String),
    /// Any one segment that is not empty, under a name.
    Name(String),
    /// All that follows, nothing included.
    Rest,
}

/// Why a template is not one.
#[derive(Debug, thiserror::Error)]
#[error("`{template}` is not a path template: {reason}")]
pub(crate) struct TemplateError {
    template: String,
    reason: &'static str,
}

/// Reads a template such as `/api/v1/users/{id}` or `/v0/**`.
pub(crate) fn parse(template: &str) -> Result<Vec<Segment>, TemplateError> {
    let fail = |reason| TemplateError { template: template.to_owned(), reason };
    let Some(path) = template.strip_prefix('/') else { return Err(fail("it must begin with `/`")) };
    if path.contains(['?', '#']) {
        return Err(fail("it must not have a query or fragment"));
    }
    let mut segments = Vec::new();
    for part in path.split('/') {
        if segments.last() == Some(&Segment::Rest) {
            return Err(fail("`**` must be the last segment"));
        }
        segments.push(match part {
            "**" => Segment::Rest,
            part => match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) if is_name(name) => {
                    let segment = Segment::Name(name.to_owned());
                    if segments.contains(&segment) {
                        return Err(fail("a name stands twice"));
                    }
                    segment
                }
                None if !part.contains(['{', '}', '*']) => Segment::Text(part.to_owned()),
                _ => {
                    return Err(fail(
                        "`{name}` and `**` must be whole segments; a name is a-z, 0-9, _ and -",
                    ));
                }
            },
        });
    }
    Ok(segments)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// A match: which values, and the undecoded parts of the path that the template's names (and
/// `**`) stand for, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'t, 'p, T> {
    pub(crate) values: &'t [T],
    pub(crate) captures: Vec<&'p str>,
}

/// Values by template. Several values may stand under one.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    text: HashMap<String, Trie<T>>,
    name: Option<Box<Trie<T>>>,
    here: Vec<T>,
    rest: Vec<T>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { text: HashMap::new(), name: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Trie<T> {
    /// The values that stand under a template, to be added to.
    pub(crate) fn at(&mut self, template: &[Segment]) -> &mut Vec<T> {
        match template {
            [] => &mut self.here,
            [Segment::Rest, ..] => &mut self.rest,
            [Segment::Text(text), more @ ..] => self.text.entry(text.clone()).or_default().at(more),
            [Segment::Name(_), more @ ..] => self.name.get_or_insert_default().at(more),
        }
    }

    /// Puts the values of every template in order.
    pub(crate) fn sort(&mut self, order: &impl Fn(&T) -> usize) {
        self.here.sort_by_key(order);
        self.rest.sort_by_key(order);
        for next in self.text.values_mut().chain(self.name.as_deref_mut()) {
            next.sort(order);
        }
    }

    /// Calls `take` with every template that the path fits, the most specific one first, until it
    /// answers something.
    pub(crate) fn find<'t, 'p, R>(
        &'t self,
        path: &'p str,
        take: &mut impl FnMut(Found<'t, 'p, T>) -> Option<R>,
    ) -> Option<R> {
        let path = path.strip_prefix('/')?;
        self.walk(Some(path), &mut Vec::new(), take)
    }

    fn walk<'t, 'p, R>(
        &'t self,
        path: Option<&'p str>,
        captures: &mut Vec<&'p str>,
        take: &mut impl FnMut(Found<'t, 'p, T>) -> Option<R>,
    ) -> Option<R> {
        if let Some(path) = path {
            let (segment, more) = match path.split_once('/') {
                Some((segment, more)) => (segment, Some(more)),
                None => (path, None),
            };
            if let Some(next) = self.text.get(segment)
                && let Some(found) = next.walk(more, captures, take)
            {
                return Some(found);
            }
            if let Some(next) = &self.name
                && !segment.is_empty()
            {
                captures.push(segment);
                if let Some(found) = next.walk(more, captures, take) {
                    return Some(found);
                }
                captures.pop();
            }
        } else if !self.here.is_empty()
            && let Some(found) = take(Found { values: &self.here, captures: captures.clone() })
        {
            return Some(found);
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut captures = captures.clone();
        captures.push(path.unwrap_or(""));
        take(Found { values: &self.rest, captures })
    }
}

/// The text a captured part stands for. What is not UTF-8 after decoding stays as it was sent.
pub(crate) fn decode(part: &str) -> String {
    percent_decode_str(part).decode_utf8().map_or_else(|_| part.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(templates: &[&'static str]) -> Trie<&'static str> {
        let mut trie = Trie::default();
        for template in templates {
            trie.at(&parse(template).unwrap()).push(*template);
        }
        trie
    }

    #[test]
    fn the_most_specific_template_wins() {
        let trie = trie(&[
            "/",
            "/v0/**",
            "/v0/meta/**",
            "/v0/{base}/{table}",
            "/users/{id}",
            "/users/me",
            "/a/{x}/c",
            "/a/b/**",
        ]);
        type Expected<'a> = Option<(&'a str, &'a [&'a str])>;
        let cases: &[(&str, Expected<'_>)] = &[
            ("/", Some(("/", &[]))),
            ("/v0", Some(("/v0/**", &[""]))),
            ("/v0/", Some(("/v0/**", &[""]))),
            ("/v0/app1/T%2F1", Some(("/v0/{base}/{table}", &["app1", "T%2F1"]))),
            ("/v0/app1/T/", Some(("/v0/**", &["app1/T/"]))),
            ("/v0/meta/bases", Some(("/v0/meta/**", &["bases"]))),
            ("/users/me", Some(("/users/me", &[]))),
            ("/users/7", Some(("/users/{id}", &["7"]))),
            ("/users/", None),
            ("/users", None),
            ("/a/b/c", Some(("/a/b/**", &["c"]))),
            ("/a/z/c", Some(("/a/{x}/c", &["z"]))),
            ("/a/z/d", None),
            ("", None),
            ("*", None),
        ];
        for (path, expected) in cases {
            let found = trie.find(path, &mut |found| Some((found.values[0], found.captures)));
            assert_eq!(
                found,
                expected.map(|(template, captures)| (template, captures.to_vec())),
                "{path}"
            );
        }
    }

    #[test]
    fn a_refused_match_leads_to_the_next() {
        let trie = trie(&["/v0/{base}/x", "/v0/**"]);
        let found = trie
            .find("/v0/b/x", &mut |found| (found.values[0] == "/v0/**").then_some(found.captures));
        assert_eq!(found, Some(vec!["b/x"]));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bad in ["", "a", "/a?b", "/{a}b", "/a*", "/**/b", "/{}", "/{a}/{a}", "/{A}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
