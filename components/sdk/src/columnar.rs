//! Wide scans over many rows; the host adds the tenant.

use crate::{
    Result,
    imports::columnar as wit,
    sql::{FromRow, RowReader, Value},
};

/// Appends at most 10 000 rows; the batch id makes a repeated batch harmless for 7 days.
///
/// # Errors
/// `columnar.*`, here and below.
pub fn insert(table: &str, columns: &[&str], rows: &[Vec<Value>], batch: &str) -> Result<u64> {
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    Ok(wit::insert(table, &columns, rows, batch)?)
}

/// A `SELECT`; at most 10 000 rows.
///
/// # Errors
/// `columnar.*`, and if a row does not fit `T`.
pub fn query<T: FromRow>(statement: &str, params: &[Value]) -> Result<Vec<T>> {
    let mut rows = wit::query(statement, params)?;
    let mut items = Vec::with_capacity(rows.rows.len());
    for values in &mut rows.rows {
        items.push(T::from_row(&mut RowReader { columns: &rows.columns, values })?);
    }
    Ok(items)
}

/// Removes the rows that match, within a minute.
///
/// # Errors
/// `columnar.*`.
pub fn erase(table: &str, column: &str, values: &[Value]) -> Result<()> {
    Ok(wit::erase(table, column, values)?)
}
