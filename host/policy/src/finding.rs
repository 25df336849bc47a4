//! What validation has to say, with its place.

use std::{fmt, sync::Arc};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// Beginning with 1.
    pub line: u64,
    /// Beginning with 1.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Whether a finding refuses the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// They are not taken.
    Error,
    /// They are taken, and mean something other than their author may think.
    Warning,
}

/// One sentence about one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Finding {
    pub(crate) fn error(place: Place, message: impl Into<String>) -> Self {
        Self { place, severity: Severity::Error, message: message.into() }
    }

    pub(crate) fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { place, severity: Severity::Warning, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {word}{}", self.place, self.message)
    }
}

/// The files were not taken; what was in force stays in force. Warnings are among the findings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.findings))]
pub struct PolicyError {
    /// In the order of files and lines; at least one is an error.
    pub findings: Vec<Finding>,
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
