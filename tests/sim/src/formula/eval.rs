//! The evaluator.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::ast::{Expr, Op};
use super::functions::Body;
use super::value::Value;

/// Longest text a formula may build.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Deepest evaluation, over formulas that read other formulas.
const MAX_DEPTH: u32 = 160;
/// Compiled size allowed to one regular expression.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Regular expressions kept during one request.
const MAX_REGEXES: usize = 64;

/// Why an evaluation has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum EvalError {
    /// The formula's own error, shown as `#ERROR!`; `ISERROR` sees it.
    #[error("#ERROR!")]
    Error,
    /// The request's budget is spent; nothing catches it.
    #[error("the formula takes too long to evaluate")]
    Exhausted,
}

/// What a formula reads while it is evaluated.
pub(crate) trait Env {
    /// The value of a column of the record at hand.
    fn field(&self, id: &str) -> Result<Value, EvalError>;
    fn record_id(&self) -> &str;
    fn created(&self) -> Timestamp;
    /// When any of the named columns (all when empty) changed last.
    fn modified(&self, fields: &[&str]) -> Option<Timestamp>;
    fn now(&self) -> Timestamp;
    /// The linked values that a rollup works on.
    fn values(&self) -> Value {
        Value::Blank
    }
    fn budget(&self) -> &Budget;
}

/// The bounds of one request's evaluations.
#[derive(Debug)]
pub(crate) struct Budget {
    fuel: Cell<u64>,
    depth: Cell<u32>,
    regexes: RefCell<HashMap<String, Regex>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            fuel: Cell::new(10_000_000),
            depth: Cell::new(0),
            regexes: RefCell::new(HashMap::new()),
        }
    }
}

impl Budget {
    /// Pays for `cost` steps or bytes.
    pub(crate) fn spend(&self, cost: usize) -> Result<(), EvalError> {
        let left = self.fuel.get().checked_sub(cost as u64).ok_or(EvalError::Exhausted)?;
        self.fuel.set(left);
        Ok(())
    }

    /// Accepts a text of `bytes` as a result.
    pub(crate) fn text(&self, bytes: usize) -> Result<(), EvalError> {
        if bytes > MAX_TEXT_BYTES {
            return Err(EvalError::Error);
        }
        self.spend(bytes / 16)
    }

    /// Runs `inner` one level deeper; `levels` is what it costs of the depth.
    pub(crate) fn nested<T>(
        &self,
        levels: u32,
        inner: impl FnOnce() -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let depth = self.depth.get();
        if depth + levels > MAX_DEPTH {
            return Err(EvalError::Error);
        }
        self.depth.set(depth + levels);
        let result = inner();
        self.depth.set(depth);
        result
    }

    /// The compiled form of `pattern`.
    pub(crate) fn regex(&self, pattern: &str) -> Result<Regex, EvalError> {
        let mut cache = self.regexes.borrow_mut();
        if let Some(found) = cache.get(pattern) {
            return Ok(found.clone());
        }
        self.spend(pattern.len() * 100)?;
        let compiled = RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_BYTES)
            .nest_limit(50)
            .build()
            .map_err(|_| EvalError::Error)?;
        if cache.len() >= MAX_REGEXES {
            cache.clear();
        }
        cache.insert(pattern.to_owned(), compiled.clone());
        Ok(compiled)
    }
}

/// Evaluates one node.
pub(crate) fn evaluate(expr: &Expr, env: &dyn Env) -> Result<Value, EvalError> {
    env.budget().spend(1)?;
    match expr {
        Expr::Num(number) => Ok(Value::Num(*number)),
        Expr::Text(text) => Ok(Value::Text(text.clone())),
        Expr::Field(id) => env.field(id),
        Expr::Values => Ok(env.values()),
        Expr::Neg(inner) => {
            let value = env.budget().nested(1, || evaluate(inner, env))?;
            Ok(Value::Num(-value.to_number()?))
        }
        Expr::Chain(first, rest) => env.budget().nested(1, || chain(first, rest, env)),
        Expr::Call(function, args) => env.budget().nested(1, || match function.body {
            Body::Lazy(body) => body(args, env),
            Body::Eager(body) => {
                let mut values = Vec::with_capacity(args.len());
                for arg in args {
                    values.push(evaluate(arg, env)?);
                }
                body(&values, env)
            }
        }),
    }
}

fn chain(first: &Expr, rest: &[(Op, Expr)], env: &dyn Env) -> Result<Value, EvalError> {
    let mut left = evaluate(first, env)?;
    for (op, right) in rest {
        let right = evaluate(right, env)?;
        left = apply(*op, left, &right, env)?;
    }
    Ok(left)
}

fn apply(op: Op, left: Value, right: &Value, env: &dyn Env) -> Result<Value, EvalError> {
    let ordered =
        |accept: fn(Ordering) -> bool| Ok(Value::Bool(left.order(right).is_some_and(accept)));
    match op {
        Op::Eq => Ok(Value::Bool(left.equals(right))),
        Op::Ne => Ok(Value::Bool(!left.equals(right))),
        Op::Lt => ordered(Ordering::is_lt),
        Op::Le => ordered(Ordering::is_le),
        Op::Gt => ordered(Ordering::is_gt),
        Op::Ge => ordered(Ordering::is_ge),
        Op::Concat => concat(left, right, env),
        // Two texts are joined by `+` as by `&`.
        Op::Add if matches!((&left, right), (Value::Text(_), Value::Text(_))) => {
            concat(left, right, env)
        }
        Op::Add => Ok(Value::Num(left.to_number()? + right.to_number()?)),
        Op::Sub => Ok(Value::Num(left.to_number()? - right.to_number()?)),
        Op::Mul => Ok(Value::Num(left.to_number()? * right.to_number()?)),
        Op::Div => Ok(Value::Num(left.to_number()? / right.to_number()?)),
    }
}

fn concat(left: Value, right: &Value, env: &dyn Env) -> Result<Value, EvalError> {
    let mut text = match left {
        Value::Text(text) => text,
        other => other.to_text(),
    };
    let right = right.to_text();
    env.budget().text(text.len() + right.len())?;
    text.push_str(&right);
    Ok(Value::Text(text))
}
