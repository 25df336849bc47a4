//! Why the runtime cannot do something at start or at load. What goes wrong in a call is an
//! [`airhost_core::Error`].

use airhost_core::{Revision, ServiceName, codes};

/// A failure of starting the runtime or loading a revision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// wasmtime refused the settings or could not reserve what they ask for.
    #[error("the engine cannot be started: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The folder of compiled code cannot be used.
    #[error("the folder of compiled code cannot be used: {reason}")]
    CacheFolder {
        /// What is wrong with it.
        reason: String,
    },
    /// The component cannot run here; the sentence names what to change.
    #[error("{service} {}: {reason}", revision.short())]
    Component {
        /// The service.
        service: ServiceName,
        /// Its revision.
        revision: Revision,
        /// The catalogue's row.
        code: &'static str,
        /// What is wrong and what to change.
        reason: String,
    },
}

impl Error {
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
    pub(crate) fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }

    /// The catalogue's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(_) | Self::Thread(_) | Self::CacheFolder { .. } => codes::INTERNAL.code,
            Self::Component { code, .. } => code,
        }
    }
}

impl From<Error> for airhost_core::Error {
    fn from(error: Error) -> Self {
        let row = codes::find(error.code()).unwrap_or(&codes::INTERNAL);
        row.error(error.to_string())
    }
}
