use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A JSON line for people: time, level, service, message, fields, correlation. What is not such a
/// line is left as it is.
#[must_use]
pub fn render(line: &str, color: bool) -> String {
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(line) else {
        return line.to_owned();
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let level = text("level");
    let (begin, end) = match (color, level) {
        (false, _) => ("", ""),
        (true, "error") => ("\x1b[31m", "\x1b[0m"),
        (true, "warn") => ("\x1b[33m", "\x1b[0m"),
        (true, "info") => ("\x1b[32m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m"),
    };
    // 2026-01-02T03:04:05.678901Z: the clock, to the millisecond.
    let time = text("time").get(11..23).unwrap_or_else(|| text("time"));
    let mut out = format!("{time} {begin}{level:>5}{end} {}", text("service"));
    for name in ["message", "method", "path"] {
        if !text(name).is_empty() {
            let _ok = write!(out, "  {}", visible(text(name)));
        }
    }
    for name in ["response_code", "duration", "response_flags"] {
        if let Some(value) = members.get(name) {
            let _ok = write!(out, "  {name}={}", plain(value));
        }
    }
    if let Some(Value::Object(fields)) = members.get("fields") {
        for (name, value) in fields {
            let _ok = write!(out, "  {}={}", visible(name), plain(value));
        }
    }
    if !text("correlation_id").is_empty() {
        let _ok = write!(out, "  [{}]", text("correlation_id"));
    }
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.contains(' ') => visible(text),
        value => value.to_string(),
    }
}

/// Without control characters: a guest's line must not move the cursor or end the line.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
