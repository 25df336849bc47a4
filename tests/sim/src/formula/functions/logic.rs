//! Conditions and errors.

use super::{ANY, Eval, Function, eager, lazy};
use crate::formula::ast::{Expr, ResultKind};
use crate::formula::eval::{Env, EvalError, evaluate};
use crate::formula::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    lazy("IF", 2, 3, ResultKind::Text, if_else),
    lazy("SWITCH", 3, ANY, ResultKind::Text, switch),
    lazy("ISERROR", 1, 1, ResultKind::Number, is_error),
    eager("AND", 1, ANY, ResultKind::Number, |args, _| {
        Ok(Value::Bool(args.iter().all(Value::truthy)))
    }),
    eager("OR", 1, ANY, ResultKind::Number, |args, _| {
        Ok(Value::Bool(args.iter().any(Value::truthy)))
    }),
    eager("XOR", 1, ANY, ResultKind::Number, |args, _| {
        Ok(Value::Bool(args.iter().filter(|arg| arg.truthy()).count() % 2 == 1))
    }),
    eager("NOT", 1, 1, ResultKind::Number, |args, _| Ok(Value::Bool(!args[0].truthy()))),
    eager("TRUE", 0, 0, ResultKind::Number, |_, _| Ok(Value::Bool(true))),
    eager("FALSE", 0, 0, ResultKind::Number, |_, _| Ok(Value::Bool(false))),
    eager("BLANK", 0, 0, ResultKind::Text, |_, _| Ok(Value::Blank)),
    eager("ERROR", 0, 1, ResultKind::Text, |_, _| Err(EvalError::Error)),
    eager("RECORD_ID", 0, 0, ResultKind::Text, |_, env| Ok(Value::text(env.record_id()))),
];

fn if_else(args: &[Expr], env: &dyn Env) -> Eval {
    if evaluate(&args[0], env)?.truthy() {
        evaluate(&args[1], env)
    } else {
        args.get(2).map_or(Ok(Value::Blank), |expr| evaluate(expr, env))
    }
}

fn switch(args: &[Expr], env: &dyn Env) -> Eval {
    let subject = evaluate(&args[0], env)?;
    let mut cases = args[1..].chunks_exact(2);
    for case in cases.by_ref() {
        if subject.equals(&evaluate(&case[0], env)?) {
            return evaluate(&case[1], env);
        }
    }
    cases.remainder().first().map_or(Ok(Value::Blank), |expr| evaluate(expr, env))
}

fn is_error(args: &[Expr], env: &dyn Env) -> Eval {
    match evaluate(&args[0], env) {
        Ok(Value::Num(number)) => Ok(Value::Bool(!number.is_finite())),
        Ok(_) => Ok(Value::Bool(false)),
        Err(EvalError::Error) => Ok(Value::Bool(true)),
        Err(EvalError::Exhausted) => Err(EvalError::Exhausted),
    }
}
