//! JSON bodies, and where in them a fault is.

use serde::de::DeserializeOwned;

use super::{Cx, FromRequest};
use crate::{
    Error, Result, Schema, Violation,
    openapi::Operation,
    schema::{self, Type},
};

/// A JSON body (at most 1 MiB in a request) that passed the rules of its type, or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

const MAX_JSON: u64 = 1 << 20;

impl<T: DeserializeOwned + Schema> FromRequest for Json<T> {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        expect_json(cx)?;
        let body = cx.read_body(MAX_JSON)?;
        expect_object(T::schema(), &body)?;
        let value = parse::<T>(&body)?;
        schema::check(&value)?;
        Ok(Self(value))
    }

    fn describe(op: &mut Operation) {
        op.request(T::schema());
    }
}

/// 415 for a body that says it is something else.
fn expect_json(cx: &Cx) -> Result<()> {
    let Some(kind) = cx.request().header("content-type") else { return Ok(()) };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        Ok(())
    } else {
        Err(Error::new(415, "request.media-type", "send the body as application/json"))
    }
}

/// serde would take a list of the members in their order for a struct; the API does not.
fn expect_object(ty: Type, body: &[u8]) -> Result<()> {
    let first = body.iter().find(|c| !c.is_ascii_whitespace());
    if matches!(ty, Type::Object(_)) && first == Some(&b'[') {
        return Err(Error::violation("", "must be an object"));
    }
    Ok(())
}

/// Reads JSON: 400 for what is no JSON, 422 with a pointer for what does not fit the type.
///
/// # Errors
/// `request.json`, `request.validation`.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| explain(text, &error))
}

fn explain(text: &[u8], error: &serde_json::Error) -> Error {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(head, _)| head);
    if !error.is_data() {
        return Error::new(400, "request.json", format!("the body is not JSON: {message}"));
    }
    let mut pointer = pointer_at(text, offset(text, error.line(), error.column()));
    let quoted = || message.split('`').nth(1).unwrap_or_default();
    let message = if message.starts_with("missing field") {
        pointer.push('/');
        pointer.push_str(&escape(quoted()));
        "is required".to_owned()
    } else if message.starts_with("unknown field") {
        let name = escape(quoted());
        if pointer.rsplit('/').next() != Some(name.as_str()) {
            pointer.push('/');
            pointer.push_str(&name);
        }
        "is not a known member".to_owned()
    } else if let Some(rest) = message.strip_prefix("invalid type: ") {
        rest.split_once(", expected ").map_or_else(
            || message.to_owned(),
            |(_, expected)| format!("must be {}", words(expected)),
        )
    } else {
        message.to_owned()
    };
    Error::violations(vec![Violation { pointer, message }])
}

/// serde's names of types in the words of a user.
fn words(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

/// The byte offset of serde_json's line and column (both from 1).
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        start += text[start..].iter().position(|c| *c == b'\n').map_or(0, |at| at + 1);
    }
    (start + column).min(text.len())
}

/// The JSON pointer of the value that was being read at an offset: the path of open objects and
/// lists there. The text up to the offset was accepted as JSON before.
fn pointer_at(text: &[u8], offset: usize) -> String {
    enum Level {
        Object(Option<String>),
        List(usize),
    }
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    let mut key_next = false;
    while at < offset {
        match text[at] {
            b'{' => {
                levels.push(Level::Object(None));
                key_next = true;
            }
            b'[' => {
                levels.push(Level::List(0));
                key_next = false;
            }
            b'}' | b']' if at + 1 < offset => {
                levels.pop();
                key_next = false;
            }
            b',' if at + 1 < offset => match levels.last_mut() {
                Some(Level::Object(key)) => {
                    *key = None;
                    key_next = true;
                }
                Some(Level::List(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let end = string_end(text, at);
                if key_next {
                    let key = serde_json::from_slice(&text[at..end]).unwrap_or_default();
                    if let Some(level @ Level::Object(_)) = levels.last_mut() {
                        *level = Level::Object(Some(key));
                    }
                    key_next = false;
                }
                at = end - 1;
            }
            // The member a closing brace ends is no longer the one that is meant.
            b'}' => {
                if let Some(Level::Object(key)) = levels.last_mut() {
                    *key = None;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut pointer = String::new();
    for level in levels {
        match level {
            Level::Object(Some(key)) => {
                pointer.push('/');
                pointer.push_str(&escape(&key));
            }
            Level::Object(None) => {}
            Level::List(index) => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
        }
    }
    pointer
}

/// A name as a token of a JSON pointer (RFC 6901, section 3).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The offset after the closing quote of the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'"' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Outer {
        name: String,
        #[serde(default)]
        tags: Vec<Tag>,
        #[serde(default)]
        size: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Tag {
        id: u32,
        label: Option<String>,
    }

    #[test]
    fn faults_have_pointers() {
        let rows = [
            (r#"{"tags":[]}"#, "/name", "is required"),
            (r#"{"name":1}"#, "/name", "must be a string"),
            (r#"{"name":"a","size":300}"#, "/size", ""),
            (r#"{"name":"a","size":"x"}"#, "/size", "must be a whole number of at least 0"),
            (r#"{"name":"a","other":1}"#, "/other", "is not a known member"),
            (
                r#"{"name":"a","tags":[{"id":1},{"id":"2"}]}"#,
                "/tags/1/id",
                "must be a whole number of at least 0",
            ),
            (r#"{"name":"a","tags":[{"id":1},{"label":"x"}]}"#, "/tags/1/id", "is required"),
            (r#"{"name":"a","tags":[{"id":1,"x/y":[{}]}]}"#, "/tags/0/x~1y", ""),
            (r#"{"name":"a\"b","tags":7}"#, "/tags", "must be a list"),
            ("{\n \"name\": \"a\",\n \"tags\": {}\n}", "/tags", "must be a list"),
        ];
        for (text, pointer, message) in rows {
            let error = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(error.status(), 422, "{text}: {error}");
            assert_eq!(error.faults()[0].pointer, pointer, "{text}: {:?}", error.faults());
            if !message.is_empty() {
                assert_eq!(error.faults()[0].message, message, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_a_400() {
        for text in ["", "{", "{\"name\":}", "nul", "{\"name\":\"a\"} x", "\u{feff}{}"] {
            let error = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(error.status(), 400, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse::<serde_json::Value>(deep.as_bytes()).unwrap_err().status(), 400);
    }
}
