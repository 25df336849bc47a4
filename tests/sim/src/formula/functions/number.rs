//! Numbers.

use super::{ANY, Eval, Function, each, eager, number_or};
use crate::formula::ast::ResultKind::Number;
use crate::formula::eval::{Env, EvalError};
use crate::formula::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    eager("ABS", 1, 1, Number, |args, _| map(args, f64::abs)),
    eager("ROUND", 1, 2, Number, |args, _| scaled(args, round_half_away)),
    eager("ROUNDUP", 1, 2, Number, |args, _| {
        scaled(args, |x| if x < 0.0 { x.floor() } else { x.ceil() })
    }),
    eager("ROUNDDOWN", 1, 2, Number, |args, _| scaled(args, f64::trunc)),
    eager("INT", 1, 1, Number, |args, _| map(args, f64::floor)),
    eager("EVEN", 1, 1, Number, |args, _| map(args, |x| away_to(x, 0.0))),
    eager("ODD", 1, 1, Number, |args, _| map(args, |x| away_to(x, 1.0))),
    eager("SQRT", 1, 1, Number, |args, _| map(args, f64::sqrt)),
    eager("EXP", 1, 1, Number, |args, _| map(args, f64::exp)),
    eager("LOG", 1, 2, Number, log),
    eager("POWER", 2, 2, Number, |args, _| {
        Ok(Value::Num(args[0].to_number()?.powf(args[1].to_number()?)))
    }),
    eager("MOD", 2, 2, Number, modulo),
    eager("CEILING", 1, 2, Number, |args, _| step(args, f64::ceil)),
    eager("FLOOR", 1, 2, Number, |args, _| step(args, f64::floor)),
    eager("VALUE", 1, 1, Number, value),
    eager("SUM", 1, ANY, Number, |args, _| Ok(Value::Num(numbers(args).iter().sum()))),
    eager("AVERAGE", 1, ANY, Number, average),
    eager("MIN", 1, ANY, Number, |args, _| extreme(args, f64::min)),
    eager("MAX", 1, ANY, Number, |args, _| extreme(args, f64::max)),
    eager("COUNT", 1, ANY, Number, |args, _| Ok(count(args, |v| matches!(v, Value::Num(_))))),
    eager("COUNTA", 1, ANY, Number, |args, _| Ok(count(args, |v| !v.is_blank()))),
    eager("COUNTALL", 1, ANY, Number, |args, _| Ok(count(args, |_| true))),
];

fn map(args: &[Value], f: fn(f64) -> f64) -> Eval {
    Ok(Value::Num(f(args[0].to_number()?)))
}

/// Numbers among the arguments; text and empty cells do not count.
fn numbers(args: &[Value]) -> Vec<f64> {
    let mut out = Vec::new();
    each(args, &mut |value| match value {
        Value::Num(number) => out.push(*number),
        Value::Bool(flag) => out.push(f64::from(u8::from(*flag))),
        _ => {}
    });
    out
}

fn count(args: &[Value], counts: fn(&Value) -> bool) -> Value {
    let mut total = 0u32;
    each(args, &mut |value| total += u32::from(counts(value)));
    Value::Num(f64::from(total))
}

fn average(args: &[Value], _: &dyn Env) -> Eval {
    let numbers = numbers(args);
    Ok(Value::Num(numbers.iter().sum::<f64>() / numbers.len() as f64))
}

fn extreme(args: &[Value], pick: fn(f64, f64) -> f64) -> Eval {
    let mut dates = Vec::new();
    each(args, &mut |value| {
        if let Value::Date(date) = value {
            dates.push(date.clone());
        }
    });
    if !dates.is_empty() {
        dates.sort_by_key(|date| date.at);
        let last = if pick(0.0, 1.0) > 0.0 { dates.len() - 1 } else { 0 };
        return Ok(Value::Date(dates.swap_remove(last)));
    }
    Ok(Value::Num(numbers(args).into_iter().reduce(pick).unwrap_or(0.0)))
}

/// Half goes away from zero. The nudge undoes binary noise such as 1.005 * 100 = 100.49999.
fn round_half_away(x: f64) -> f64 {
    (x + x.signum() * x.abs() * f64::EPSILON).round()
}

fn scaled(args: &[Value], f: fn(f64) -> f64) -> Eval {
    let places = number_or(args, 1, 0.0)?.clamp(-300.0, 300.0).trunc();
    let number = args[0].to_number()?;
    let factor = 10f64.powi(places.abs() as i32);
    let rounded =
        if places < 0.0 { f(number / factor) * factor } else { f(number * factor) / factor };
    Ok(Value::Num(if rounded.is_finite() { rounded } else { number }))
}

/// The next integer away from zero whose remainder by two is `remainder`.
fn away_to(x: f64, remainder: f64) -> f64 {
    let mut whole = x.abs().ceil();
    if whole % 2.0 != remainder {
        whole += 1.0;
    }
    if x < 0.0 { -whole } else { whole }
}

fn log(args: &[Value], _: &dyn Env) -> Eval {
    let (number, base) = (args[0].to_number()?, number_or(args, 1, 10.0)?);
    // The dedicated logarithms are exact where the quotient of two logarithms is not.
    Ok(Value::Num(if base == 10.0 {
        number.log10()
    } else if base == 2.0 {
        number.log2()
    } else {
        number.log(base)
    }))
}

fn modulo(args: &[Value], _: &dyn Env) -> Eval {
    let (value, divisor) = (args[0].to_number()?, args[1].to_number()?);
    if divisor == 0.0 {
        return Err(EvalError::Error);
    }
    Ok(Value::Num(value - divisor * (value / divisor).floor()))
}

fn step(args: &[Value], f: fn(f64) -> f64) -> Eval {
    let significance = number_or(args, 1, 1.0)?;
    if significance == 0.0 {
        return Ok(Value::Num(0.0));
    }
    Ok(Value::Num(f(args[0].to_number()? / significance) * significance))
}

fn value(args: &[Value], _: &dyn Env) -> Eval {
    let Value::Text(text) = &args[0] else { return args[0].to_number().map(Value::Num) };
    let kept: String =
        text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-')).collect();
    let number: f64 = kept.parse().map_err(|_| EvalError::Error)?;
    Ok(Value::Num(if text.trim_end().ends_with('%') { number / 100.0 } else { number }))
}
