//! Bounds of a statement's size, checked before anything recurses into it.

use airhost_core::{Result, codes};
use sqlparser::{
    dialect::PostgreSqlDialect,
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

/// Longest text of a statement or migration, in bytes.
pub(crate) const TEXT: usize = 1 << 20;
/// Deepest nesting.
pub(crate) const DEPTH: usize = 50;
/// Most operators and set operations: `1+1+…` nests without brackets, and dropping such a tree
/// takes a stack frame for each.
const OPERATORS: usize = 1_000;

/// The tokens of a text. String literals keep the quotes as written, because the parser's printer
/// cannot tell a doubled quote from two; written back, they are byte for byte what was checked.
pub(crate) fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>> {
    if text.len() > TEXT {
        return Err(codes::SQL_SYNTAX.error("the statement is longer than 1 MiB"));
    }
    if text.contains('\0') {
        return Err(codes::SQL_SYNTAX.error("the statement holds U+0000"));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| {
            codes::SQL_SYNTAX.error(format!("the statement cannot be parsed: {error}"))
        })?;
    let mut operators = 0;
    for token in &tokens {
        match &token.token {
            // A new statement of a migration starts a new tree.
            Token::SemiColon => operators = 0,
            token if nests(token) => operators += 1,
            _ => {}
        }
        if operators > OPERATORS {
            return Err(codes::SQL_SYNTAX.error("the statement has more than 1 000 operators"));
        }
    }
    Ok(tokens)
}

/// Whether a token may add a level to the tree without a bracket.
fn nests(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::BETWEEN
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::COLLATE
                | Keyword::AT
        ),
        Token::Whitespace(_)
        | Token::Comma
        | Token::SemiColon
        | Token::LParen
        | Token::RParen
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::EOF => false,
        _ => true,
    }
}
