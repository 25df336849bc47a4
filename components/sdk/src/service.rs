//! The service: what it offers, in one declaration.

use crate::{
    Result,
    events::Consumer,
    http::Routes,
    jobs::{JobKind, Tick},
    subject::SubjectData,
};

/// All that a service offers; made by [`service!`](crate::service!).
#[derive(Clone, Copy, Debug)]
pub struct Service {
    name: &'static str,
    version: &'static str,
    description: &'static str,
    routes: &'static [Routes],
    consumers: &'static [&'static [Consumer]],
    jobs: &'static [&'static [JobKind]],
    ticks: &'static [&'static [Tick]],
    lifecycle: Lifecycle,
    subject_data: Option<SubjectData>,
}

/// What happens around requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifecycle {
    init: Option<fn() -> Result<()>>,
    ready: Option<fn() -> Result<()>>,
    shutdown: Option<fn()>,
}

impl Lifecycle {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { init: None, ready: None, shutdown: None }
    }

    /// Runs once, when the snapshot of a revision is made. Without clocks, random numbers,
    /// configuration, secrets, stores and calls.
    #[must_use]
    pub const fn init(mut self, init: fn() -> Result<()>) -> Self {
        self.init = Some(init);
        self
    }

    /// The probe before a revision serves, and part of `/ready`.
    #[must_use]
    pub const fn ready(mut self, ready: fn() -> Result<()>) -> Self {
        self.ready = Some(ready);
        self
    }

    /// For warm instances, before they are dropped; 1 s.
    #[must_use]
    pub const fn shutdown(mut self, shutdown: fn()) -> Self {
        self.shutdown = Some(shutdown);
        self
    }
}

impl Service {
    /// A service that offers nothing yet.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str, description: &'static str) -> Self {
        Self {
            name,
            version,
            description,
            routes: &[],
            consumers: &[],
            jobs: &[],
            ticks: &[],
            lifecycle: Lifecycle::new(),
            subject_data: None,
        }
    }

    /// Answers HTTP requests.
    #[must_use]
    pub const fn routes(mut self, routes: &'static [Routes]) -> Self {
        self.routes = routes;
        self
    }

    /// Consumes events.
    #[must_use]
    pub const fn consumers(mut self, consumers: &'static [&'static [Consumer]]) -> Self {
        self.consumers = consumers;
        self
    }

    /// Runs jobs.
    #[must_use]
    pub const fn jobs(mut self, jobs: &'static [&'static [JobKind]]) -> Self {
        self.jobs = jobs;
        self
    }

    /// Is woken by time.
    #[must_use]
    pub const fn ticks(mut self, ticks: &'static [&'static [Tick]]) -> Self {
        self.ticks = ticks;
        self
    }

    /// Prepares itself and says when it is ready.
    #[must_use]
    pub const fn lifecycle(mut self, lifecycle: Lifecycle) -> Self {
        self.lifecycle = lifecycle;
        self
    }

    /// Holds personal data.
    #[must_use]
    pub const fn subject_data(mut self, subject_data: SubjectData) -> Self {
        self.subject_data = Some(subject_data);
        self
    }

    /// Name of the crate and the service.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Version of the crate.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Description of the crate.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        self.description
    }

    /// The OpenAPI 3.0.3 document as JSON.
    #[must_use]
    pub fn openapi(&self) -> String {
        crate::openapi::document(self).to_string()
    }

    pub(crate) fn route_tables(&self) -> &'static [Routes] {
        self.routes
    }

    pub(crate) fn consumer(&self, topic: &str) -> Option<&'static Consumer> {
        self.consumers.iter().copied().flatten().find(|consumer| consumer.topic == topic)
    }

    pub(crate) fn job(&self, kind: &str) -> Option<&'static JobKind> {
        self.jobs.iter().copied().flatten().find(|job| job.kind == kind)
    }

    pub(crate) fn tick(&self, name: &str) -> Option<&'static Tick> {
        self.ticks.iter().copied().flatten().find(|tick| tick.name == name)
    }

    pub(crate) fn hooks(&self) -> Lifecycle {
        self.lifecycle
    }

    pub(crate) fn personal(&self) -> Option<SubjectData> {
        self.subject_data
    }
}

impl Lifecycle {
    pub(crate) fn run_init(self) -> Result<()> {
        self.init.map_or(Ok(()), |init| init())
    }

    pub(crate) fn run_ready(self) -> Result<()> {
        self.ready.map_or(Ok(()), |ready| ready())
    }

    pub(crate) fn run_shutdown(self) {
        if let Some(shutdown) = self.shutdown {
            shutdown();
        }
    }
}

/// Declares the service and exports what it has, and nothing else. Once, in `lib.rs`; makes
/// `pub static SERVICE`, which tests are run on. Name, version and description are the crate's.
///
/// ```
/// # use sdk::{Result, Timestamp, http::{Routes, Text}};
/// # fn hello() -> Text { Text::plain("hello") }
/// # fn cleanup(_due: Timestamp) -> Result<()> { Ok(()) }
/// # fn ready() -> Result<()> { Ok(()) }
/// sdk::service! {
///     routes: &[sdk::routes! {
///         /// Says hello.
///         GET "/api/v1/hello" => hello;
///     }],
///     ticks: &[sdk::ticks! { "cleanup" => cleanup; }],
///     lifecycle: sdk::Lifecycle::new().ready(ready),
/// }
/// ```
///
/// Keys: `routes`, `consumers`, `jobs`, `ticks` (each a list of tables), `lifecycle`
/// ([`Lifecycle`]), `subject_data` ([`SubjectData`]).
#[macro_export]
macro_rules! service {
    ($($key:ident: $value:expr),* $(,)?) => {
        /// What this service offers.
        #[allow(unreachable_pub, reason = "the crate's root, or a module of a test")]
        pub static SERVICE: $crate::Service = $crate::Service::new(
            ::std::env!("CARGO_PKG_NAME"),
            ::std::env!("CARGO_PKG_VERSION"),
            ::std::env!("CARGO_PKG_DESCRIPTION"),
        )
        $(.$key($value))*;

        $crate::__export!(describe);
        $($crate::__export!($key);)*
    };
}

/// The exports of a component; nothing on other targets.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($key:ident) => {};
}

/// The exports of a component; nothing on other targets.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (routes) => {
        $crate::__world!(http);
    };
    (consumers) => {
        $crate::__world!(consumer);
    };
    (jobs) => {
        $crate::__world!(job);
    };
    (ticks) => {
        $crate::__world!(tick);
    };
    (lifecycle) => {
        $crate::__world!(lifecycle);
    };
    (subject_data) => {
        $crate::__world!(subject);
    };
    (describe) => {
        $crate::__world!(describe);
    };
}

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __world {
    ($world:ident) => {
        const _: () = {
            #[allow(unsafe_code, missing_debug_implementations, reason = "generated exports")]
            mod exported {
                struct Component;
                impl $crate::guest::Exported for Component {
                    fn service() -> &'static $crate::Service {
                        &super::SERVICE
                    }
                }
        $crate::bindings::$world::export!(Component with_types_in $crate::bindings::$world);
            }
        };
    };
}
