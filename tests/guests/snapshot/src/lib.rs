//! Prepares itself in `init`, and tells in its answers what that made.

use std::sync::atomic::{AtomicU32, Ordering};

use pyairtable::{
    service::http::{Reply, Request, Responder},
    types::{errors::Error, http::Response},
};

wit_bindgen::generate!({
    path: [
        "../../../wit/types", "../../../wit/context", "../../../wit/crypto", "../../../wit/storage",
        "../../../wit/events", "../../../wit/mail", "../../../wit/service",
    ],
    inline: "
        package guest:snapshot;

        world prepared {
            include pyairtable:service/http-service@0.1.0;
            include pyairtable:service/managed@0.1.0;
        }
    ",
    world: "guest:snapshot/prepared",
    features: ["search", "timeseries", "columnar", "saga", "live"],
    generate_all,
});

static INITS: AtomicU32 = AtomicU32::new(0);
static CALLS: AtomicU32 = AtomicU32::new(0);
static TABLE: std::sync::OnceLock<std::collections::HashMap<u32, String>> = std::sync::OnceLock::new();

struct Prepared;

impl exports::pyairtable::service::lifecycle::Guest for Prepared {
    fn init() -> Result<(), Error> {
        INITS.fetch_add(1, Ordering::Relaxed);
        TABLE.get_or_init(|| (0..1_000).map(|n| (n, format!("value {n}"))).collect());
        #[cfg(feature = "clock")]
        assert!(std::time::SystemTime::now().elapsed().is_ok());
        Ok(())
    }

    fn ready() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() {}
}

impl exports::pyairtable::service::handler::Guest for Prepared {
    fn handle(_: Request, _: Responder) -> Result<Reply, Error> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let inits = INITS.load(Ordering::Relaxed);
        let value = TABLE.get().and_then(|table| table.get(&7)).cloned().unwrap_or_default();
        // What the standard library's seed of this snapshot makes of a number.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1);
        Ok(Reply::Whole(Response {
            status: 200,
            headers: vec![],
            body: format!("{inits} {calls} {value} {seed:x}").into_bytes(),
        }))
    }
}

export!(Prepared);
