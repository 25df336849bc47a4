//! Migrations in portable types, as the host runs them on SQLite.

use std::collections::HashMap;

/// The portable type of each column: by table and column.
pub(super) type Types = HashMap<(String, String), Portable>;

/// A portable column type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portable {
    Uuid,
    Decimal,
    Json,
    Text,
    Timestamp,
    Boolean,
    Bigint,
    Double,
    Bytes,
}

impl Portable {
    fn named(word: &str) -> Option<(Self, &'static str)> {
        Some(match word.to_ascii_lowercase().as_str() {
            "uuid" => (Self::Uuid, "TEXT"),
            "decimal" => (Self::Decimal, "TEXT"),
            "json" => (Self::Json, "TEXT"),
            "text" => (Self::Text, "TEXT"),
            "timestamp" => (Self::Timestamp, "INTEGER"),
            "boolean" => (Self::Boolean, "INTEGER"),
            "bigint" => (Self::Bigint, "INTEGER"),
            "double" => (Self::Double, "REAL"),
            "bytes" => (Self::Bytes, "BLOB"),
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Space(&'a str),
    Other(&'a str),
}

fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let c = bytes[at];
        if c.is_ascii_alphanumeric() || c == b'_' {
            while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                at += 1;
            }
            tokens.push(Token::Word(&sql[start..at]));
        } else if sql[at..].starts_with("--") {
            at = sql[at..].find('\n').map_or(bytes.len(), |end| at + end);
            tokens.push(Token::Space(&sql[start..at]));
        } else if c == b'\'' || c == b'"' {
            at = sql[at + 1..].find(char::from(c)).map_or(bytes.len(), |end| at + end + 2);
            tokens.push(Token::Other(&sql[start..at]));
        } else {
            at += sql[at..].chars().next().map_or(1, char::len_utf8);
            let text = &sql[start..at];
            tokens.push(if c.is_ascii_whitespace() {
                Token::Space(text)
            } else {
                Token::Other(text)
            });
        }
    }
    tokens
}

/// The statements of a migration with SQLite's types, tables made `STRICT`.
pub(super) fn translate(sql: &str, types: &mut Types) -> Result<String, String> {
    let mut out = String::with_capacity(sql.len() + 64);
    let mut statement = Vec::new();
    for token in tokens(sql) {
        if token == Token::Other(";") {
            one(&statement, types, &mut out)?;
            out.push(';');
            statement.clear();
        } else {
            statement.push(token);
        }
    }
    one(&statement, types, &mut out)?;
    Ok(out)
}

fn one(statement: &[Token<'_>], types: &mut Types, out: &mut String) -> Result<(), String> {
    let words: Vec<String> = statement
        .iter()
        .filter_map(|token| match token {
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            _ => None,
        })
        .take(8)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (table, alter) = match words.as_slice() {
        ["create", "table", "if", "not", "exists", table, ..] | ["create", "table", table, ..] => {
            ((*table).to_owned(), false)
        }
        ["alter", "table", table, "add", ..] => ((*table).to_owned(), true),
        _ => {
            statement.iter().for_each(|token| out.push_str(text_of(token)));
            return Ok(());
        }
    };
    let mut depth = 0;
    // The words of the column definition so far: its name, then its type.
    let mut column: Vec<String> = Vec::new();
    let mut added = false;
    for token in statement {
        match token {
            Token::Other("(") => {
                depth += 1;
                if depth == 1 {
                    column.clear();
                }
            }
            Token::Other(")") => depth -= 1,
            Token::Other(",") if depth == 1 => column.clear(),
            Token::Word(word) if depth == 1 || (alter && added && depth == 0) => {
                let lower = word.to_ascii_lowercase();
                if alter && column.is_empty() && lower == "column" {
                    out.push_str(word);
                    continue;
                }
                column.push(lower);
                if let [name, ty] = column.as_slice()
                    && !matches!(
                        name.as_str(),
                        "primary" | "unique" | "foreign" | "check" | "constraint"
                    )
                {
                    let (portable, native) = Portable::named(ty)
                        .ok_or_else(|| format!("{table}.{name}: {ty} is not a portable type"))?;
                    types.insert((table.clone(), name.clone()), portable);
                    out.push_str(native);
                    continue;
                }
            }
            Token::Word(word) if alter && word.eq_ignore_ascii_case("add") => added = true,
            _ => {}
        }
        out.push_str(text_of(token));
    }
    if !alter {
        out.push_str(" STRICT");
    }
    Ok(())
}

fn text_of<'a>(token: &Token<'a>) -> &'a str {
    match token {
        Token::Word(text) | Token::Space(text) | Token::Other(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_types_become_strict_columns() {
        let mut types = Types::new();
        let sql = translate(
            "-- expand\nCREATE TABLE items (id uuid PRIMARY KEY, text text NOT NULL DEFAULT 'a, text)',\n\
             at timestamp, CHECK (at > 0), UNIQUE (id, at));\n\
             ALTER TABLE items ADD COLUMN json json;\nCREATE INDEX i ON items (text);",
            &mut types,
        )
        .unwrap();
        assert!(
            sql.contains("id TEXT PRIMARY KEY, text TEXT NOT NULL DEFAULT 'a, text)'"),
            "{sql}"
        );
        assert!(sql.contains("at INTEGER, CHECK (at > 0), UNIQUE (id, at)) STRICT;"), "{sql}");
        assert!(sql.contains("ADD COLUMN json TEXT;"), "{sql}");
        assert_eq!(types[&("items".to_owned(), "json".to_owned())], Portable::Json);
        assert_eq!(types[&("items".to_owned(), "id".to_owned())], Portable::Uuid);
    }

    #[test]
    fn other_types_are_refused() {
        let error = translate("CREATE TABLE t (n varchar(3))", &mut Types::new()).unwrap_err();
        assert!(error.contains("varchar"), "{error}");
    }
}
