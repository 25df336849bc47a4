use std::{io, path::PathBuf};

/// Why route files were not taken. What was in force stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or the folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not as the format says.
    #[error("{file}:{line}:{column}: {message}")]
    Invalid {
        /// The file's name.
        file: String,
        /// Beginning with 1.
        line: u64,
        /// Beginning with 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
}
