//! What is found while one resource is read.

use serde_saphyr::Spanned;

use crate::{
    document::Document,
    finding::{Finding, Place},
};

/// Takes findings about one document.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    document: &'a Document,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(document: &'a Document, findings: &'a mut Vec<Finding>) -> Self {
        Self { document, findings }
    }

    pub(crate) fn at<T>(&self, value: &Spanned<T>) -> Place {
        self.document.at(value)
    }

    /// Refuses the files.
    pub(crate) fn error<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.findings.push(Finding::error(self.document.at(at), message));
    }

    /// Says what may not be meant.
    pub(crate) fn warning<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.findings.push(Finding::warning(self.document.at(at), message));
    }
}
