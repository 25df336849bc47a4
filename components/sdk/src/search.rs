//! Full-text and vector search; the host adds the tenant.

use crate::{Error, Result, imports::search as wit};

pub use crate::bindings::pyairtable::storage::search::{Document, Hit, Results};

/// Creates an index with a mapping, or checks that the existing one has it.
///
/// # Errors
/// `search.*`, here and below.
pub fn ensure_index(index: &str, mapping: &serde_json::Value) -> Result<()> {
    Ok(wit::ensure_index(index, &mapping.to_string())?)
}

/// Deletes an index.
///
/// # Errors
/// `search.*`.
pub fn drop_index(index: &str) -> Result<()> {
    Ok(wit::drop_index(index)?)
}

/// Points an alias at another index with no gap.
///
/// # Errors
/// `search.*`.
pub fn swap_alias(alias: &str, index: &str) -> Result<()> {
    Ok(wit::swap_alias(alias, index)?)
}

/// Puts at most 1 000 documents (8 MiB); a verdict for each, in order.
///
/// # Errors
/// `search.*`.
pub fn put(index: &str, documents: &[Document]) -> Result<Vec<Result<()>>> {
    Ok(wit::put(index, documents)?
        .into_iter()
        .map(|verdict| verdict.map_err(Error::from))
        .collect())
}

/// Removes documents; answers how many there were.
///
/// # Errors
/// `search.*`.
pub fn remove(index: &str, ids: &[String]) -> Result<u64> {
    Ok(wit::remove(index, ids)?)
}

/// Runs a query of the platform's query language.
///
/// # Errors
/// `search.*`.
pub fn query(index: &str, query: &serde_json::Value) -> Result<Results> {
    Ok(wit::query(index, &query.to_string())?)
}

/// Why a document is or is not found.
///
/// # Errors
/// `search.*`.
pub fn explain(index: &str, query: &serde_json::Value, id: &str) -> Result<String> {
    Ok(wit::explain(index, &query.to_string(), id)?)
}
