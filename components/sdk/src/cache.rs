//! A cache on this node, shared by the instances of the service, lost at will. What a fresh
//! instance should not compute anew belongs here.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, imports::cache as wit};

pub use crate::bindings::pyairtable::context::cache::Scope;

fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// An entry.
#[must_use]
pub fn get(scope: Scope, key: &str) -> Option<Vec<u8>> {
    wit::get(scope, key)
}

/// An entry as JSON; what does not fit counts as absent.
#[must_use]
pub fn get_json<T: DeserializeOwned>(scope: Scope, key: &str) -> Option<T> {
    get(scope, key).and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Keeps an entry (at most 256 KiB) for 1 ms to 1 day, droppable by its tags.
///
/// # Errors
/// `cache.too-large`.
pub fn put(scope: Scope, key: &str, value: &[u8], ttl: Duration, tags: &[&str]) -> Result<()> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Ok(wit::put(scope, key, value, ttl_ms(ttl), &tags)?)
}

/// Keeps an entry as JSON.
///
/// # Errors
/// As [`put`].
pub fn put_json<T: Serialize>(
    scope: Scope,
    key: &str,
    value: &T,
    ttl: Duration,
    tags: &[&str],
) -> Result<()> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::internal(format!("the cached value: {error}")))?;
    put(scope, key, &json, ttl, tags)
}

/// The entry, or what `make` answers, which is kept. A value that is too large is answered all
/// the same.
///
/// # Errors
/// What `make` answers.
pub fn get_or<T: Serialize + DeserializeOwned>(
    scope: Scope,
    key: &str,
    ttl: Duration,
    tags: &[&str],
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if let Some(value) = get_json(scope, key) {
        return Ok(value);
    }
    let value = make()?;
    if let Err(error) = put_json(scope, key, &value, ttl, tags) {
        crate::debug!(key = key, "not cached: {error}");
    }
    Ok(value)
}

/// Drops an entry on this node.
pub fn delete(scope: Scope, key: &str) {
    wit::delete(scope, key);
}

/// Drops what carries the tag, on every node.
pub fn drop_tag(tag: &str) {
    wit::drop_tag(tag);
}
