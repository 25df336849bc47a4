use std::{fmt, sync::Arc};

use uuid::Uuid;

/// Names one piece of work over all services; in every log line, event and response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Longest id taken from a client.
    const MAX: usize = 128;

    /// A new id (UUIDv7: ids sort by time).
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// The client's own id, if it is 1 to 128 visible ASCII characters: it is echoed in headers
    /// and log lines.
    #[must_use]
    pub fn accept(text: &str) -> Option<Self> {
        let valid =
            (1..=Self::MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        valid.then(|| Self(text.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// W3C trace context, level 1: where in which trace a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// 8 bytes, not all zero.
    pub span_id: [u8; 8],
    /// Whether someone upstream records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// The root of a new trace.
    #[must_use]
    pub fn generate() -> Self {
        Self { trace_id: *Uuid::now_v7().as_bytes(), span_id: random_span(), sampled: true }
    }

    /// The same trace, a new span.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: random_span(), ..*self }
    }

    /// Reads a `traceparent` field (`00-<trace>-<span>-<flags>`); later versions are read as the
    /// first one, as the recommendation says.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let version = parts.next()?;
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let (mut trace_id, mut span_id, mut flag) = ([0; 16], [0; 8], [0; 1]);
        let lower = |text: &str| !text.bytes().any(|b| b.is_ascii_uppercase());
        if !lower(trace) || !lower(span) {
            return None;
        }
        hex::decode_to_slice(trace, &mut trace_id).ok()?;
        hex::decode_to_slice(span, &mut span_id).ok()?;
        hex::decode_to_slice(flags, &mut flag).ok()?;
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flag[0] & 1 == 1 })
    }

    /// The trace id in hexadecimal.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        hex::encode(self.trace_id)
    }

    /// The span id in hexadecimal.
    #[must_use]
    pub fn span_id_hex(&self) -> String {
        hex::encode(self.span_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{}-{}-{flags:02x}", hex::encode(self.trace_id), hex::encode(self.span_id))
    }
}

fn random_span() -> [u8; 8] {
    let random = Uuid::new_v4();
    let mut span = [0; 8];
    span.copy_from_slice(&random.as_bytes()[..8]);
    // A version 4 UUID's first eight bytes hold the version bits, so they are never all zero.
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trips() {
        let context = TraceContext::generate();
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        assert_eq!(context.child().trace_id, context.trace_id);
        assert_ne!(context.child().span_id, context.span_id);
    }

    #[test]
    fn what_is_not_a_traceparent_is_not_taken() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(TraceContext::parse(good).is_some_and(|context| context.sampled));
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_correlation_id_is_short_and_visible() {
        assert!(CorrelationId::accept("req-1").is_some());
        for bad in ["", "a b", "a\nb", "ä", &"x".repeat(129)] {
            assert!(CorrelationId::accept(bad).is_none(), "{bad}");
        }
    }
}
