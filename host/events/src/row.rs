//! Reading the rows of the host's own tables.

use airhost_core::{Error, Result, codes};
use airhost_storage::sql::Value;

/// The columns of one row, taken in order.
pub(crate) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(crate) fn of(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        match self.0.next() {
            Some(Value::Text(text) | Value::Json(text) | Value::Uuid(text)) => Ok(text),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn optional_text(&mut self) -> Result<Option<String>> {
        match self.0.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Text(text) | Value::Json(text) | Value::Uuid(text)) => Ok(Some(text)),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn bigint(&mut self) -> Result<i64> {
        match self.0.next() {
            Some(Value::Bigint(number) | Value::Timestamp(number)) => Ok(number),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn optional_bigint(&mut self) -> Result<Option<i64>> {
        match self.0.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Bigint(number) | Value::Timestamp(number)) => Ok(Some(number)),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        u64::try_from(self.bigint()?).map_err(|_| unexpected())
    }
}

fn unexpected() -> Error {
    codes::INTERNAL.error("a table of the host does not have the columns it was made with")
}
