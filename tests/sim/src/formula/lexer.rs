//! Text to tokens.

use std::iter::Peekable;
use std::str::CharIndices;

use super::CompileError;

/// A token with the byte positions where it starts and ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    pub(crate) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Num(f64),
    Text(String),
    Ident(String),
    Field(String),
    Symbol(&'static str),
}

impl Kind {
    /// The token as an error message names it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Num(number) => number.to_string(),
            Self::Text(_) => "text".to_owned(),
            Self::Ident(name) => name.clone(),
            Self::Field(name) => format!("{{{name}}}"),
            Self::Symbol(symbol) => (*symbol).to_owned(),
        }
    }
}

type Chars<'a> = Peekable<CharIndices<'a>>;

/// Splits a formula into tokens.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, CompileError> {
    let mut out = Vec::new();
    let mut chars = source.char_indices().peekable();
    while let Some(&(at, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let kind = match c {
            '"' | '\'' => text(&mut chars)?,
            '{' => field(&mut chars)?,
            '0'..='9' | '.' => number(source, &mut chars)?,
            _ if c == '_' || c.is_alphabetic() => ident(source, &mut chars),
            _ => symbol(&mut chars)?,
        };
        let end = chars.peek().map_or(source.len(), |&(at, _)| at);
        out.push(Token { kind, at, end });
    }
    Ok(out)
}

fn text(chars: &mut Chars<'_>) -> Result<Kind, CompileError> {
    let Some((at, quote)) = chars.next() else { return Err(CompileError::UnexpectedEnd) };
    let mut out = String::new();
    while let Some((_, c)) = chars.next() {
        if c == quote {
            return Ok(Kind::Text(out));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some((_, 'n')) => out.push('\n'),
            Some((_, 't')) => out.push('\t'),
            Some((_, 'r')) => out.push('\r'),
            Some((_, c @ ('\\' | '\'' | '"'))) => out.push(c),
            // An unknown escape keeps its backslash: regular expressions are written that way.
            Some((_, c)) => out.extend(['\\', c]),
            None => break,
        }
    }
    Err(CompileError::Unterminated { what: "text", at })
}

fn field(chars: &mut Chars<'_>) -> Result<Kind, CompileError> {
    let Some((at, _)) = chars.next() else { return Err(CompileError::UnexpectedEnd) };
    let mut out = String::new();
    while let Some((_, c)) = chars.next() {
        match c {
            '}' => return Ok(Kind::Field(out)),
            '\\' => match chars.next() {
                Some((_, c)) => out.push(c),
                None => break,
            },
            _ => out.push(c),
        }
    }
    Err(CompileError::Unterminated { what: "field name", at })
}

fn number(source: &str, chars: &mut Chars<'_>) -> Result<Kind, CompileError> {
    let start = chars.peek().map_or(source.len(), |&(at, _)| at);
    let mut end = start;
    let (mut dot, mut exponent) = (false, false);
    while let Some(&(at, c)) = chars.peek() {
        match c {
            '0'..='9' => {}
            '.' if !dot && !exponent => dot = true,
            'e' | 'E' if !exponent && exponent_follows(&source[at..]) => {
                exponent = true;
                chars.next();
                if let Some(&(_, '+' | '-')) = chars.peek() {
                    chars.next();
                }
                continue;
            }
            _ => break,
        }
        end = at + 1;
        chars.next();
    }
    source[start..end]
        .parse()
        .map(Kind::Num)
        .map_err(|_| CompileError::Unexpected { token: source[start..end].to_owned(), at: start })
}

fn exponent_follows(text: &str) -> bool {
    let digits = text[1..].strip_prefix(['+', '-']).unwrap_or(&text[1..]);
    digits.starts_with(|c: char| c.is_ascii_digit())
}

fn ident(source: &str, chars: &mut Chars<'_>) -> Kind {
    let start = chars.peek().map_or(source.len(), |&(at, _)| at);
    let mut end = start;
    while let Some(&(at, c)) = chars.peek() {
        if c != '_' && !c.is_alphanumeric() {
            break;
        }
        end = at + c.len_utf8();
        chars.next();
    }
    Kind::Ident(source[start..end].to_owned())
}

fn symbol(chars: &mut Chars<'_>) -> Result<Kind, CompileError> {
    let Some((at, c)) = chars.next() else { return Err(CompileError::UnexpectedEnd) };
    let next = chars.peek().map(|&(_, c)| c);
    let (symbol, long) = match (c, next) {
        ('!', Some('=')) => ("!=", true),
        ('<', Some('=')) => ("<=", true),
        ('>', Some('=')) => (">=", true),
        ('<', _) => ("<", false),
        ('>', _) => (">", false),
        ('=', _) => ("=", false),
        ('+', _) => ("+", false),
        ('-', _) => ("-", false),
        ('*', _) => ("*", false),
        ('/', _) => ("/", false),
        ('&', _) => ("&", false),
        ('(', _) => ("(", false),
        (')', _) => (")", false),
        (',', _) => (",", false),
        _ => return Err(CompileError::Unexpected { token: c.to_string(), at }),
    };
    if long {
        chars.next();
    }
    Ok(Kind::Symbol(symbol))
}
