//! The log: one JSON line an event, never waited for.
//!
//! Lines come from three sides: the host's own `tracing` events (through [`Logs::layer`]), guests'
//! lines ([`Logs::guest_line`], which goes past tracing's macros) and the access log
//! ([`crate::access`]). Each goes to a sink thread through a queue that is bounded by bytes, and
//! into a ring of its service for `airhost logs`. Values of fields whose names speak of secrets
//! are replaced ([`redact`]).

mod human;
mod layer;
mod level;
mod line;
mod rate;
pub mod redact;
mod ring;
mod sink;

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use airhost_core::{CorrelationId, ServiceName, Tenant, TraceContext};
use arc_swap::ArcSwap;
use tracing_subscriber::filter::Targets;

pub use human::render as render_human;
pub use layer::Layer;
pub use level::Level;
use line::Line;
pub use rate::LineRate;
use ring::Rings;
pub use ring::{Follow, Followed};
use sink::Sink;

use crate::{access, metrics::Metrics};

/// Longest line of a guest, in bytes of its message and fields (`wit/context`, `log.write`).
pub const MAX_GUEST_LINE: usize = 8 * 1024;

/// The name that lines of the host itself carry as their service.
pub const HOST: &str = "airhost";

/// How lines are written to the sink; the rings always hold JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a terminal.
    Human {
        /// Whether levels are coloured (ANSI).
        color: bool,
    },
}

/// How the log is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// How lines are written.
    pub format: Format,
    /// This node's name, in every line.
    pub node: String,
    /// What of the host is logged: `info,hyper=warn` (targets of tracing).
    pub filter: Targets,
    /// The level of services without one of their own.
    pub level: Level,
    /// Which lines the access log has.
    pub access: access::Config,
    /// Levels of services.
    pub services: BTreeMap<ServiceName, Level>,
    /// Bytes that may wait for the sink; what does not fit is dropped and counted.
    pub queue_bytes: usize,
    /// Bytes of recent lines that are kept for each service.
    pub ring_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Json,
            node: "local".to_owned(),
            filter: Targets::new().with_default(tracing::Level::INFO),
            level: Level::Info,
            access: access::Config::default(),
            services: BTreeMap::new(),
            queue_bytes: 8 << 20,
            ring_bytes: 256 << 10,
        }
    }
}

/// A line of a guest with what the host adds to it.
#[derive(Clone, Copy, Debug)]
pub struct GuestLine<'a> {
    /// Its level.
    pub level: Level,
    /// The service.
    pub service: &'a ServiceName,
    /// The first digits of its revision.
    pub revision: &'a str,
    /// The work it belongs to.
    pub correlation: &'a CorrelationId,
    /// The span it belongs to.
    pub trace: &'a TraceContext,
    /// Whose data is handled.
    pub tenant: Option<&'a Tenant>,
    /// What happened. Control characters are escaped.
    pub message: &'a str,
    /// Names and JSON values; what is not JSON is taken as a text.
    pub fields: &'a [(String, String)],
}

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Box<str>,
    access: access::Config,
    levels: ArcSwap<Levels>,
    rings: Rings,
    sink: Sink,
}

#[derive(Clone, Debug)]
struct Levels {
    filter: Targets,
    default: Level,
    services: HashMap<Box<str>, Level>,
    /// The lowest of them all.
    lowest: Level,
}

impl Levels {
    fn new(filter: Targets, default: Level, services: HashMap<Box<str>, Level>) -> Self {
        let host = filter.iter().map(|(_, level)| level).chain(filter.default_level());
        let host = host.filter_map(|level| level.into_level()).map(Level::from).min();
        let lowest = services.values().copied().chain(host).min().unwrap_or(default).min(default);
        Self { filter, default, services, lowest }
    }

    fn of(&self, service: &str) -> Level {
        self.services.get(service).copied().unwrap_or(self.default)
    }
}

static INSTALLED: OnceLock<Logs> = OnceLock::new();

/// Starts the log and makes it this process's: of `tracing`, and of [`guest_line`]. The first
/// call counts; later ones answer what it made.
pub fn install(config: Config, sink: impl Write + Send + 'static, metrics: Arc<Metrics>) -> Logs {
    use tracing_subscriber::layer::SubscriberExt;
    INSTALLED
        .get_or_init(|| {
            let logs = Logs::start(config, sink, metrics);
            let subscriber = tracing_subscriber::registry().with(logs.layer());
            if tracing::subscriber::set_global_default(subscriber).is_err() {
                tracing::warn!("another subscriber is set: the host's own events go there");
            }
            logs
        })
        .clone()
}

/// Writes a guest's line to the log that is [`install`]ed; without one it goes nowhere, as a
/// `tracing` event does. Answers whether it was taken.
pub fn guest_line(line: &GuestLine<'_>) -> bool {
    INSTALLED.get().is_some_and(|logs| logs.guest_line(line))
}

impl Logs {
    /// Starts a log that writes to `sink` on a thread of its own.
    #[must_use]
    pub fn start(config: Config, sink: impl Write + Send + 'static, metrics: Arc<Metrics>) -> Self {
        let services =
            config.services.iter().map(|(name, level)| (name.as_str().into(), *level)).collect();
        Self(Arc::new(Inner {
            node: config.node.into(),
            access: config.access,
            levels: ArcSwap::from_pointee(Levels::new(config.filter, config.level, services)),
            rings: Rings::new(config.ring_bytes),
            sink: Sink::start(config.format, config.queue_bytes, sink, metrics),
        }))
    }

    /// The `tracing` layer that writes here.
    #[must_use]
    pub fn layer(&self) -> Layer {
        Layer::new(self.clone())
    }

    /// The lowest level of a service that is not dropped at once.
    #[must_use]
    pub fn level(&self, service: &str) -> Level {
        self.0.levels.load().of(service)
    }

    /// Sets the level of a service, or with none gives it back the default.
    pub fn set_level(&self, service: &ServiceName, level: Option<Level>) {
        self.0.levels.rcu(|levels| {
            let mut services = levels.services.clone();
            match level {
                Some(level) => services.insert(service.as_str().into(), level),
                None => services.remove(service.as_str()),
            };
            Levels::new(levels.filter.clone(), levels.default, services)
        });
        tracing::callsite::rebuild_interest_cache();
    }

    /// Writes a guest's line. Answers whether it was taken: not when its level is below the
    /// service's, or the sink is too far behind. A line over 8 KiB loses fields, then the end of
    /// its message, and says so in `truncated`.
    pub fn guest_line(&self, guest: &GuestLine<'_>) -> bool {
        if guest.level < self.level(guest.service.as_str()) {
            return false;
        }
        Line::with(|line| {
            line.begin(guest.level, guest.service.as_str());
            line.text("revision", guest.revision);
            line.text("node", &self.0.node);
            line.text("correlation_id", guest.correlation.as_str());
            line.hex("trace_id", &guest.trace.trace_id);
            line.hex("span_id", &guest.trace.span_id);
            if let Some(tenant) = guest.tenant {
                line.text("tenant", tenant.as_str());
            }
            line.guest_content(guest.message, guest.fields, MAX_GUEST_LINE);
            self.write(guest.service.as_str(), line.end())
        })
    }

    /// The service's recent lines, oldest first, as JSON.
    #[must_use]
    pub fn recent(&self, service: &str) -> Vec<Arc<str>> {
        self.0.rings.recent(service)
    }

    /// The service's recent lines and those to come, without a gap between them.
    #[must_use]
    pub fn follow(&self, service: &str) -> Follow {
        self.0.rings.follow(service)
    }

    /// Waits until what was written so far is in the sink; false when that took too long. It
    /// blocks: for the end of the process.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.sink.flush(timeout)
    }

    pub(crate) fn node(&self) -> &str {
        &self.0.node
    }

    /// Which lines the access log has.
    #[must_use]
    pub fn access(&self) -> &access::Config {
        &self.0.access
    }

    fn levels(&self) -> arc_swap::Guard<Arc<Levels>> {
        self.0.levels.load()
    }

    fn write(&self, service: &str, text: &str) -> bool {
        let text: Arc<str> = text.into();
        self.0.rings.push(service, &text);
        self.0.sink.write(text)
    }

    /// Writes a line whatever the levels are: whoever calls this has a switch of its own.
    pub(crate) fn line_of_any_level(
        &self,
        service: &str,
        level: Level,
        fill: impl FnOnce(&mut Line),
    ) {
        Line::with(|line| {
            line.begin(level, service);
            fill(line);
            // A line that is dropped is counted by the sink.
            let _taken = self.write(service, line.end());
        });
    }
}

#[cfg(test)]
mod tests;
