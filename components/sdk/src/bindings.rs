//! What `wit-bindgen` makes of the contracts in `wit/`: types on every target, functions that
//! work in a component only. Nothing outside of the SDK names this module, except for the export
//! macros that `sdk::service!` calls.
#![allow(
    clippy::all,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    rust_2018_idioms,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

wit_bindgen::generate!({
    world: "pyairtable:service/imports",
    path: [
        "../../wit/types",
        "../../wit/context",
        "../../wit/crypto",
        "../../wit/storage",
        "../../wit/events",
        "../../wit/mail",
        "../../wit/service",
    ],
    features: ["search", "timeseries", "columnar", "saga", "live"],
    additional_derives: [PartialEq],
    additional_derives_ignore: ["body-in"],
    generate_all,
});

macro_rules! export_world {
    ($module:ident, $world:literal, $path:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                world: $world,
                path: [
                    "../../wit/types",
                    "../../wit/context",
                    "../../wit/crypto",
                    "../../wit/storage",
                    "../../wit/events",
                    "../../wit/mail",
                    "../../wit/service",
                ],
                features: ["search", "timeseries", "columnar", "saga", "live"],
                pub_export_macro: true,
                default_bindings_module: $path,
                with: {
                    "pyairtable:types/errors@0.1.0": crate::bindings::pyairtable::types::errors,
                    "pyairtable:types/http@0.1.0": crate::bindings::pyairtable::types::http,
                    "pyairtable:context/call@0.1.0": crate::bindings::pyairtable::context::call,
                    "pyairtable:context/configuration@0.1.0": crate::bindings::pyairtable::context::configuration,
                    "pyairtable:context/cache@0.1.0": crate::bindings::pyairtable::context::cache,
                    "pyairtable:context/secrets@0.1.0": crate::bindings::pyairtable::context::secrets,
                    "pyairtable:context/log@0.1.0": crate::bindings::pyairtable::context::log,
                    "pyairtable:crypto/hash@0.1.0": crate::bindings::pyairtable::crypto::hash,
                    "pyairtable:crypto/password@0.1.0": crate::bindings::pyairtable::crypto::password,
                    "pyairtable:crypto/signature@0.1.0": crate::bindings::pyairtable::crypto::signature,
                    "pyairtable:crypto/compression@0.1.0": crate::bindings::pyairtable::crypto::compression,
                    "pyairtable:storage/sql@0.1.0": crate::bindings::pyairtable::storage::sql,
                    "pyairtable:storage/kv@0.1.0": crate::bindings::pyairtable::storage::kv,
                    "pyairtable:storage/blob@0.1.0": crate::bindings::pyairtable::storage::blob,
                    "pyairtable:storage/blob-reply@0.1.0": crate::bindings::pyairtable::storage::blob_reply,
                    "pyairtable:storage/search@0.1.0": crate::bindings::pyairtable::storage::search,
                    "pyairtable:storage/timeseries@0.1.0": crate::bindings::pyairtable::storage::timeseries,
                    "pyairtable:storage/columnar@0.1.0": crate::bindings::pyairtable::storage::columnar,
                    "pyairtable:events/bus@0.1.0": crate::bindings::pyairtable::events::bus,
                    "pyairtable:events/store@0.1.0": crate::bindings::pyairtable::events::store,
                    "pyairtable:events/saga@0.1.0": crate::bindings::pyairtable::events::saga,
                    "pyairtable:events/live@0.1.0": crate::bindings::pyairtable::events::live,
                    "pyairtable:events/live-reply@0.1.0": crate::bindings::pyairtable::events::live_reply,
                    "pyairtable:mail/mailer@0.1.0": crate::bindings::pyairtable::mail::mailer,
                    "pyairtable:service/http@0.1.0": crate::bindings::pyairtable::service::http,
                    "pyairtable:service/client@0.1.0": crate::bindings::pyairtable::service::client,
                    "pyairtable:service/jobs@0.1.0": crate::bindings::pyairtable::service::jobs,
                },
                generate_all,
            });
        }
    };
}

export_world!(http, "pyairtable:service/http-service", "sdk::bindings::http");
export_world!(consumer, "pyairtable:service/event-consumer", "sdk::bindings::consumer");
export_world!(job, "pyairtable:service/job-runner", "sdk::bindings::job");
export_world!(tick, "pyairtable:service/ticker", "sdk::bindings::tick");
export_world!(lifecycle, "pyairtable:service/managed", "sdk::bindings::lifecycle");
export_world!(subject, "pyairtable:service/data-holder", "sdk::bindings::subject");

pub mod describe {
    wit_bindgen::generate!({
        world: "pyairtable:service/described",
        path: [
            "../../wit/types",
            "../../wit/context",
            "../../wit/crypto",
            "../../wit/storage",
            "../../wit/events",
            "../../wit/mail",
            "../../wit/service",
        ],
        features: ["search", "timeseries", "columnar", "saga", "live"],
        pub_export_macro: true,
        default_bindings_module: "sdk::bindings::describe",
    });
}
