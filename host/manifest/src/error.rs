use std::fmt;

use airhost_core::codes;

/// One fault of a manifest, where it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// One sentence.
    pub message: String,
}

/// A manifest that is not valid: all of its faults, in the order of the file.
///
/// Its text is one line a fault, `<file>:<line>:<column>: <message>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The file as it was named.
    pub file: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: {}", self.file, problem.line, problem.column, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}

impl From<ManifestError> for airhost_core::Error {
    fn from(error: ManifestError) -> Self {
        codes::DEPLOY_MANIFEST.error(error.to_string())
    }
}
