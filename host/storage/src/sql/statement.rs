//! What a statement may be: one data statement in the dialect both engines take.
//!
//! The text is parsed, checked against a list of what is allowed, and written anew for each
//! engine, so that an engine runs what was checked and not what was sent. Results are cached by
//! text.

mod functions;
mod limits;
mod typing;
mod walk;

use std::sync::Arc;

use airhost_core::{Error, Result, codes};
use arc_swap::ArcSwapOption;
use sqlparser::{
    ast, dialect::PostgreSqlDialect, keywords::Keyword, parser::Parser, tokenizer::Token,
};

pub(crate) use typing::{ColumnRef, Hint, Output};
pub(crate) use walk::{
    JSON_GET, JSON_TEXT, MOST_PARAMETERS, identifier, reserved_table, single_name, walk_definition,
};

use super::Portable;

/// Who sent a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A guest: the host's tables do not exist for it.
    Guest,
    /// The host: may use `_airhost_*` tables and `FOR UPDATE SKIP LOCKED` (which SQLite, with its
    /// one writer, does without).
    Host,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads.
    Read,
    /// It writes; `returning` says whether it has rows to answer.
    Write {
        /// Whether it has `RETURNING`.
        returning: bool,
    },
}

/// A checked statement.
#[derive(Debug)]
pub struct Statement {
    pub(crate) origin: Origin,
    pub(crate) kind: Kind,
    sqlite: String,
    postgres: String,
    /// What each parameter meets, by position.
    pub(crate) params: Vec<Hint>,
    /// Operands of arithmetic, which must be `bigint` or `double` columns.
    pub(crate) numbers: Vec<Hint>,
    /// The columns of the result as far as the text says, in order.
    pub(crate) outputs: Vec<Output>,
    /// The parameters' types, for one version of the schema.
    pub(crate) inputs: ArcSwapOption<Inputs>,
    /// The result's types, for one version of the schema.
    pub(crate) resolved: ArcSwapOption<Resolved>,
}

/// The types of a statement's parameters against one version of the schema.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The version of the catalog.
    pub(crate) version: u64,
    /// The types where they are known.
    pub(crate) types: Vec<Option<Portable>>,
}

/// The types of a statement's result against one version of the schema.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The version of the catalog.
    pub(crate) version: u64,
    /// The result's column names.
    pub(crate) columns: Arc<[String]>,
    /// The result's types where they are known.
    pub(crate) types: Vec<Option<Portable>>,
}

impl Statement {
    /// What it does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many parameters it takes.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.params.len()
    }

    /// The text for SQLite.
    #[must_use]
    pub fn sqlite(&self) -> &str {
        &self.sqlite
    }

    /// The text for PostgreSQL.
    #[must_use]
    pub fn postgres(&self) -> &str {
        &self.postgres
    }
}

/// Checks a statement.
///
/// # Errors
/// `sql.syntax`, `sql.not-allowed`, and `sql.parameter` when the parameters are not `$1` to `$n`
/// without a gap.
pub fn check(text: &str, origin: Origin) -> Result<Statement> {
    let mut statements = parse(text).map_err(|error| other_kind(text).unwrap_or(error))?;
    let Some(mut parsed) = statements.pop() else {
        return Err(codes::SQL_SYNTAX.error("the statement is empty"));
    };
    if !statements.is_empty() {
        return Err(codes::SQL_NOT_ALLOWED.error("more than one statement was sent"));
    }
    // Locks stay in this text: PostgreSQL needs those that the walk takes out for SQLite.
    let postgres = parsed.to_string();
    let checked = walk::walk(&mut parsed, origin)?;
    Ok(Statement {
        origin,
        kind: checked.kind,
        sqlite: parsed.to_string(),
        postgres,
        params: checked.params,
        numbers: checked.numbers,
        outputs: checked.outputs,
        inputs: ArcSwapOption::empty(),
        resolved: ArcSwapOption::empty(),
    })
}

/// What is said of a text that cannot be parsed but plainly is no data statement.
fn other_kind(text: &str) -> Option<Error> {
    let tokens = limits::tokenize(text).ok()?;
    let first = tokens.iter().find(|token| !matches!(token.token, Token::Whitespace(_)))?;
    let Token::Word(word) = &first.token else { return None };
    match word.keyword {
        Keyword::NoKeyword
        | Keyword::SELECT
        | Keyword::INSERT
        | Keyword::UPDATE
        | Keyword::DELETE
        | Keyword::WITH => None,
        _ => Some(walk::not_a_data_statement()),
    }
}

/// Whether a text is a name that may be put into a statement as it is.
pub(crate) fn identifier_fits(name: &str) -> bool {
    identifier(&mut ast::Ident::new(name)).is_ok_and(|folded| folded == name)
}

/// Parses statements separated by `;`, within the limits that keep the parser's and the
/// engines' recursion small.
///
/// # Errors
/// `sql.syntax`; with the attribute `statement` (from 1) when it is not the first.
pub(crate) fn parse(text: &str) -> Result<Vec<ast::Statement>> {
    let tokens = limits::tokenize(text)?;
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(limits::DEPTH)
        .with_tokens_with_locations(tokens);
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token().token == Token::EOF {
            return Ok(statements);
        }
        let number = statements.len() + 1;
        let failed = |error: &sqlparser::parser::ParserError| {
            syntax(error).with("statement", number.to_string())
        };
        statements.push(parser.parse_statement().map_err(|error| failed(&error))?);
        let next = parser.peek_token();
        let ended = matches!(next.token, Token::SemiColon | Token::EOF);
        if !ended {
            // A known word here is most often a clause of another dialect.
            let word = match &next.token {
                Token::Word(word) if word.keyword != Keyword::NoKeyword => word.value.clone(),
                _ => "what follows".to_owned(),
            };
            return Err(codes::SQL_SYNTAX
                .error(format!("{word} is not understood at {}", next.span.start))
                .with("statement", number.to_string()));
        }
    }
}

fn syntax(error: &sqlparser::parser::ParserError) -> Error {
    use sqlparser::parser::ParserError;
    match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            codes::SQL_SYNTAX.error(format!("the statement cannot be parsed: {message}"))
        }
        ParserError::RecursionLimitExceeded => {
            codes::SQL_SYNTAX.error("the statement is nested too deeply")
        }
    }
}

/// Checked statements by text, bounded by the size of the texts.
#[derive(Debug)]
pub struct Statements {
    cache: moka::sync::Cache<(Origin, String), Arc<Statement>>,
}

/// Text that the cache holds at most, in bytes.
const CACHED_TEXT: u64 = 4 << 20;

impl Default for Statements {
    fn default() -> Self {
        let weigh = |key: &(Origin, String), _: &Arc<Statement>| {
            u32::try_from(key.1.len() + 256).unwrap_or(u32::MAX)
        };
        Self {
            cache: moka::sync::Cache::builder().max_capacity(CACHED_TEXT).weigher(weigh).build(),
        }
    }
}

impl Statements {
    /// The checked statement of a text.
    ///
    /// # Errors
    /// As [`check`]; errors are not cached.
    pub fn get(&self, text: &str, origin: Origin) -> Result<Arc<Statement>> {
        let key = (origin, text.to_owned());
        if let Some(statement) = self.cache.get(&key) {
            return Ok(statement);
        }
        let statement = Arc::new(check(text, origin)?);
        self.cache.insert(key, Arc::clone(&statement));
        Ok(statement)
    }

    /// Forgets everything, after the schema has changed.
    pub(crate) fn clear(&self) {
        self.cache.invalidate_all();
    }
}

#[cfg(test)]
mod tests;
