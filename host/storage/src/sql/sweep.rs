//! Forgetting what is older than it needs to be.

use std::time::Duration;

use airhost_core::{Deadline, Result, codes};

use super::{Database, Value, statement::identifier_fits};

/// Rows deleted in one transaction: few, so that writers between batches do not wait long.
const BATCH: i64 = 500;

/// Deletes the rows of a host table whose `column` (a `timestamp`) is more than `keep` before
/// `now_micros`, in small transactions; answers how many. Stops early, without an error, at the
/// deadline: the rest is for the next sweep. `key` is the table's primary key.
///
/// # Errors
/// `sql.not-allowed` when a name is not that of a host table or column; those of a write.
pub async fn sweep(
    db: &dyn Database,
    table: &str,
    key: &str,
    column: &str,
    keep: Duration,
    now_micros: i64,
    deadline: Deadline,
) -> Result<u64> {
    let host_table = table.starts_with("_airhost_");
    if !host_table || ![table, key, column].into_iter().all(identifier_fits) {
        return Err(codes::SQL_NOT_ALLOWED.error("only a host table can be swept"));
    }
    let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
    let before = now_micros.saturating_sub(keep);
    let statement = format!(
        "DELETE FROM {table} WHERE {key} IN \
         (SELECT {key} FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2)"
    );
    let mut swept = 0;
    loop {
        let params = vec![Value::Timestamp(before), Value::Bigint(BATCH)];
        let deleted = db.host_execute(&statement, params, deadline).await?;
        swept += deleted;
        if deleted < BATCH.unsigned_abs() || deadline.is_over() {
            return Ok(swept);
        }
    }
}
