//! The formula language: lexer, parser and evaluator.
//!
//! The module knows nothing of tables: a formula is compiled against a function that turns a
//! column name into a column id, and evaluated against an [`Env`] that supplies the cells. Every
//! input is bounded: length and nesting at compile time, steps and text size at evaluation.

mod ast;
mod dates;
mod eval;
mod functions;
mod lexer;
mod moment;
mod parser;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use ast::{Expr, ResultKind};
pub(crate) use dates::{parse_date_text, zone_named};
pub(crate) use eval::{Budget, Env, EvalError, evaluate};
pub(crate) use moment::format as format_date;
pub(crate) use value::{DateValue, Value, number_text};

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Longest formula accepted, in bytes. Clients send filters of more than 17 000 characters.
const MAX_FORMULA_BYTES: usize = 100_000;

/// Why a formula cannot be compiled.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum CompileError {
    #[error("The formula is too long")]
    TooLong,
    #[error("The formula is nested too deeply")]
    TooDeep,
    #[error("Unexpected end of formula")]
    UnexpectedEnd,
    #[error("Unexpected {token} at position {at}")]
    Unexpected { token: String, at: usize },
    #[error("Unterminated {what} at position {at}")]
    Unterminated { what: &'static str, at: usize },
    #[error("Unknown field names: {0}")]
    UnknownFields(String),
    #[error("Unknown function: {0}")]
    UnknownFunction(String),
    #[error("Wrong number of arguments for {0}")]
    WrongArguments(&'static str),
}

/// A compiled formula.
#[derive(Debug, Clone)]
pub(crate) struct Formula {
    root: Expr,
    fields: Vec<String>,
    source: String,
}

impl Formula {
    /// Compiles `source`; `resolve` maps a column name or id to the column's id.
    pub(crate) fn compile(
        source: &str,
        resolve: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, CompileError> {
        if source.len() > MAX_FORMULA_BYTES {
            return Err(CompileError::TooLong);
        }
        let tokens = lexer::tokens(source)?;
        let parsed = parser::parse(&tokens, resolve)?;
        if !parsed.unknown.is_empty() {
            return Err(CompileError::UnknownFields(parsed.unknown.join(", ")));
        }
        let source = by_id(source, &parsed.named);
        Ok(Self { root: parsed.root, fields: parsed.fields, source })
    }

    /// The text of the formula with ids in place of the columns' names, so that it stays right
    /// when a column gets another name.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Ids of the columns that the formula reads, in order of first use.
    pub(crate) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// What kind of value the formula gives, as far as its outermost operation tells.
    pub(crate) fn result_kind(&self) -> ResultKind {
        self.root.result_kind()
    }

    /// Evaluates the formula.
    pub(crate) fn evaluate(&self, env: &dyn Env) -> Result<Value, EvalError> {
        evaluate(&self.root, env)
    }
}

/// Writes ids where `source` names columns. A text that would become too long stays as it is.
fn by_id(source: &str, named: &[(Range<usize>, String)]) -> String {
    let mut out = String::with_capacity(source.len());
    let mut done = 0;
    for (place, id) in named {
        out.push_str(&source[done..place.start]);
        out.push('{');
        for c in id.chars() {
            if matches!(c, '\\' | '}') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('}');
        done = place.end;
    }
    out.push_str(&source[done..]);
    if out.len() > MAX_FORMULA_BYTES { source.to_owned() } else { out }
}

impl Serialize for Formula {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// Reads what was written: columns are named by id.
impl<'de> Deserialize<'de> for Formula {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        let resolve = |id: &str| (id != "values").then(|| id.to_owned());
        Self::compile(&source, &resolve).map_err(de::Error::custom)
    }
}
