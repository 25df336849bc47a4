//! Log lines of guests: bounded in length and number, and marked with who wrote them in which
//! call.

use std::sync::atomic::{AtomicU64, Ordering};

use airhost_core::{CallContext, CorrelationId};
use tokio::time::Instant;
use tracing::Level;

use crate::service::Service;

/// Longest line, in bytes; what is over is cut off.
pub(crate) const MAX_LINE: usize = 8 * 1024;

/// Lets so many lines a second through, and counts the rest.
#[derive(Debug)]
pub(crate) struct LogGate {
    start: Instant,
    per_second: u64,
    /// The second in the upper half, lines in it in the lower.
    window: AtomicU64,
    dropped: AtomicU64,
    dropped_in_all: AtomicU64,
}

/// Whether a line may be written.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// Yes; so many were dropped since the last second that had room.
    Yes {
        dropped: u64,
    },
    No,
}

impl LogGate {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            start: Instant::now(),
            per_second: u64::from(per_second),
            window: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dropped_in_all: AtomicU64::new(0),
        }
    }

    /// Lines that were dropped since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped_in_all.load(Ordering::Relaxed)
    }

    fn pass(&self) -> Pass {
        let second = self.start.elapsed().as_secs() << 32;
        let mut window = self.window.load(Ordering::Relaxed);
        loop {
            let fresh = window & !0xffff_ffff != second;
            let count = if fresh { 0 } else { window & 0xffff_ffff };
            if count >= self.per_second {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                self.dropped_in_all.fetch_add(1, Ordering::Relaxed);
                return Pass::No;
            }
            match self.window.compare_exchange_weak(
                window,
                second | (count + 1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) if fresh => {
                    return Pass::Yes { dropped: self.dropped.swap(0, Ordering::Relaxed) };
                }
                Ok(_) => return Pass::Yes { dropped: 0 },
                Err(now) => window = now,
            }
        }
    }
}

/// Writes a guest's line. `fields` is JSON text by name.
pub(crate) fn write(
    service: &Service,
    correlation: &CorrelationId,
    context: Option<&CallContext>,
    level: Level,
    stream: &'static str,
    message: &str,
    fields: &[(String, String)],
) {
    match service.log.pass() {
        Pass::No => return,
        Pass::Yes { dropped: 0 } => {}
        Pass::Yes { dropped } => {
            tracing::warn!(target: "guest", service = %service.name, dropped, "log lines over limits.log-lines-per-second were dropped");
        }
    }
    let message = cut(message);
    let tenant =
        context.and_then(|context| context.tenant.as_ref()).map_or("", |tenant| tenant.as_str());
    let fields = fields_json(fields);
    // `tracing` fixes the level of an event at compile time.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "guest",
                $level,
                service = %service.name,
                revision = %service.revision_short,
                correlation_id = %correlation,
                tenant,
                stream,
                fields = %fields,
                "{message}"
            )
        };
    }
    match level {
        Level::ERROR => line!(Level::ERROR),
        Level::WARN => line!(Level::WARN),
        Level::INFO => line!(Level::INFO),
        Level::DEBUG => line!(Level::DEBUG),
        Level::TRACE => line!(Level::TRACE),
    }
}

/// The fields as one JSON object; a value that is not JSON becomes a JSON string.
fn fields_json(fields: &[(String, String)]) -> String {
    let mut object = serde_json::Map::new();
    let mut size = 0;
    for (name, value) in fields {
        size += name.len() + value.len();
        if size > MAX_LINE {
            object.insert("cut".to_owned(), serde_json::Value::Bool(true));
            break;
        }
        let value = serde_json::from_str(value)
            .unwrap_or_else(|_| serde_json::Value::String(value.clone()));
        object.insert(name.clone(), value);
    }
    serde_json::Value::Object(object).to_string()
}

/// At most so much of a line, at a character's border.
fn cut(line: &str) -> &str {
    &line[..line.floor_char_boundary(MAX_LINE)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_over_the_rate_are_counted_and_dropped() {
        let gate = LogGate::new(2);
        assert_eq!(gate.pass(), Pass::Yes { dropped: 0 });
        assert_eq!(gate.pass(), Pass::Yes { dropped: 0 });
        for _ in 0..5 {
            assert_eq!(gate.pass(), Pass::No);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(gate.pass(), Pass::Yes { dropped: 5 });
        assert_eq!(gate.dropped(), 5);
    }

    #[test]
    fn fields_are_one_object() {
        let fields = [("n".to_owned(), "1".to_owned()), ("s".to_owned(), "not json".to_owned())];
        assert_eq!(fields_json(&fields), r#"{"n":1,"s":"not json"}"#);
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let line = "ä".repeat(MAX_LINE);
        assert_eq!(cut(&line).len(), MAX_LINE);
    }
}
