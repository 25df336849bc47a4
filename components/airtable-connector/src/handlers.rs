//! Requests.

mod access;
pub(crate) mod bases;
pub(crate) mod connections;
pub(crate) mod records;
pub(crate) mod subject;
pub(crate) mod surface;
