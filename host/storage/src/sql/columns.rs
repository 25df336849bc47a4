//! Reading rows of the host's own tables.

use airhost_core::{Error, Result, codes};

use super::Value;

/// The columns of one row, taken in order. Every method takes the next one and answers
/// `internal.error` where the row has no such column: the statement and its reader disagree.
#[derive(Debug)]
pub struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    /// The columns of a row.
    #[must_use]
    pub fn of(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    /// A text, JSON or UUID.
    pub fn text(&mut self) -> Result<String> {
        self.optional_text()?.ok_or_else(unexpected)
    }

    /// A text, JSON or UUID, or null.
    pub fn optional_text(&mut self) -> Result<Option<String>> {
        match self.0.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Text(text) | Value::Json(text) | Value::Uuid(text)) => Ok(Some(text)),
            _ => Err(unexpected()),
        }
    }

    /// An integer or a timestamp.
    pub fn bigint(&mut self) -> Result<i64> {
        self.optional_bigint()?.ok_or_else(unexpected)
    }

    /// An integer, a timestamp or null.
    pub fn optional_bigint(&mut self) -> Result<Option<i64>> {
        match self.0.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Bigint(number) | Value::Timestamp(number)) => Ok(Some(number)),
            _ => Err(unexpected()),
        }
    }

    /// An integer that fits another type, as `u32` or `u64`.
    pub fn integer<T: TryFrom<i64>>(&mut self) -> Result<T> {
        T::try_from(self.bigint()?).map_err(|_| unexpected())
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>> {
        self.optional_bytes()?.ok_or_else(unexpected)
    }

    /// Bytes or null.
    pub fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        match self.0.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> Error {
    codes::INTERNAL.error("a table of the host does not have the columns it was made with")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_taken_in_order_and_by_type() {
        let row =
            vec![Value::Text("a".into()), Value::Null, Value::Bigint(-1), Value::Bytes(vec![1])];
        let mut columns = Columns::of(row);
        assert_eq!(columns.text().ok().as_deref(), Some("a"));
        assert_eq!(columns.optional_bigint().ok(), Some(None));
        assert!(columns.integer::<u32>().is_err());
        assert_eq!(columns.bytes().ok(), Some(vec![1]));
        assert!(columns.text().is_err());
    }
}
