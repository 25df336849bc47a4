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
    /// The file that keeps the data cannot be used.
    #[error("cannot keep the data in {path}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another simulator keeps its data there.
    #[error("another simulator keeps its data in {path}")]
    DataInUse {
        /// The file.
        path: PathBuf,
    },
    /// The authorities for webhooks' subscribers cannot be read.
    #[error("cannot use the certificates of {path}: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
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
            Self::Data { .. } => "data",
            Self::DataInUse { .. } => "data_in_use",
            Self::Certificates { .. } => "certificates",
            Self::Tls(_) => "tls",
            Self::ParseWorld(_) => "parse_world",
            Self::InvalidWorld { .. } => "invalid_world",
        }
    }
}
