//! Bindings to the contracts in `wit/`.
//!
//! All imports are generated once ([`imports`]); each export has a world of its own that shares
//! their types, so that a component is asked for exactly the exports it has.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated from the contracts, which carry the documentation"
)]

/// What a guest may import and this host implements.
pub(crate) mod imports {
    wasmtime::component::bindgen!({
        inline: "
            package airhost:runtime;

            world imports {
                import pyairtable:service/http@0.1.0;
                import pyairtable:service/client@0.1.0;
                import pyairtable:service/jobs@0.1.0;
                import pyairtable:context/call@0.1.0;
                import pyairtable:context/configuration@0.1.0;
                import pyairtable:context/cache@0.1.0;
                import pyairtable:context/secrets@0.1.0;
                import pyairtable:context/log@0.1.0;
                import pyairtable:storage/sql@0.1.0;
                import pyairtable:storage/kv@0.1.0;
                import pyairtable:events/bus@0.1.0;
                import pyairtable:mail/mailer@0.1.0;
                import pyairtable:crypto/hash@0.1.0;
                import pyairtable:crypto/password@0.1.0;
                import pyairtable:crypto/signature@0.1.0;
                import pyairtable:crypto/compression@0.1.0;
            }
        ",
        path: [
            "../../wit/types",
            "../../wit/context",
            "../../wit/crypto",
            "../../wit/storage",
            "../../wit/events",
            "../../wit/mail",
            "../../wit/service",
        ],
        world: "airhost:runtime/imports",
        // What only looks at the state of the call is synchronous: no future, no fiber switch.
        imports: {
            "pyairtable:service/http.[method]body-reader.read": async | trappable,
            "pyairtable:service/http.[method]request.read-body": async | trappable,
            "pyairtable:service/http.[method]request.body": async | trappable,
            "pyairtable:service/http.[method]body-writer.write": async | trappable,
            "pyairtable:service/http.[method]body-writer.finish": async | trappable,
            "pyairtable:service/http": trappable,
            "pyairtable:service/client.call": async | trappable,
            "pyairtable:service/client.start": async | trappable,
            "pyairtable:service/client.start-streaming": async | trappable,
            "pyairtable:service/client.wait-any": async | trappable,
            "pyairtable:service/client.[method]incoming.body": async | trappable,
            "pyairtable:service/client.[method]incoming.read-body": async | trappable,
            "pyairtable:service/client": trappable,
            "pyairtable:service/jobs.put": async | trappable,
            "pyairtable:service/jobs.cancel": async | trappable,
            "pyairtable:service/jobs.status": async | trappable,
            "pyairtable:service/jobs.[method]job.progress": async | trappable,
            "pyairtable:service/jobs": trappable,
            "pyairtable:context/call.assume": async | trappable,
            "pyairtable:context/call": trappable,
            "pyairtable:context/configuration": trappable,
            "pyairtable:context/cache": trappable,
            "pyairtable:context/log": trappable,
            "pyairtable:crypto/hash": trappable,
            "pyairtable:crypto/signature": trappable,
            default: async | trappable,
        },
        trappable_error_type: {
            "pyairtable:types/errors.error" => crate::glue::Fault,
        },
        with: {
            "pyairtable:service/http.request": crate::glue::http::Request,
            "pyairtable:service/http.responder": crate::glue::http::Responder,
            "pyairtable:service/http.body-reader": crate::glue::body::BodyReader,
            "pyairtable:service/http.body-writer": crate::glue::body::BodyWriter,
            "pyairtable:service/client.incoming": crate::glue::client::Incoming,
            "pyairtable:service/client.pending": crate::glue::client::Pending,
            "pyairtable:service/jobs.job": crate::glue::jobs::Job,
            "pyairtable:storage/sql.transaction": crate::glue::sql::Transaction,
        },
    });
}

/// One world for one export.
macro_rules! export {
    ($(#[$meta:meta])* $module:ident, $world:literal, $($with:tt)*) => {
        $(#[$meta])*
        pub(crate) mod $module {
            wasmtime::component::bindgen!({
                path: [
                    "../../wit/types",
                    "../../wit/context",
                    "../../wit/crypto",
                    "../../wit/storage",
                    "../../wit/events",
                    "../../wit/mail",
                    "../../wit/service",
                ],
                inline: $world,
                world: "airhost:runtime/exports",
                exports: { default: async },
                with: { $($with)* },
            });
        }
    };
}

export!(
    /// Answers HTTP requests.
    handler,
    "package airhost:runtime; world exports { export pyairtable:service/handler@0.1.0; }",
    "pyairtable:types": crate::bindings::imports::pyairtable::types,
    "pyairtable:storage": crate::bindings::imports::pyairtable::storage,
    "pyairtable:events": crate::bindings::imports::pyairtable::events,
    "pyairtable:service/http": crate::bindings::imports::pyairtable::service::http,
);
export!(
    /// Consumes events.
    consumer,
    "package airhost:runtime; world exports { export pyairtable:events/consumer@0.1.0; }",
    "pyairtable:types": crate::bindings::imports::pyairtable::types,
    "pyairtable:storage": crate::bindings::imports::pyairtable::storage,
);
export!(
    /// Runs jobs.
    job,
    "package airhost:runtime; world exports { export pyairtable:service/job-handler@0.1.0; }",
    "pyairtable:types": crate::bindings::imports::pyairtable::types,
    "pyairtable:storage": crate::bindings::imports::pyairtable::storage,
    "pyairtable:service/jobs": crate::bindings::imports::pyairtable::service::jobs,
);
export!(
    /// Is woken by time.
    tick,
    "package airhost:runtime; world exports { export pyairtable:service/tick-handler@0.1.0; }",
    "pyairtable:types": crate::bindings::imports::pyairtable::types,
);
export!(
    /// Prepares itself.
    lifecycle,
    "package airhost:runtime; world exports { export pyairtable:service/lifecycle@0.1.0; }",
    "pyairtable:types": crate::bindings::imports::pyairtable::types,
);
export!(
    /// Holds personal data.
    subject,
    "package airhost:runtime; world exports { export pyairtable:service/subject-data@0.1.0; }",
    "pyairtable:types": crate::bindings::imports::pyairtable::types,
);
