//! Log lines: `sdk::info!(user = id, "made {count} items")`. The host adds time, service,
//! revision, node, correlation and trace ids and tenant.

use serde::Serialize;

pub use crate::bindings::pyairtable::context::log::Level;

use crate::imports::log as wit;

/// Whether lines of the level are kept.
#[must_use]
pub fn enabled(level: Level) -> bool {
    level as u8 >= wit::enabled() as u8
}

/// Writes a line; `fields` are names and JSON values.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    wit::write(level, message, fields);
}

/// A field of a line.
#[doc(hidden)]
pub fn field(name: &str, value: &(impl Serialize + ?Sized)) -> (String, String) {
    (name.to_owned(), serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()))
}

/// Writes a line of a level; see [`info!`](crate::info).
#[macro_export]
macro_rules! log {
    ($level:ident, $($name:ident = $value:expr,)* $format:literal $($arguments:tt)*) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write(
                $crate::log::Level::$level,
                &::std::format!($format $($arguments)*),
                &[$($crate::log::field(::std::stringify!($name), &$value)),*],
            );
        }
    };
}

/// A line for whoever looks at every step.
#[macro_export]
macro_rules! trace { ($($line:tt)*) => { $crate::log!(Trace, $($line)*) }; }

/// A line for whoever looks for a fault.
#[macro_export]
macro_rules! debug { ($($line:tt)*) => { $crate::log!(Debug, $($line)*) }; }

/// A line about what happened: `info!(user = id, size = 3, "stored {name}")`. Fields are anything
/// that serializes; they are not made when the level is off. No personal data, no secrets.
#[macro_export]
macro_rules! info { ($($line:tt)*) => { $crate::log!(Info, $($line)*) }; }

/// A line about what somebody should look at.
#[macro_export]
macro_rules! warn { ($($line:tt)*) => { $crate::log!(Warn, $($line)*) }; }

/// A line about what failed.
#[macro_export]
macro_rules! error { ($($line:tt)*) => { $crate::log!(Error, $($line)*) }; }
