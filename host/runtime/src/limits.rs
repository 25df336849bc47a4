//! What an instance may use.

use std::time::Duration;

use airhost_telemetry::metrics::GuestMetrics;
use wasmtime::ResourceLimiter;

/// The limits of a service, from the manifest's `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance, in bytes.
    pub memory: u64,
    /// CPU time in the guest for one call.
    pub cpu: Duration,
    /// Time for one call in all.
    pub wall: Duration,
    /// Instances that are busy with calls from outside at once. As many again are kept for calls
    /// that come from other services, which cannot wait.
    pub concurrency: usize,
    /// Calls from outside that wait beyond that.
    pub queue: usize,
    /// Body of a request, in bytes.
    pub body: u64,
    /// Bodies up to this size are given whole, in bytes.
    pub inline_body: u64,
    /// A whole reply, in bytes.
    pub output: u64,
    /// A streamed reply, in bytes.
    pub stream_output: u64,
    /// Log lines a second, of all instances on the node.
    pub log_lines: u32,
    /// The service's cache on this node, in bytes.
    pub cache: u64,
    /// Transactions that one instance may have open.
    pub transactions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            cpu: Duration::from_millis(500),
            wall: Duration::from_secs(10),
            concurrency: 64,
            queue: 256,
            body: 10 << 20,
            inline_body: 256 << 10,
            output: 8 << 20,
            stream_output: 2 << 30,
            log_lines: 200,
            cache: 16 << 20,
            transactions: 4,
        }
    }
}

impl From<&airhost_manifest::Limits> for Limits {
    fn from(limits: &airhost_manifest::Limits) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            memory: limits.memory.get(),
            cpu: limits.cpu,
            wall: limits.wall,
            concurrency: count(limits.concurrency),
            queue: count(limits.queue),
            body: limits.body.get(),
            inline_body: limits.inline_body.get(),
            output: limits.output.get(),
            stream_output: limits.stream_output.get(),
            log_lines: limits.log_lines_per_second,
            cache: limits.cache.get(),
            transactions: count(limits.transactions),
        }
    }
}

/// The guest asked for more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the memory limit is reached")]
pub(crate) struct MemoryLimit;

/// Counts the memory of one instance.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: usize,
    memory: usize,
    /// After instantiation: what it has more than this it has grown by.
    initial: usize,
}

/// Most elements of all tables of an instance together, beyond what the pool allows for one.
const MAX_TABLE_ELEMENTS: usize = 1 << 20;

impl MemoryMeter {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), memory: 0, initial: 0 }
    }

    /// Tells how large the instance became.
    pub(crate) fn tell(&self, metrics: &GuestMetrics) {
        metrics.memory_peak.raise(i64::try_from(self.memory).unwrap_or(i64::MAX));
    }

    /// Says that the instance is there; growth is counted from here.
    pub(crate) fn instantiated(&mut self) {
        self.initial = self.memory;
    }

    /// Whether a warm instance has grown so much that a new one is better.
    pub(crate) fn has_grown(&self) -> bool {
        self.memory > self.initial && self.memory > self.limit / 4 * 3
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_sub(current).saturating_add(desired);
        if memory > self.limit {
            return Err(wasmtime::Error::new(MemoryLimit));
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            return Err(wasmtime::Error::new(MemoryLimit));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut meter = MemoryMeter::new(100);
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        meter.instantiated();
        assert!(!meter.has_grown());
        assert!(meter.memory_growing(40, 60, None).unwrap());
        assert_eq!(meter.memory, 100);
        assert!(meter.has_grown());
        let error = meter.memory_growing(60, 61, None).unwrap_err();
        assert!(error.is::<MemoryLimit>());
    }
}
