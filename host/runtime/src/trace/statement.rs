//! What a statement is called in a trace.

use std::borrow::Cow;

/// Words that begin a statement.
const KINDS: [&str; 5] = ["select", "insert", "update", "delete", "with"];
/// Words before a table.
const BEFORE_TABLE: [&str; 3] = ["from", "into", "update"];
/// Longest name of a table in it, in bytes.
const MAX_TABLE: usize = 63;

/// The kind of a statement and the first table in it, without any value: `select users`. It is
/// read by words, not parsed: a trace must not cost what a statement costs.
pub(super) fn name(text: &str) -> Cow<'static, str> {
    let is = |known: &&'static str, word: &str| known.eq_ignore_ascii_case(word);
    let mut words = Words { rest: text };
    let mut before = words.next().unwrap_or_default();
    let Some(kind) = KINDS.into_iter().find(|kind| is(kind, before)) else {
        return Cow::Borrowed("statement");
    };
    for word in words {
        if BEFORE_TABLE.iter().any(|known| is(known, before)) {
            return format!("{kind} {}", &word[..word.floor_char_boundary(MAX_TABLE)]).into();
        }
        before = word;
    }
    Cow::Borrowed(kind)
}

/// The words of a statement outside of string literals.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        loop {
            let at = self.rest.find(|c| part(c) || c == '\'')?;
            let rest = &self.rest[at..];
            if let Some(literal) = rest.strip_prefix('\'') {
                // A doubled quote in it ends one literal and begins the next.
                self.rest = &literal[literal.find('\'')? + 1..];
                continue;
            }
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            self.rest = &rest[end..];
            return Some(&rest[..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_kind_and_table() {
        for (text, expect) in [
            ("SELECT id FROM users WHERE email = $1", "select users"),
            ("  select 1", "select"),
            ("INSERT INTO \"sessions\" (id) VALUES ($1)", "insert sessions"),
            ("update users set name = 'from secret' where id = 1", "update users"),
            ("select 'it''s from secret' as a from t", "select t"),
            ("DELETE\nFROM\n  tokens", "delete tokens"),
            ("with recent as (select id from events) select * from recent", "with events"),
            ("select 'never ended from x", "select"),
            ("pragma x", "statement"),
            ("", "statement"),
        ] {
            assert_eq!(name(text), expect, "{text}");
        }
    }
}
