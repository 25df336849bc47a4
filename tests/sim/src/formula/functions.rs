//! The functions of the language, by name.

mod array;
mod date;
mod logic;
mod number;
mod text;

use super::ast::{Expr, ResultKind};
use super::eval::{Env, EvalError};
use super::value::Value;

/// What evaluating gives.
pub(super) type Eval = Result<Value, EvalError>;

/// A function of the language.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) result: ResultKind,
    pub(crate) body: Body,
}

/// How a function is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// From the values of its arguments.
    Eager(fn(&[Value], &dyn Env) -> Eval),
    /// From its arguments unevaluated.
    Lazy(fn(&[Expr], &dyn Env) -> Eval),
}

const ANY: usize = usize::MAX;

const fn eager(
    name: &'static str,
    min: usize,
    max: usize,
    result: ResultKind,
    body: fn(&[Value], &dyn Env) -> Eval,
) -> Function {
    Function { name, min, max, result, body: Body::Eager(body) }
}

const fn lazy(
    name: &'static str,
    min: usize,
    max: usize,
    result: ResultKind,
    body: fn(&[Expr], &dyn Env) -> Eval,
) -> Function {
    Function { name, min, max, result, body: Body::Lazy(body) }
}

/// The function called `name`, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().flat_map(|table| table.iter()).find(|f| f.name.eq_ignore_ascii_case(name))
}

static TABLES: [&[Function]; 5] =
    [logic::FUNCTIONS, number::FUNCTIONS, text::FUNCTIONS, date::FUNCTIONS, array::FUNCTIONS];

/// The number at `at`, or `default` when the argument is not given.
fn number_or(args: &[Value], at: usize, default: f64) -> Result<f64, EvalError> {
    args.get(at).map_or(Ok(default), Value::to_number)
}

/// The text at `at`, empty when the argument is not given.
fn text_at(args: &[Value], at: usize) -> String {
    args.get(at).map(Value::to_text).unwrap_or_default()
}

/// Calls `visit` for every value, those inside lists included.
fn each<'a>(args: &'a [Value], visit: &mut dyn FnMut(&'a Value)) {
    for arg in args {
        match arg {
            Value::List(values) => each(values, visit),
            value => visit(value),
        }
    }
}
