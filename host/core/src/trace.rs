use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
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

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// What a client sends beside `traceparent`, and what goes along with every call that is made on
/// its behalf: other systems' part of the trace context, and its own properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Propagated {
    /// `tracestate` (W3C Trace Context, 3.3), of at most 32 members and 512 bytes.
    pub state: Option<Box<str>>,
    /// `baggage` (W3C Baggage, 3.3), of at most 64 members and 8 192 bytes.
    pub baggage: Option<Box<str>>,
}

impl Propagated {
    /// Reads it from a request's head; none if there is nothing. `traced` is whether the request
    /// has a valid `traceparent`: `tracestate` means nothing without.
    #[must_use]
    pub fn read(headers: &HeaderMap, traced: bool) -> Option<Arc<Self>> {
        let state = if traced { list(headers, &TRACESTATE, 32, 512) } else { None };
        let baggage = list(headers, &BAGGAGE, 64, 8192);
        (state.is_some() || baggage.is_some()).then(|| Arc::new(Self { state, baggage }))
    }

    /// Puts it into a request's head. Baggage is for services alone: its owner has not agreed that
    /// hosts outside read it. What the caller has set itself stays.
    pub fn write(&self, headers: &mut HeaderMap, with_baggage: bool) {
        let baggage = self.baggage.as_ref().filter(|_| with_baggage);
        for (name, value) in [(TRACESTATE, self.state.as_ref()), (BAGGAGE, baggage)] {
            let value = value.and_then(|value| HeaderValue::from_str(value).ok());
            if let (Some(value), false) = (value, headers.contains_key(&name)) {
                headers.insert(name, value);
            }
        }
    }
}

/// A field that is a list, with as many of its members from the left as are allowed.
fn list(headers: &HeaderMap, name: &HeaderName, members: usize, bytes: usize) -> Option<Box<str>> {
    let mut text = String::new();
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let all = values.flat_map(|value| value.split(',')).map(str::trim);
    for member in all.filter(|member| !member.is_empty()).take(members) {
        if text.len() + usize::from(!text.is_empty()) + member.len() > bytes {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(member);
    }
    (!text.is_empty()).then(|| text.into())
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
    fn what_travels_along_is_bounded_and_baggage_stays_inside() {
        let mut headers = HeaderMap::new();
        assert_eq!(Propagated::read(&headers, true), None);
        headers.append("tracestate", HeaderValue::from_static("a=1, b=2"));
        headers.append("tracestate", HeaderValue::from_static("c=3,,"));
        headers.append("baggage", HeaderValue::from_static("user=x;p=1"));
        let read = Propagated::read(&headers, true).unwrap();
        assert_eq!(read.state.as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(read.baggage.as_deref(), Some("user=x;p=1"));
        assert_eq!(Propagated::read(&headers, false).unwrap().state, None);

        let mut sent = HeaderMap::new();
        sent.insert("baggage", HeaderValue::from_static("own=1"));
        read.write(&mut sent, true);
        assert_eq!(
            (&sent["tracestate"], &sent["baggage"]),
            (&"a=1,b=2,c=3".parse().unwrap(), &"own=1".parse().unwrap())
        );
        let mut outside = HeaderMap::new();
        read.write(&mut outside, false);
        assert_eq!((outside.len(), outside.contains_key("baggage")), (1, false));

        let many = (0..100).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        let long = format!("a=1,b={}", "x".repeat(600));
        for (text, members) in [(many, 32), (long, 1)] {
            let headers = HeaderMap::from_iter([(TRACESTATE, text.parse().unwrap())]);
            let read = Propagated::read(&headers, true).unwrap();
            assert_eq!(read.state.as_deref().unwrap().split(',').count(), members);
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
