//! The platform's functions: the component's imports, or in native tests the ones of
//! [`testing`](crate::testing), under the same names and signatures. Types are those of the
//! bindings on both sides, except for resources.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::imports::*;

#[cfg(target_arch = "wasm32")]
pub(crate) use component::*;

#[cfg(target_arch = "wasm32")]
mod component {
    pub(crate) use crate::bindings::pyairtable::{
        context::{cache, call, configuration, log, secrets},
        crypto::{compression, hash, password, signature},
        events::{bus, live, saga, store},
        mail::mailer,
        service::{client, http, jobs},
        storage::{blob, columnar, kv, search, sql, timeseries},
    };

    /// Microseconds since the epoch (`wasi:clocks/wall-clock`).
    pub(crate) fn now_micros() -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
