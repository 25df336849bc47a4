//! From the interfaces of `wit/` to the crates behind them, a file an interface. What is here
//! translates, bounds and scopes; it decides nothing else.

pub(crate) mod body;
mod bus;
pub(crate) mod client;
mod context;
mod crypto;
pub(crate) mod fields;
pub(crate) mod http;
pub(crate) mod jobs;
mod kv;
mod log;
mod mail;
mod secrets;
pub(crate) mod sql;

use airhost_core::{Error, ErrorClass};
use wasmtime::component::ResourceTableError;

use crate::{bindings::imports::pyairtable::types, state::State};
use types::errors;

/// How a host function ends other than well: with an error that the guest can handle, or, where
/// the guest broke the contract, with a trap.
#[derive(Debug)]
pub(crate) enum Fault {
    /// For the guest.
    Error(Error),
    /// The end of the instance.
    Trap(wasmtime::Error),
}

/// What a host function answers.
pub(crate) type Answer<T> = Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<wasmtime::Error> for Fault {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<ResourceTableError> for Fault {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<airhost_core::BodyError> for Fault {
    fn from(error: airhost_core::BodyError) -> Self {
        Self::Error(error.into())
    }
}

impl errors::Host for State {
    fn convert_error(&mut self, fault: Fault) -> wasmtime::Result<errors::Error> {
        match fault {
            Fault::Error(error) => Ok(to_guest(error)),
            Fault::Trap(trap) => Err(trap),
        }
    }
}

impl types::http::Host for State {}

/// An error as a guest sees it.
pub(crate) fn to_guest(error: Error) -> errors::Error {
    errors::Error {
        class: match error.class {
            ErrorClass::Invalid => errors::ErrorClass::Invalid,
            ErrorClass::NotFound => errors::ErrorClass::NotFound,
            ErrorClass::Conflict => errors::ErrorClass::Conflict,
            ErrorClass::Denied => errors::ErrorClass::Denied,
            ErrorClass::Exhausted => errors::ErrorClass::Exhausted,
            ErrorClass::Unavailable => errors::ErrorClass::Unavailable,
            ErrorClass::Deadline => errors::ErrorClass::Deadline,
            ErrorClass::Cancelled => errors::ErrorClass::Cancelled,
            ErrorClass::Unsupported => errors::ErrorClass::Unsupported,
            ErrorClass::Internal => errors::ErrorClass::Internal,
        },
        code: error.code.into_owned(),
        message: error.message,
        retry_after_ms: error.retry_after.map(millis),
        attrs: error.attrs,
    }
}

/// An error that a guest answers with.
pub(crate) fn from_guest(error: errors::Error) -> Error {
    Error {
        class: match error.class {
            errors::ErrorClass::Invalid => ErrorClass::Invalid,
            errors::ErrorClass::NotFound => ErrorClass::NotFound,
            errors::ErrorClass::Conflict => ErrorClass::Conflict,
            errors::ErrorClass::Denied => ErrorClass::Denied,
            errors::ErrorClass::Exhausted => ErrorClass::Exhausted,
            errors::ErrorClass::Unavailable => ErrorClass::Unavailable,
            errors::ErrorClass::Deadline => ErrorClass::Deadline,
            errors::ErrorClass::Cancelled => ErrorClass::Cancelled,
            errors::ErrorClass::Unsupported => ErrorClass::Unsupported,
            errors::ErrorClass::Internal => ErrorClass::Internal,
        },
        code: error.code.into(),
        message: error.message,
        retry_after: error.retry_after_ms.map(std::time::Duration::from_millis),
        attrs: error.attrs,
    }
}

/// Whole milliseconds, at least one for what is not nothing.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    let whole = duration.as_micros().div_ceil(1_000);
    u64::try_from(whole).unwrap_or(u64::MAX)
}
