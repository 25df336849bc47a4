//! What a statement's text says about the types of its parameters and results.

use super::super::Portable;

/// A column as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnRef {
    /// The tables it may be of; the one that has such a column is meant.
    pub(crate) tables: Vec<String>,
    /// Its name.
    pub(crate) column: String,
}

/// What is known of an expression's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing.
    None,
    /// This type.
    Type(Portable),
    /// That of a column.
    Column(ColumnRef),
}

impl Hint {
    /// This, or the other when nothing is known.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::None { other } else { self }
    }
}

/// An item of a `SELECT` or `RETURNING` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// `*` or `t.*`: any number of columns.
    Star,
    /// One column.
    Column {
        /// Its name, as PostgreSQL would choose it.
        name: String,
        /// Its type.
        hint: Hint,
    },
}
