use std::fmt::{self, Write as _};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{layer::Context, registry::LookupSpan};

use super::{HOST, Level, Logs, line};

/// Members of a line that fields of spans and events set by their names; all others go into
/// `fields`.
const LIFTED: [&str; 6] =
    ["service", "revision", "correlation_id", "trace_id", "span_id", "tenant"];

/// The `tracing` layer of a log: events become lines, with what the spans around them say.
///
/// A span or event sets `service`, `revision`, `correlation_id`, `trace_id`, `span_id` and
/// `tenant` of its lines by fields of these names; the innermost wins.
#[derive(Debug)]
pub struct Layer {
    logs: Logs,
}

impl Layer {
    pub(super) fn new(logs: Logs) -> Self {
        Self { logs }
    }
}

/// What a span's or an event's fields say.
#[derive(Debug, Default)]
struct Fields {
    lifted: [Option<Box<str>>; LIFTED.len()],
    message: String,
    /// JSON members, each with a comma in front.
    rest: String,
}

impl Fields {
    /// The place of a field's value: none for those that were lifted.
    fn begin(&mut self, field: &Field) -> &mut String {
        self.rest.push(',');
        line::string(&mut self.rest, field.name());
        self.rest.push(':');
        &mut self.rest
    }

    fn put(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = super::redact::text(value).into_owned();
        } else if let Some(index) = LIFTED.iter().position(|name| *name == field.name()) {
            self.lifted[index] = Some(value.into());
        } else {
            line::field_text(self.begin(field), field.name(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let _ok = write!(self.begin(field), "{value}");
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ok = write!(self.begin(field), "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let _ok = write!(self.begin(field), "{value}");
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            let _ok = write!(self.begin(field), "{value}");
        } else {
            let _ok = write!(self.begin(field), "\"{value}\"");
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ok = write!(text, ": {cause}");
            source = cause.source();
        }
        self.put(field, &text);
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let levels = self.logs.levels();
        let level = Level::from(*metadata.level());
        // Spans are kept, as they carry what lines of any level need.
        metadata.is_span()
            || levels.filter.would_enable(metadata.target(), metadata.level())
            || levels.services.values().any(|lowest| level >= *lowest)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Spans of level info are always wanted.
        let lowest = self.logs.levels().lowest.min(Level::Info);
        Some(LevelFilter::from_level(lowest.into()))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut rest = std::mem::take(&mut own.rest);
        // From the innermost span outwards.
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<Fields>() else { continue };
            for (mine, theirs) in own.lifted.iter_mut().zip(&fields.lifted) {
                if mine.is_none() {
                    mine.clone_from(theirs);
                }
            }
            rest.push_str(&fields.rest);
        }
        let metadata = event.metadata();
        let level = Level::from(*metadata.level());
        let service = own.lifted[0].take();
        let wanted = match &service {
            Some(service) => level >= self.logs.level(service),
            None => self.logs.levels().filter.would_enable(metadata.target(), metadata.level()),
        };
        if !wanted {
            return;
        }
        let service = service.as_deref().unwrap_or(HOST);
        line::Line::with(|line| {
            line.begin(level, service);
            line.text("node", self.logs.node());
            for (name, value) in LIFTED.iter().zip(&own.lifted).skip(1) {
                line.text(name, value.as_deref().unwrap_or_default());
            }
            line.text("target", metadata.target());
            line.text("message", &own.message);
            if let Some(rest) = rest.strip_prefix(',') {
                line.raw("fields", &format!("{{{rest}}}"));
            }
            // A line that is dropped is counted by the sink.
            let _taken = self.logs.write(service, line.end());
        });
    }
}
