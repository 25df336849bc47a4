//! Text. Positions count characters from one.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ANY, Eval, Function, each, eager, number_or, text_at};
use crate::formula::ast::ResultKind::{Number, Text};
use crate::formula::eval::{Env, EvalError};
use crate::formula::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    eager("LEN", 1, 1, Number, |args, _| Ok(Value::Num(text_at(args, 0).chars().count() as f64))),
    eager("LOWER", 1, 1, Text, |args, _| Ok(Value::Text(text_at(args, 0).to_lowercase()))),
    eager("UPPER", 1, 1, Text, |args, _| Ok(Value::Text(text_at(args, 0).to_uppercase()))),
    eager("TRIM", 1, 1, Text, |args, _| Ok(Value::text(text_at(args, 0).trim()))),
    eager("LEFT", 1, 2, Text, |args, _| slice(args, |_, count| (0, count))),
    eager("RIGHT", 1, 2, Text, |args, _| {
        slice(args, |len, count| (len.saturating_sub(count), count))
    }),
    eager("MID", 3, 3, Text, mid),
    eager("FIND", 2, 3, Number, |args, _| {
        let at = position(&text_at(args, 0), &text_at(args, 1), number_or(args, 2, 1.0)?);
        Ok(Value::Num(at.unwrap_or(0) as f64))
    }),
    eager("SEARCH", 2, 3, Number, |args, _| {
        let (needle, text) = (text_at(args, 0).to_lowercase(), text_at(args, 1).to_lowercase());
        let at = position(&needle, &text, number_or(args, 2, 1.0)?);
        Ok(at.map_or(Value::Blank, |at| Value::Num(at as f64)))
    }),
    eager("SUBSTITUTE", 3, 4, Text, substitute),
    eager("REPLACE", 4, 4, Text, replace),
    eager("CONCATENATE", 1, ANY, Text, concatenate),
    eager("REPT", 2, 2, Text, rept),
    eager("T", 1, 1, Text, |args, _| {
        Ok(match &args[0] {
            Value::Text(text) => Value::Text(text.clone()),
            _ => Value::Blank,
        })
    }),
    eager("ENCODE_URL_COMPONENT", 1, 1, Text, |args, _| {
        Ok(Value::Text(utf8_percent_encode(&text_at(args, 0), COMPONENT).to_string()))
    }),
    eager("REGEX_MATCH", 2, 2, Number, |args, env| {
        let text = text_at(args, 0);
        env.budget().text(text.len())?;
        Ok(Value::Bool(env.budget().regex(&text_at(args, 1))?.is_match(&text)))
    }),
    eager("REGEX_EXTRACT", 2, 2, Text, regex_extract),
    eager("REGEX_REPLACE", 3, 3, Text, regex_replace),
];

/// What `encodeURIComponent` leaves alone.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// A count as an index; negative and huge numbers saturate.
fn index(number: f64) -> usize {
    number.max(0.0) as usize
}

fn slice(args: &[Value], range: fn(usize, usize) -> (usize, usize)) -> Eval {
    let text = text_at(args, 0);
    let (skip, take) = range(text.chars().count(), index(number_or(args, 1, 1.0)?));
    Ok(Value::Text(text.chars().skip(skip).take(take).collect()))
}

fn mid(args: &[Value], _: &dyn Env) -> Eval {
    let skip = index(args[1].to_number()?).saturating_sub(1);
    let take = index(args[2].to_number()?);
    Ok(Value::Text(text_at(args, 0).chars().skip(skip).take(take).collect()))
}

/// Where `needle` is found, counted from one, not before `from`.
fn position(needle: &str, text: &str, from: f64) -> Option<usize> {
    let skip = index(from).saturating_sub(1);
    let start = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
    let found = start + text[start..].find(needle)?;
    Some(text[..found].chars().count() + 1)
}

fn substitute(args: &[Value], env: &dyn Env) -> Eval {
    let (text, old, new) = (text_at(args, 0), text_at(args, 1), text_at(args, 2));
    if old.is_empty() {
        return Ok(Value::Text(text));
    }
    let times = text.matches(old.as_str()).count();
    env.budget().text(text.len().saturating_add(times.saturating_mul(new.len())))?;
    let only = index(number_or(args, 3, 0.0)?);
    if only == 0 {
        return Ok(Value::Text(text.replace(&old, &new)));
    }
    Ok(Value::Text(match text.match_indices(old.as_str()).nth(only - 1) {
        Some((at, _)) => format!("{}{new}{}", &text[..at], &text[at + old.len()..]),
        None => text,
    }))
}

fn replace(args: &[Value], env: &dyn Env) -> Eval {
    let (text, new) = (text_at(args, 0), text_at(args, 3));
    let skip = index(args[1].to_number()?).saturating_sub(1);
    let count = index(args[2].to_number()?);
    env.budget().text(text.len() + new.len())?;
    let head = text.chars().take(skip);
    let tail = text.chars().skip(skip.saturating_add(count));
    Ok(Value::Text(head.chain(new.chars()).chain(tail).collect()))
}

fn concatenate(args: &[Value], env: &dyn Env) -> Eval {
    let mut out = String::new();
    each(args, &mut |value| out.push_str(&value.to_text()));
    env.budget().text(out.len())?;
    Ok(Value::Text(out))
}

fn rept(args: &[Value], env: &dyn Env) -> Eval {
    let text = text_at(args, 0);
    let times = index(args[1].to_number()?);
    env.budget().text(text.len().saturating_mul(times))?;
    Ok(Value::Text(text.repeat(if text.is_empty() { 0 } else { times })))
}

fn regex_extract(args: &[Value], env: &dyn Env) -> Eval {
    let text = text_at(args, 0);
    env.budget().text(text.len())?;
    let regex = env.budget().regex(&text_at(args, 1))?;
    let found = regex.captures(&text).ok_or(EvalError::Error)?;
    let part = found.get(1).or_else(|| found.get(0));
    Ok(part.map_or(Value::Blank, |part| Value::text(part.as_str())))
}

fn regex_replace(args: &[Value], env: &dyn Env) -> Eval {
    let (text, replacement) = (text_at(args, 0), text_at(args, 2));
    env.budget().text(text.len())?;
    let regex = env.budget().regex(&text_at(args, 1))?;
    let mut out = String::new();
    let mut last = 0;
    for found in regex.captures_iter(&text) {
        let Some(whole) = found.get(0) else { break };
        out.push_str(&text[last..whole.start()]);
        found.expand(&replacement, &mut out);
        env.budget().text(out.len())?;
        last = whole.end();
    }
    out.push_str(&text[last..]);
    Ok(Value::Text(out))
}
