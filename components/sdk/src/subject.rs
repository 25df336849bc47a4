//! Personal data (GDPR, articles 15, 17 and 20).

use serde::Serialize;

use crate::{Error, Result, bindings::subject::exports::pyairtable::service::subject_data as wit};

pub use wit::Erasure;

/// A part of an export: a name for a person, and JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportPart {
    /// As `profile`.
    pub section: String,
    /// JSON.
    pub content: String,
}

impl ExportPart {
    /// A part of any type.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn new(section: &str, content: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self {
            section: section.to_owned(),
            content: serde_json::to_string(content)
                .map_err(|error| Error::internal(format!("the export is not JSON: {error}")))?,
        })
    }
}

/// A page of an export, and whether there are more.
pub type ExportPage = (Vec<ExportPart>, bool);

/// What a service that holds personal data does with it.
#[derive(Clone, Copy, Debug)]
pub struct SubjectData {
    /// All that is held about a subject, page by page from 0.
    pub export: fn(subject: &str, page: u32) -> Result<ExportPage>,
    /// Removes or pseudonymises it; repeatable.
    pub erase: fn(subject: &str) -> Result<Vec<Erasure>>,
}
