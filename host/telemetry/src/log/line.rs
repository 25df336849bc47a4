use std::{
    cell::Cell,
    fmt::{self, Write as _},
    time::Duration,
};

use airhost_core::ServiceName;
use jiff::Timestamp;
use serde::de::IgnoredAny;

use super::{Level, redact};

/// Room for a usual line.
const CAPACITY: usize = 512;
/// A buffer that grew larger than this is not kept.
const KEEP: usize = 64 << 10;

/// A JSON line while it is written: into a buffer of the thread, so that writing one allocates
/// nothing.
#[derive(Debug)]
pub(crate) struct Line {
    text: String,
}

impl Line {
    pub(crate) fn with<R>(write: impl FnOnce(&mut Self) -> R) -> R {
        thread_local! {
            static BUFFER: Cell<String> = const { Cell::new(String::new()) };
        }
        // Taken, not borrowed: formatting a value may log.
        let mut text = BUFFER.take();
        text.clear();
        text.reserve(CAPACITY);
        let mut line = Self { text };
        let result = write(&mut line);
        if line.text.capacity() <= KEEP {
            BUFFER.set(line.text);
        }
        result
    }

    pub(crate) fn begin(&mut self, level: Level, service: &str) {
        self.text.push_str("{\"time\":\"");
        time(&mut self.text, Timestamp::now());
        self.text.push_str("\",\"level\":\"");
        self.text.push_str(level.as_str());
        self.text.push('"');
        self.text("service", service);
    }

    pub(crate) fn end(&mut self) -> &str {
        self.text.push('}');
        &self.text
    }

    /// A member with a text, if there is one.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.name(name);
            string(&mut self.text, value);
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ok = write!(self.text, "{value}");
    }

    pub(crate) fn hex(&mut self, name: &str, bytes: &[u8]) {
        self.name(name);
        self.text.push('"');
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                self.text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        self.text.push('"');
    }

    /// A duration in milliseconds, with three decimals.
    pub(crate) fn millis(&mut self, name: &str, duration: Duration) {
        let micros = duration.as_micros();
        self.name(name);
        // Writing to a String cannot fail.
        let _ok = write!(self.text, "{}.{:03}", micros / 1000, micros % 1000);
    }

    /// A time in RFC 3339, with microseconds.
    pub(crate) fn time(&mut self, name: &str, at: Timestamp) {
        self.name(name);
        self.text.push('"');
        time(&mut self.text, at);
        self.text.push('"');
    }

    /// A member whose text needs no escapes.
    pub(crate) fn shown(&mut self, name: &str, value: &impl fmt::Display) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ok = write!(self.text, "\"{value}\"");
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.text.push_str(json);
    }

    pub(crate) fn service(&mut self, name: &str, service: &ServiceName) {
        self.text(name, service.as_str());
    }

    /// Message and fields of a guest, of at most `limit` bytes.
    pub(super) fn guest_content(
        &mut self,
        message: &str,
        fields: &[(String, String)],
        limit: usize,
    ) {
        let kept = &message[..message.floor_char_boundary(limit)];
        let mut left = limit - kept.len();
        let mut truncated = kept.len() < message.len();
        self.text("message", &redact::text(kept));
        let mut open = false;
        for (name, value) in fields {
            let size = name.len() + value.len();
            if size > left {
                truncated = true;
                continue;
            }
            left -= size;
            if !open {
                self.name("fields");
                self.text.push('{');
                open = true;
            } else {
                self.text.push(',');
            }
            string(&mut self.text, name);
            self.text.push(':');
            guest_value(&mut self.text, name, value);
        }
        if open {
            self.text.push('}');
        }
        if truncated {
            self.raw("truncated", "true");
        }
    }

    fn name(&mut self, name: &str) {
        self.text.push_str(",\"");
        self.text.push_str(name);
        self.text.push_str("\":");
    }
}

/// A time in RFC 3339, with microseconds. Calendar arithmetic is done once a second and thread.
fn time(out: &mut String, now: Timestamp) {
    /// `2026-01-31T23:59:59`
    const SECONDS: usize = 19;
    thread_local! {
        static LAST: Cell<(i64, [u8; SECONDS])> = const { Cell::new((i64::MIN, [0; SECONDS])) };
    }
    let (mut second, mut text) = LAST.get();
    if second != now.as_second() {
        let whole = format!("{now:.0}");
        let Some(head) = whole.as_bytes().first_chunk() else {
            out.push_str(&whole);
            return;
        };
        (second, text) = (now.as_second(), *head);
        LAST.set((second, text));
    }
    out.extend(text.map(char::from));
    let micros = now.subsec_microsecond();
    let _ok = write!(out, ".{micros:06}Z");
}

/// A guest's value: JSON if it is, else a text; without secrets.
fn guest_value(out: &mut String, name: &str, value: &str) {
    let structured = value.starts_with(['{', '[', '"']);
    if structured && let Ok(mut parsed) = serde_json::from_str::<serde_json::Value>(value) {
        redact::value(name, &mut parsed);
        let _ok = write!(out, "{parsed}");
    } else if !structured && serde_json::from_str::<IgnoredAny>(value).is_ok() {
        // A number or a literal. It may end in white space, even a line break.
        out.push_str(value.trim());
    } else {
        field_text(out, name, value);
    }
}

/// The text of a field, hidden if the field is named after a secret.
pub(super) fn field_text(out: &mut String, name: &str, value: &str) {
    if redact::is_secret(name) {
        string(out, redact::REDACTED);
    } else {
        string(out, &redact::text(value));
    }
}

/// A JSON string.
pub(super) fn string(out: &mut String, value: &str) {
    out.push('"');
    let mut rest = value;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                let _ok = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_library_writes_them() {
        let texts = [
            "2026-01-31T23:59:59.999999999Z",
            "2026-01-31T23:59:59.000001Z",
            "2026-02-01T00:00:00Z",
            "2026-02-01T00:00:00.5Z",
            "1970-01-01T00:00:00.000999Z",
            "2026-02-01T00:00:00.25Z",
        ];
        for text in texts {
            let at: Timestamp = text.parse().unwrap();
            let mut written = String::new();
            time(&mut written, at);
            assert_eq!(written, format!("{at:.6}"));
        }
    }

    #[test]
    fn bytes_are_hexadecimal_and_durations_milliseconds() {
        let mut line = Line { text: String::new() };
        line.text.push('{');
        line.raw("first", "1");
        line.hex("trace", &[0x00, 0x0f, 0xa5, 0xff]);
        line.millis("took", Duration::from_micros(1_002_003));
        line.text.push('}');
        assert_eq!(line.text, r#"{,"first":1,"trace":"000fa5ff","took":1002.003}"#);
    }
}
