//! Configuration: the manifest's `[config]` with the operator's overrides.

use serde::de::DeserializeOwned;

use crate::{Error, Result, imports::configuration};

/// The value of a key.
///
/// # Errors
/// 500 if the key is not in the manifest or its value is of another type.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<T> {
    optional(key)?.ok_or_else(|| Error::internal(format!("the configuration has no `{key}`")))
}

/// The value of a key that may be absent.
///
/// # Errors
/// 500 if its value is of another type.
pub fn optional<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    configuration::get(key)
        .map(|json| serde_json::from_str(&json))
        .transpose()
        .map_err(|error| Error::internal(format!("the configuration's `{key}`: {error}")))
}

/// All keys.
#[must_use]
pub fn keys() -> Vec<String> {
    configuration::keys()
}
