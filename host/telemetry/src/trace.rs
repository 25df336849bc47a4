//! Spans of the recent past, in memory, for `airhost trace`.

mod tree;

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use airhost_core::{CorrelationId, ServiceName, TraceContext};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use tree::Tree;

/// How many rings there are; a trace lives in one of them, chosen by its id.
const SHARDS: usize = 8;
/// Most spans of an answer.
const MAX_ANSWER: usize = 10_000;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of spans, over all rings. Oldest go first.
    pub max_bytes: usize,
    /// Whether spans are recorded at all.
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: 32 << 20, enabled: true }
    }
}

/// What a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A service handles a request.
    Server,
    /// A call to a service or a host.
    Client,
    /// A statement or a transaction.
    Sql,
    /// Another store: kv, blob, search, time series, columnar.
    Store,
    /// An event is published.
    Publish,
    /// A batch of events is consumed.
    Consume,
    /// A run of a job.
    Job,
    /// A tick.
    Tick,
    /// What the host does by itself: a deploy, a migration.
    Internal,
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should.
    Ok,
    /// With an HTTP status.
    Http(u16),
    /// With an error of this code.
    Error(Cow<'static, str>),
    /// It was dropped before its end: the caller left, or the deadline ran out.
    Cancelled,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number.
    Int(i64),
    /// A text.
    Text(Cow<'static, str>),
    /// A text that is shared.
    #[serde(skip_deserializing)]
    Shared(Arc<str>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Self::Shared(value)
    }
}

/// A finished span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The trace, 16 bytes in hexadecimal when serialised.
    #[serde(with = "hex::serde")]
    pub trace_id: [u8; 16],
    /// This span.
    #[serde(with = "hex::serde")]
    pub span_id: [u8; 8],
    /// The span it is part of; all zero for the root.
    #[serde(with = "hex::serde")]
    pub parent_id: [u8; 8],
    /// The correlation id of the work.
    #[serde(with = "correlation")]
    pub correlation: CorrelationId,
    /// What it stands for.
    pub kind: Kind,
    /// What was done, in few distinct texts: `GET /api/v1/users/{id}`, `select`, `record.created`.
    pub name: Cow<'static, str>,
    /// Where it was done; none for the host itself.
    pub service: Option<ServiceName>,
    /// Begin, in microseconds since the epoch.
    pub start_micros: u64,
    /// Duration in microseconds.
    pub duration_micros: u64,
    /// How it ended.
    pub status: Status,
    /// Further facts; never personal data or secrets.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
}

impl Span {
    /// What it takes in memory, roughly.
    fn bytes(&self) -> usize {
        let text = |text: &Cow<'static, str>| match text {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.capacity(),
        };
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, value)| match value {
                Value::Int(_) => text(name),
                Value::Text(value) => text(name) + text(value),
                Value::Shared(value) => text(name) + value.len(),
            })
            .sum();
        size_of::<Self>()
            + text(&self.name)
            + self.attributes.capacity() * size_of::<(Cow<'static, str>, Value)>()
            + attributes
            // The correlation id is shared by the spans of the work, if there are several.
            + self.correlation.as_str().len()
    }
}

mod correlation {
    use airhost_core::CorrelationId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &CorrelationId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(id.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<CorrelationId, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        CorrelationId::accept(&text).ok_or_else(|| D::Error::custom("not a correlation id"))
    }
}

/// The rings of finished spans.
///
/// A trace is in one ring and a query reads it from end to end: an index would cost every span an
/// allocation or two, and a scan of a full ring takes a millisecond, for a person who waits.
#[derive(Debug)]
pub struct Traces {
    enabled: AtomicBool,
    shard_bytes: usize,
    shards: [Mutex<Shard>; SHARDS],
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    spans: VecDeque<Span>,
    bytes: usize,
}

impl Traces {
    /// Empty rings.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            enabled: AtomicBool::new(config.enabled),
            shard_bytes: config.max_bytes / SHARDS,
            shards: Default::default(),
            evicted: AtomicU64::new(0),
        })
    }

    /// Switches recording on or off; spans that are open stay as they began.
    pub fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Begins a span below `parent`, with an id of its own. [`ActiveSpan::context`] is what goes
    /// on to calls that are made in it.
    #[must_use]
    pub fn child(
        self: &Arc<Self>,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        parent: &TraceContext,
        correlation: &CorrelationId,
    ) -> ActiveSpan {
        if !self.records(parent) {
            return ActiveSpan { context: *parent, open: None };
        }
        self.begin(kind, name.into(), parent.child(), parent.span_id, correlation)
    }

    /// Begins the span that `context` already names, below the span `parent_id` (all zero for a
    /// root): for calls whose context was made by `CallContext::nested`.
    #[must_use]
    pub fn span(
        self: &Arc<Self>,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        context: &TraceContext,
        parent_id: [u8; 8],
        correlation: &CorrelationId,
    ) -> ActiveSpan {
        if !self.records(context) {
            return ActiveSpan { context: *context, open: None };
        }
        self.begin(kind, name.into(), *context, parent_id, correlation)
    }

    /// Whether spans of this trace are recorded: ask before building costly names.
    #[must_use]
    pub fn records(&self, context: &TraceContext) -> bool {
        context.sampled && self.enabled.load(Ordering::Relaxed)
    }

    fn begin(
        self: &Arc<Self>,
        kind: Kind,
        name: Cow<'static, str>,
        context: TraceContext,
        parent_id: [u8; 8],
        correlation: &CorrelationId,
    ) -> ActiveSpan {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let span = Span {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_id,
            correlation: correlation.clone(),
            kind,
            name,
            service: None,
            start_micros: micros(since),
            duration_micros: 0,
            status: Status::Cancelled,
            attributes: Vec::new(),
        };
        let open = Open { traces: Arc::clone(self), began: Instant::now(), span };
        ActiveSpan { context, open: Some(open) }
    }

    fn push(&self, span: Span) {
        let mut shard = self.shards[shard_of(&span.trace_id)].lock();
        shard.bytes += span.bytes();
        shard.spans.push_back(span);
        while shard.bytes > self.shard_bytes {
            let Some(oldest) = shard.spans.pop_front() else { break };
            shard.bytes -= oldest.bytes();
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The spans of a trace, by start.
    #[must_use]
    pub fn by_trace(&self, trace_id: &[u8; 16]) -> Vec<Span> {
        let shard = self.shards[shard_of(trace_id)].lock();
        let mut found: Vec<_> = shard
            .spans
            .iter()
            .filter(|span| span.trace_id == *trace_id)
            .take(MAX_ANSWER)
            .cloned()
            .collect();
        drop(shard);
        found.sort_by_key(|span| span.start_micros);
        found
    }

    /// The spans of a piece of work, by start; events and jobs of it may be in other traces.
    #[must_use]
    pub fn by_correlation(&self, id: &str) -> Vec<Span> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let spans = shard.spans.iter().filter(|span| span.correlation.as_str() == id);
            found.extend(spans.take(MAX_ANSWER - found.len()).cloned());
        }
        found.sort_by_key(|span: &Span| span.start_micros);
        found
    }

    /// How many spans were pushed out by later ones.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

/// A method as an attribute or part of a name: a client can make up any other (OpenTelemetry:
/// `http.request.method`).
#[must_use]
pub fn method(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// The beginning of a text that somebody else chose, of at most 256 bytes.
#[must_use]
pub fn capped(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}

/// The last byte: random in ids of version 4 and version 7, and in those of other systems.
fn shard_of(trace_id: &[u8; 16]) -> usize {
    usize::from(trace_id[15]) % SHARDS
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A span under way. It is recorded when it is dropped; without [`ActiveSpan::end`] before that,
/// as cancelled.
#[derive(Debug)]
pub struct ActiveSpan {
    context: TraceContext,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    traces: Arc<Traces>,
    began: Instant,
    span: Span,
}

impl ActiveSpan {
    /// The trace context inside the span; that of the parent, if nothing is recorded.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Says where it is done.
    #[must_use]
    pub fn service(mut self, service: &ServiceName) -> Self {
        if let Some(open) = &mut self.open {
            open.span.service = Some(service.clone());
        }
        self
    }

    /// Adds a fact. The first one allocates.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.open {
            open.span.attributes.push((Cow::Borrowed(name), value.into()));
        }
    }

    /// Gives it a better name, such as the route once it is known.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(open) = &mut self.open {
            open.span.name = name.into();
        }
    }

    /// Ends it.
    pub fn end(mut self, status: Status) {
        if let Some(open) = &mut self.open {
            open.span.status = status;
        }
    }
}

impl Drop for ActiveSpan {
    fn drop(&mut self) {
        if let Some(Open { traces, began, mut span }) = self.open.take() {
            span.duration_micros = micros(began.elapsed());
            traces.push(span);
        }
    }
}

#[cfg(test)]
mod tests;
