use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Language;
use crate::{ByteSize, decode::Section, duration};

/// The limits of a service's instances, complete. What runs over a limit ends one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Linear memory of an instance, 1 MiB to 4 GiB.
    pub memory: ByteSize,
    /// Time in the guest for a request, 1 ms to 1 min; what the host takes does not count.
    #[serde(serialize_with = "duration::serialize")]
    pub cpu: Duration,
    /// Time for a request, 1 ms to 1 h.
    #[serde(serialize_with = "duration::serialize")]
    pub wall: Duration,
    /// Instances busy at once, 1 to 1024.
    pub concurrency: u32,
    /// Requests that wait beyond that, 0 to 65536.
    pub queue: u32,
    /// Body of a request, up to 1 TiB.
    pub body: ByteSize,
    /// A body of at most this size is given to the guest whole, up to 16 MiB.
    pub inline_body: ByteSize,
    /// A whole reply, up to 64 MiB.
    pub output: ByteSize,
    /// A streamed reply, up to 1 TiB.
    pub stream_output: ByteSize,
    /// Lines of log a second, of the service on a node.
    pub log_lines_per_second: u32,
    /// The node-local cache of the service, up to 4 GiB.
    pub cache: ByteSize,
    /// Transactions open at once, of the service on a node, 1 to 64.
    pub transactions: u32,
    /// Elements of a table; follows from the language.
    #[serde(skip)]
    pub table_elements: u32,
    /// Tables of a component; follows from the language.
    #[serde(skip)]
    pub tables: u32,
}

impl Limits {
    /// What applies where the manifest says nothing. Interpreters need more memory and time an
    /// instance, and a node has room for fewer of them.
    #[must_use]
    pub fn of(language: Language) -> Self {
        let (memory, cpu_ms, concurrency, table_elements, tables) = match language {
            Language::Rust => (64, 500, 64, 20_000, 8),
            Language::Python => (256, 2_000, 8, 100_000, 64),
            Language::JavaScript => (128, 1_000, 16, 50_000, 16),
            Language::Other => (128, 1_000, 16, 100_000, 64),
        };
        Self {
            memory: ByteSize::mib(memory),
            cpu: Duration::from_millis(cpu_ms),
            wall: Duration::from_secs(10),
            concurrency,
            queue: 256,
            body: ByteSize::mib(10),
            inline_body: ByteSize::kib(256),
            output: ByteSize::mib(8),
            stream_output: ByteSize::gib(2),
            log_lines_per_second: 200,
            cache: ByteSize::mib(16),
            transactions: 4,
            table_elements,
            tables,
        }
    }

    /// These limits, with what a section says over them.
    pub(super) fn with(self, section: Section<'_>, scope: Scope) -> Self {
        let millis = Duration::from_millis;
        let size = |key, low: ByteSize, high: ByteSize, or: ByteSize| {
            section.get(key).and_then(|f| f.size(low..=high)).unwrap_or(or)
        };
        let count = |key, low: u32, high: u32, or: u32| {
            section.get(key).and_then(|f| f.integer(low..=high)).unwrap_or(or)
        };
        let tib = ByteSize::gib(1024);
        let kib = ByteSize::kib(1);

        let (cpu_field, wall_field) = (section.get("cpu"), section.get("wall"));
        let cpu = cpu_field.as_ref().and_then(|f| f.duration(millis(1)..=millis(60_000)));
        let wall = wall_field.as_ref().and_then(|f| f.duration(millis(1)..=millis(3_600_000)));
        let wall = wall.unwrap_or(self.wall);
        // A shorter wall than the inherited CPU time needs no second line in the manifest.
        let inherited_cpu = self.cpu.min(wall);
        if let (Some(field), Some(cpu)) = (&cpu_field, cpu)
            && cpu > wall
        {
            let (cpu, wall) = (duration::format(cpu), duration::format(wall));
            field.fail(format!("`cpu` is {cpu} but `wall` is {wall}; raise `wall` or lower `cpu`"));
        }

        let body = size("body", kib, tib, self.body);
        let inline_field = section.get("inline-body");
        let inline =
            inline_field.as_ref().and_then(|f| f.size(ByteSize::bytes(0)..=ByteSize::mib(16)));
        if let (Some(field), Some(inline)) = (&inline_field, inline)
            && inline > body
        {
            field.fail(format!(
                "`inline-body` is {inline} but `body` is {body}; raise `body` or lower `inline-body`"
            ));
        }

        let mut limits = Self {
            memory: size("memory", ByteSize::mib(1), ByteSize::gib(4), self.memory),
            cpu: cpu.unwrap_or(inherited_cpu),
            wall,
            concurrency: count("concurrency", 1, 1024, self.concurrency),
            queue: count("queue", 0, 65_536, self.queue),
            body,
            inline_body: inline.unwrap_or_else(|| self.inline_body.min(body)),
            output: size("output", kib, ByteSize::mib(64), self.output),
            stream_output: size("stream-output", kib, tib, self.stream_output),
            ..self
        };
        match scope {
            Scope::Service => {
                limits.log_lines_per_second =
                    count("log-lines-per-second", 0, 10_000, self.log_lines_per_second);
                limits.cache = size("cache", ByteSize::bytes(0), ByteSize::gib(4), self.cache);
                limits.transactions = count("transactions", 1, 64, self.transactions);
            }
            Scope::Pool => {
                for key in ["log-lines-per-second", "cache", "transactions"] {
                    if let Some(field) = section.get(key) {
                        field.fail(format!(
                            "`{key}` is a limit of the service, not of a pool; set it in [limits]"
                        ));
                    }
                }
            }
        }
        section.finish(super::parse::belongs);
        limits
    }
}

/// What a section of limits is for.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Service,
    Pool,
}

/// The limits that a pool may have of its own.
pub(super) fn serialize_of_pool<S: Serializer>(limits: &Limits, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct OfPool {
        memory: ByteSize,
        #[serde(serialize_with = "duration::serialize")]
        cpu: Duration,
        #[serde(serialize_with = "duration::serialize")]
        wall: Duration,
        concurrency: u32,
        queue: u32,
        body: ByteSize,
        inline_body: ByteSize,
        output: ByteSize,
        stream_output: ByteSize,
    }
    let Limits { memory, cpu, wall, concurrency, queue, .. } = *limits;
    let Limits { body, inline_body, output, stream_output, .. } = *limits;
    OfPool { memory, cpu, wall, concurrency, queue, body, inline_body, output, stream_output }
        .serialize(to)
}
