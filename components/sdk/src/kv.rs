//! Keys and values with expiry, counters, lists and limits; what is here can be rebuilt. The host
//! scopes every key to the service and the tenant of the call.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, imports::kv as wit};

pub use crate::bindings::pyairtable::storage::kv::{Algorithm, Bucket, Entry, Mutation, Verdict};

fn ms(ttl: Option<Duration>) -> Option<u64> {
    ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// A value with its version.
///
/// # Errors
/// `kv.*`, here and below.
pub fn get(key: &str) -> Result<Option<Entry>> {
    Ok(wit::get(key)?)
}

/// A value as JSON.
///
/// # Errors
/// `kv.*`, and 500 if it does not fit the type.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    get(key)?
        .map(|entry| serde_json::from_slice(&entry.value))
        .transpose()
        .map_err(|error| Error::internal(format!("the value of a key: {error}")))
}

/// At most 100 keys, answered in order.
///
/// # Errors
/// `kv.*`.
pub fn get_many(keys: &[String]) -> Result<Vec<Option<Entry>>> {
    Ok(wit::get_many(keys)?)
}

/// Sets a value and answers its version; without a time to live it is kept until evicted.
///
/// # Errors
/// `kv.*`.
pub fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<u64> {
    Ok(wit::set(key, value, ms(ttl))?)
}

/// Sets a value as JSON.
///
/// # Errors
/// `kv.*`.
pub fn set_json<T: Serialize + ?Sized>(key: &str, value: &T, ttl: Option<Duration>) -> Result<u64> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::internal(format!("the value of a key: {error}")))?;
    set(key, &json, ttl)
}

/// Sets a value only if the key is at `expected` (none: does not exist).
///
/// # Errors
/// `kv.cas-mismatch`, `kv.*`.
pub fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl: Option<Duration>,
) -> Result<u64> {
    Ok(wit::compare_and_set(key, expected, value, ms(ttl))?)
}

/// Deletes a key; answers whether it was there.
///
/// # Errors
/// `kv.*`.
pub fn delete(key: &str) -> Result<bool> {
    Ok(wit::delete(key)?)
}

/// Adds to a counter and answers the sum; the time to live is given to a new counter only.
///
/// # Errors
/// `kv.overflow`, `kv.*`.
pub fn increment(key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64> {
    Ok(wit::increment(key, delta, ms(ttl))?)
}

/// Gives a key a new time to live (none: no expiry); answers whether it was there.
///
/// # Errors
/// `kv.*`.
pub fn expire(key: &str, ttl: Option<Duration>) -> Result<bool> {
    Ok(wit::expire(key, ms(ttl))?)
}

/// All checks (key and expected version, none for absent) hold and all writes happen, or none.
/// At most 50 of both.
///
/// # Errors
/// `kv.cas-mismatch`, `kv.*`.
pub fn atomic(checks: &[(String, Option<u64>)], mutations: &[Mutation]) -> Result<()> {
    Ok(wit::atomic(checks, mutations)?)
}

/// Takes from several limits at once: all or none. At most 16.
///
/// # Errors
/// `kv.*`.
pub fn take(buckets: &[Bucket]) -> Result<Vec<Verdict>> {
    Ok(wit::take(buckets)?)
}

/// Gives units back after a reservation that was not used.
///
/// # Errors
/// `kv.*`.
pub fn refund(key: &str, algorithm: Algorithm, units: u64) -> Result<()> {
    Ok(wit::refund(key, algorithm, units)?)
}

/// Appends to a list; answers its length.
///
/// # Errors
/// `kv.full`, `kv.*`.
pub fn push(key: &str, values: &[Vec<u8>]) -> Result<u64> {
    Ok(wit::push(key, values)?)
}

/// Takes up to `max` values (at most 1 000) from the front of a list.
///
/// # Errors
/// `kv.*`.
pub fn pop(key: &str, max: u32) -> Result<Vec<Vec<u8>>> {
    Ok(wit::pop(key, max)?)
}

/// Values of a list from `start`, at most 1 000.
///
/// # Errors
/// `kv.*`.
pub fn range(key: &str, start: u64, max: u32) -> Result<Vec<Vec<u8>>> {
    Ok(wit::range(key, start, max)?)
}

/// Keys that begin with `prefix` in byte order after `after`, at most 1 000.
///
/// # Errors
/// `kv.*`.
pub fn scan(prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>> {
    Ok(wit::scan(prefix, after, max)?)
}
