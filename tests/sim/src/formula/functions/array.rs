//! Lists, as linked, looked-up and rolled-up columns give them.

use super::{Eval, Function, each, eager, number_or, text_at};
use crate::formula::ast::ResultKind::Text;
use crate::formula::eval::Env;
use crate::formula::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    eager("ARRAYJOIN", 1, 2, Text, join),
    eager("ARRAYUNIQUE", 1, 1, Text, unique),
    eager("ARRAYCOMPACT", 1, 1, Text, |args, _| {
        Ok(Value::List(flat(&args[..1]).into_iter().filter(|value| !value.is_blank()).collect()))
    }),
    eager("ARRAYFLATTEN", 1, 1, Text, |args, _| Ok(Value::List(flat(&args[..1])))),
    eager("ARRAYSLICE", 2, 3, Text, slice),
];

fn flat(args: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    each(args, &mut |value| {
        if !matches!(value, Value::Blank) || args.len() != 1 || matches!(args[0], Value::List(_)) {
            out.push(value.clone());
        }
    });
    out
}

fn join(args: &[Value], env: &dyn Env) -> Eval {
    let separator = if args.len() > 1 { text_at(args, 1) } else { ", ".to_owned() };
    let parts: Vec<_> = flat(&args[..1]).iter().map(Value::to_text).collect();
    let text = parts.join(&separator);
    env.budget().text(text.len())?;
    Ok(Value::Text(text))
}

fn unique(args: &[Value], env: &dyn Env) -> Eval {
    let mut out: Vec<Value> = Vec::new();
    for value in flat(&args[..1]) {
        env.budget().spend(out.len())?;
        if !out.iter().any(|known| known.equals(&value)) {
            out.push(value);
        }
    }
    Ok(Value::List(out))
}

/// From `start` to `end`, both counted from one and included; negative counts from the end.
fn slice(args: &[Value], _: &dyn Env) -> Eval {
    let values = flat(&args[..1]);
    let len = values.len() as f64;
    let place = |n: f64| (if n < 0.0 { len + n + 1.0 } else { n }).clamp(0.0, len) as usize;
    let start = place(args[1].to_number()?).max(1);
    let end = place(number_or(args, 2, len)?);
    Ok(Value::List(values.into_iter().take(end).skip(start - 1).collect()))
}
