//! Rows into types.

use serde::de::DeserializeOwned;

use super::{FromValue, Json, Value};
use crate::{Error, Result};

/// What a row can be read into: derived by [`Row`](crate::Row) for structs, and there for tuples
/// by position.
pub trait FromRow: Sized {
    /// Reads the row.
    ///
    /// # Errors
    /// If a column is missing or of another type: the statement and the type do not fit.
    fn from_row(row: &mut RowReader<'_>) -> Result<Self>;
}

/// A row being read. Values are moved out, each once.
#[derive(Debug)]
pub struct RowReader<'a> {
    pub(crate) columns: &'a [String],
    pub(crate) values: &'a mut [Value],
}

impl RowReader<'_> {
    /// The value of a column.
    ///
    /// # Errors
    /// If there is no such column, or it is of another type.
    pub fn take<T: FromValue>(&mut self, column: &str) -> Result<T> {
        let index = self
            .columns
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| Error::internal(format!("the result has no column `{column}`")))?;
        self.at(index)
    }

    /// The value of a `json` column, of any type; null where the type takes it.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_json<T: DeserializeOwned>(&mut self, column: &str) -> Result<T> {
        match self.take::<Option<Json<T>>>(column)? {
            Some(Json(value)) => Ok(value),
            None => serde_json::from_str("null")
                .map_err(|_| Error::internal(format!("column `{column}` is null"))),
        }
    }

    /// The value at a position, from 0.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn at<T: FromValue>(&mut self, index: usize) -> Result<T> {
        let value = self
            .values
            .get_mut(index)
            .map(|value| std::mem::replace(value, Value::Null))
            .ok_or_else(|| Error::internal(format!("the result has no column {index}")))?;
        T::from_value(value).map_err(|expected| {
            let name = self.columns.get(index).map_or("?", String::as_str);
            Error::internal(format!("column `{name}` is not {expected}"))
        })
    }
}

macro_rules! tuple_rows {
    ($($($type:ident $index:tt),+;)*) => {$(
        impl<$($type: FromValue),+> FromRow for ($($type,)+) {
            fn from_row(row: &mut RowReader<'_>) -> Result<Self> {
                Ok(($(row.at::<$type>($index)?,)+))
            }
        }
    )*};
}

tuple_rows! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
}
