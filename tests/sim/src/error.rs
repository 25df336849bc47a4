//! What can go wrong before the simulator serves.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the simulator cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be served.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: std::net::SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file with the bases cannot be read.
    #[error("cannot read {path}")]
    ReadWorld {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The bases are not JSON of the right form.
    #[error("the bases are not in the right form")]
    ParseWorld(#[from] serde_json::Error),
    /// The bases contradict themselves.
    #[error("{place}: {reason}")]
    InvalidWorld {
        /// Where: base, table, record.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "listen",
            Self::ReadWorld { .. } => "read_world",
            Self::ParseWorld(_) => "parse_world",
            Self::InvalidWorld { .. } => "invalid_world",
        }
    }
}
