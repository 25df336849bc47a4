//! The catalogue of error codes: what each means and what to do about it, in one place, for
//! guests, clients, logs, `airhost explain` and the documentation.
//!
//! A code is `<area>.<reason>` and never changes its meaning. An error is made from its code, so
//! that class and code cannot disagree.

use std::borrow::Cow;

use http::StatusCode;

use crate::{Error, ErrorClass};

/// A row of the catalogue.
#[derive(Debug)]
pub struct Code {
    /// The stable text, as `sql.unique-violation`.
    pub code: &'static str,
    /// The class of every error with this code.
    pub class: ErrorClass,
    /// The HTTP status where it is not that of the class.
    pub status: Option<StatusCode>,
    /// What happened, in a sentence or two.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Code {
    /// An error with this code.
    #[must_use]
    pub fn error(&'static self, message: impl Into<String>) -> Error {
        Error {
            class: self.class,
            code: Cow::Borrowed(self.code),
            message: message.into(),
            retry_after: None,
            attrs: Vec::new(),
        }
    }

    /// Whether an error has this code.
    #[must_use]
    pub fn is(&self, error: &Error) -> bool {
        error.code == self.code
    }
}

/// Declares the rows of one area: `NAME = "area.reason", Class[, status]; "meaning"; "remedy";`
macro_rules! codes {
    ($($name:ident = $code:literal, $class:ident $(, $status:ident)?; $meaning:literal; $remedy:literal;)*) => {
        $(
            #[doc = concat!("`", $code, "`: ", $meaning)]
            pub static $name: crate::codes::Code = crate::codes::Code {
                code: $code,
                class: crate::ErrorClass::$class,
                status: codes!(@status $($status)?),
                meaning: $meaning,
                remedy: $remedy,
            };
        )*
        pub(super) static ALL: &[&crate::codes::Code] = &[$(&$name),*];
    };
    (@status) => { None };
    (@status $status:ident) => { Some(http::StatusCode::$status) };
}

mod call;
mod context;
mod deploy;
mod events;
mod guest;
mod identity;
mod storage;

pub use call::*;
pub use context::*;
pub use deploy::*;
pub use events::*;
pub use guest::*;
pub use identity::*;
pub use storage::*;

/// Every code, by area.
#[expect(unused_qualifications, reason = "each area has a list of its own under the same name")]
pub fn all() -> impl Iterator<Item = &'static Code> {
    [call::ALL, context::ALL, deploy::ALL, events::ALL, guest::ALL, identity::ALL, storage::ALL]
        .into_iter()
        .flatten()
        .copied()
}

/// The row of a code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Code> {
    all().find(|row| row.code == code)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for row in all() {
            assert!(seen.insert(row.code), "{} is there twice", row.code);
            let (area, reason) = row.code.split_once('.').expect("area.reason");
            for part in [area, reason] {
                assert!(
                    part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                    "{}",
                    row.code
                );
            }
            assert!(row.meaning.ends_with('.') && row.remedy.ends_with('.'), "{}", row.code);
        }
    }
}
