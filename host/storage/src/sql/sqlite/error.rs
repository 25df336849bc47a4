//! From what SQLite says to the catalogue of codes. Names of tables and columns may cross to the
//! guest, because it knows its own schema; SQLite's text and values may not.

use airhost_core::{Error, codes};
use rusqlite::{ErrorCode, ffi};

/// The error of a statement.
pub(super) fn statement_error(error: &rusqlite::Error) -> Error {
    let (failure, text) = match error {
        rusqlite::Error::SqliteFailure(failure, text) => (*failure, text.as_deref()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (*error, Some(msg.as_str())),
        rusqlite::Error::MultipleStatement => {
            return codes::SQL_NOT_ALLOWED.error("more than one statement was sent");
        }
        // The schema changed between preparing and running.
        rusqlite::Error::InvalidColumnIndex(_) => {
            return codes::SQL_BUSY.error("the schema is being changed");
        }
        other => {
            tracing::error!(error = %other, "a statement failed in an unforeseen way");
            return codes::SQL_UNAVAILABLE.error("the database cannot run the statement");
        }
    };
    let text = text.unwrap_or_default();
    match failure.code {
        ErrorCode::ConstraintViolation => constraint(failure.extended_code, text),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            codes::SQL_BUSY.error("the database is busy")
        }
        ErrorCode::DiskFull => codes::SQL_FULL.error("the database has no room left"),
        ErrorCode::TooBig => codes::SQL_PARAMETER.error("a value or the statement is too large"),
        ErrorCode::TypeMismatch => {
            codes::SQL_CHECK_VIOLATION.error("a value is not of its column's type")
        }
        ErrorCode::AuthorizationForStatementDenied => {
            codes::SQL_NOT_ALLOWED.error("the statement touches what belongs to the host")
        }
        ErrorCode::OperationInterrupted => {
            codes::DEADLINE_EXCEEDED.error("the statement took too long")
        }
        ErrorCode::ReadOnly if failure.extended_code == ffi::SQLITE_READONLY => {
            codes::TX_READ_ONLY.error("the transaction was begun for reading")
        }
        ErrorCode::Unknown if failure.extended_code == ffi::SQLITE_ERROR => plain(text),
        _ => {
            tracing::error!(code = failure.extended_code, text, "the database failed");
            codes::SQL_UNAVAILABLE.error("the database failed")
        }
    }
}

/// `SQLITE_ERROR`: a name that does not exist, or what only the engine can check.
fn plain(text: &str) -> Error {
    for (beginning, what) in [
        ("no such table: ", "table"),
        ("no such column: ", "column"),
        ("ambiguous column name: ", "unambiguous column"),
    ] {
        if let Some(name) = text.strip_prefix(beginning) {
            return codes::SQL_SYNTAX.error(format!("there is no {what} {name:.130}"));
        }
    }
    if let Some((table, column)) =
        text.strip_prefix("table ").and_then(|rest| rest.split_once(" has no column named "))
    {
        return codes::SQL_SYNTAX.error(format!("there is no column {table:.64}.{column:.64}"));
    }
    match text {
        "integer overflow" => codes::SQL_PARAMETER.error("a number leaves 64 bits"),
        "ON CONFLICT clause does not match any PRIMARY KEY or UNIQUE constraint" => {
            codes::SQL_SYNTAX.error("ON CONFLICT names no unique key")
        }
        _ => {
            tracing::debug!(text, "a statement does not fit the schema");
            codes::SQL_SYNTAX.error("the statement does not fit the schema")
        }
    }
}

fn constraint(extended: i32, text: &str) -> Error {
    let subject = text.split_once("failed: ").map_or("", |(_, subject)| subject);
    match extended {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => {
            let error = codes::SQL_UNIQUE_VIOLATION.error("a row with the same unique key exists");
            match subject.strip_prefix("index '").and_then(|rest| rest.strip_suffix('\'')) {
                Some(index) => error.with("constraint", index),
                None => with_columns(error, subject),
            }
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => codes::SQL_FOREIGN_KEY_VIOLATION
            .error("a row refers to one that does not exist, or is referred to"),
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            with_columns(codes::SQL_NOT_NULL_VIOLATION.error("a column needs a value"), subject)
        }
        ffi::SQLITE_CONSTRAINT_CHECK => {
            let error = codes::SQL_CHECK_VIOLATION.error("a CHECK constraint is not met");
            // An unnamed constraint is told by its expression, which says nothing to a caller.
            let named = subject.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if named && !subject.is_empty() { error.with("constraint", subject) } else { error }
        }
        // "cannot store TEXT value in INTEGER column users.age"
        ffi::SQLITE_CONSTRAINT_DATATYPE => {
            let error = codes::SQL_CHECK_VIOLATION.error("a value is not of its column's type");
            match text.rsplit_once(" column ") {
                Some((_, column)) => with_columns(error, column),
                None => error,
            }
        }
        _ => codes::SQL_CHECK_VIOLATION.error("a constraint is not met"),
    }
}

/// Splits "users.email, users.tenant" into the attributes `table` and `column`.
fn with_columns(error: Error, subject: &str) -> Error {
    let mut table = "";
    let mut columns = Vec::new();
    for part in subject.split(", ") {
        let Some((of, column)) = part.split_once('.') else { continue };
        table = of;
        columns.push(column);
    }
    if columns.is_empty() {
        return error;
    }
    error.with("table", table).with("column", columns.join(","))
}
