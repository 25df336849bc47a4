//! The platform's functions, in memory: the twin of the bindings' modules.

pub(crate) mod client;
pub(crate) mod context;
pub(crate) mod http;
pub(crate) mod native;
pub(crate) mod sql;
pub(crate) mod stores;
pub(crate) mod unsupported;
pub(crate) mod work;

pub(crate) use context::{cache, call, configuration, log};
pub(crate) use native::{compression, hash, password, secrets, signature};
pub(crate) use stores::{blob, kv};
pub(crate) use unsupported::{columnar, saga, search, timeseries};
pub(crate) use work::{bus, jobs, live, mailer, store};

/// Microseconds since the epoch, by the test's clock; the machine's without a host.
pub(crate) fn now_micros() -> i64 {
    super::state::with_any(|state| state.now).unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}
