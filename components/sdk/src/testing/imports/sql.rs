//! `pyairtable:storage/sql` on SQLite in memory.

use std::rc::Rc;

use rusqlite::{Connection, ErrorCode, ffi, types::ValueRef};

use crate::{
    bindings::pyairtable::{
        storage::sql::{Access, Rows, Value},
        types::errors::{Error, ErrorClass},
    },
    http::Response,
    testing::{
        migrate::{Portable, Types},
        state::{Effects, OpenTransaction, error, with, with_any},
    },
};

/// What SQL in a transaction needs of the state: it is not borrowed while SQLite runs.
fn connection(tx: Option<u64>, write: bool) -> Result<Rc<Connection>, Error> {
    with(|state| {
        state.check("sql")?;
        match (&state.transaction, tx) {
            (Some(open), Some(id)) if open.id == id => {
                if write && !open.write {
                    return Err(error(
                        ErrorClass::Conflict,
                        "tx.read-only",
                        "the transaction was begun for reading",
                    ));
                }
            }
            (_, Some(_)) => {
                return Err(error(ErrorClass::Conflict, "tx.closed", "the transaction is closed"));
            }
            // On the host it would wait for the open transaction, which waits for it.
            (Some(open), None) if write && open.write => {
                return Err(error(
                    ErrorClass::Unavailable,
                    "sql.busy",
                    "a write outside of the transaction that this handler holds open",
                ));
            }
            (_, None) => {}
        }
        Ok(Rc::clone(&state.connection))
    })
}

fn check_statement(statement: &str) -> Result<bool, Error> {
    let first = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let reads = match first.as_str() {
        "SELECT" => true,
        "INSERT" | "UPDATE" | "DELETE" | "WITH" => false,
        _ => {
            return Err(error(
                ErrorClass::Denied,
                "sql.not-allowed",
                format!("not one SELECT, INSERT, UPDATE or DELETE: {statement}"),
            ));
        }
    };
    if statement.trim_end().trim_end_matches(';').contains(';') && !statement.contains('\'') {
        return Err(error(ErrorClass::Denied, "sql.not-allowed", "more than one statement"));
    }
    Ok(reads)
}

fn bind(statement: &mut rusqlite::Statement<'_>, params: &[Value]) -> Result<(), Error> {
    if statement.parameter_count() != params.len() {
        return Err(error(
            ErrorClass::Invalid,
            "sql.parameter",
            format!("{} parameters for {} places", params.len(), statement.parameter_count()),
        ));
    }
    for (index, value) in params.iter().enumerate() {
        let name = format!("${}", index + 1);
        let Ok(Some(place)) = statement.parameter_index(&name) else {
            return Err(error(ErrorClass::Invalid, "sql.parameter", format!("no place {name}")));
        };
        let bound = match value {
            Value::Null => statement.raw_bind_parameter(place, rusqlite::types::Null),
            Value::Boolean(b) => statement.raw_bind_parameter(place, b),
            Value::Bigint(n) | Value::Timestamp(n) => statement.raw_bind_parameter(place, n),
            Value::Double(n) => statement.raw_bind_parameter(place, n),
            Value::Bytes(b) => statement.raw_bind_parameter(place, b),
            Value::Text(s) | Value::Uuid(s) | Value::Decimal(s) | Value::Json(s) => {
                statement.raw_bind_parameter(place, s)
            }
        };
        bound.map_err(|e| translate(&e))?;
    }
    Ok(())
}

fn read(value: ValueRef<'_>, ty: Option<Portable>) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match (value, ty) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(n), Some(Portable::Boolean)) => Value::Boolean(n != 0),
        (ValueRef::Integer(n), Some(Portable::Timestamp)) => Value::Timestamp(n),
        (ValueRef::Integer(n), _) => Value::Bigint(n),
        (ValueRef::Real(n), _) => Value::Double(n),
        (ValueRef::Text(t), Some(Portable::Uuid)) => Value::Uuid(text(t)),
        (ValueRef::Text(t), Some(Portable::Decimal)) => Value::Decimal(text(t)),
        (ValueRef::Text(t), Some(Portable::Json)) => Value::Json(text(t)),
        (ValueRef::Text(t), _) => Value::Text(text(t)),
        (ValueRef::Blob(b), _) => Value::Bytes(b.to_vec()),
    }
}

fn run_query(
    connection: &Connection,
    types: &Types,
    sql: &str,
    params: &[Value],
) -> Result<Rows, Error> {
    let mut statement = connection.prepare_cached(sql).map_err(|e| translate(&e))?;
    bind(&mut statement, params)?;
    let portable: Vec<Option<Portable>> = statement
        .columns_with_metadata()
        .map(|column| {
            let key = (column.table_name()?.to_owned(), column.origin_name()?.to_owned());
            types.get(&key).copied()
        })
        .collect();
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(|e| translate(&e))? {
        let mut values = Vec::with_capacity(columns.len());
        for (index, ty) in portable.iter().enumerate() {
            values.push(read(row.get_ref(index).map_err(|e| translate(&e))?, *ty));
        }
        rows.push(values);
        if rows.len() > 10_000 {
            return Err(error(ErrorClass::Exhausted, "sql.result-too-large", "over 10 000 rows"));
        }
    }
    Ok(Rows { columns, rows })
}

fn query_in(tx: Option<u64>, statement: &str, params: &[Value]) -> Result<Rows, Error> {
    let reads = check_statement(statement)?;
    // `WITH` may be either; SQLite knows once it is prepared, and readers are let through.
    let write = !reads && !statement.trim_start().to_ascii_uppercase().starts_with("WITH");
    let connection = connection(tx, write)?;
    let types = with(|state| state.types.clone());
    run_query(&connection, &types, statement, params)
}

fn execute_in(tx: Option<u64>, statement: &str, params: &[Value]) -> Result<u64, Error> {
    check_statement(statement)?;
    let connection = connection(tx, true)?;
    let mut statement = connection.prepare_cached(statement).map_err(|e| translate(&e))?;
    bind(&mut statement, params)?;
    statement.raw_execute().map(|rows| u64::try_from(rows).unwrap_or(0)).map_err(|e| translate(&e))
}

pub(crate) fn query(statement: &str, params: &[Value]) -> Result<Rows, Error> {
    query_in(None, statement, params)
}

pub(crate) fn execute(statement: &str, params: &[Value]) -> Result<u64, Error> {
    execute_in(None, statement, params)
}

pub(crate) fn begin(access: Access) -> Result<Transaction, Error> {
    let write = access == Access::Write;
    let connection = connection(None, write)?;
    let begun = if write { "BEGIN IMMEDIATE" } else { "BEGIN" };
    connection.execute_batch(begun).map_err(|e| translate(&e))?;
    with(|state| {
        let id = state.next_id();
        state.transaction = Some(OpenTransaction { id, write, effects: Effects::default() });
        Ok(Transaction { id })
    })
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: u64,
}

impl Transaction {
    pub(crate) fn query(&self, statement: &str, params: &[Value]) -> Result<Rows, Error> {
        query_in(Some(self.id), statement, params)
    }

    pub(crate) fn execute(&self, statement: &str, params: &[Value]) -> Result<u64, Error> {
        execute_in(Some(self.id), statement, params)
    }

    pub(crate) fn commit(&self, reply: Option<&Response>) -> Result<(), Error> {
        let connection = connection(Some(self.id), false)?;
        with(|state| state.check("sql.commit"))?;
        connection.execute_batch("COMMIT").map_err(|e| translate(&e))?;
        with(|state| {
            if let Some(open) = state.transaction.take() {
                state.commit(open.effects);
            }
            if let (Some(reply), Some(key)) = (reply, state.idempotency.clone())
                && let Some(answered) = state.idempotent.get_mut(&key)
            {
                answered.response = Some(reply.clone());
            }
        });
        Ok(())
    }

    pub(crate) fn rollback(&self) -> Result<(), Error> {
        let connection = connection(Some(self.id), false)?;
        with(|state| state.transaction = None);
        connection.execute_batch("ROLLBACK").map_err(|e| translate(&e))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let open = with_any(|state| {
            state
                .transaction
                .take_if(|open| open.id == self.id)
                .map(|_| Rc::clone(&state.connection))
        });
        if let Some(Some(connection)) = open {
            // A transaction that SQLite ended by itself is as gone as one that is rolled back.
            drop(connection.execute_batch("ROLLBACK"));
        }
    }
}

fn translate(failure: &rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(code, message) = failure else {
        return error(ErrorClass::Invalid, "sql.syntax", failure.to_string());
    };
    let message = message.clone().unwrap_or_default();
    let (class, name) = match code.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => (ErrorClass::Conflict, "sql.unique-violation"),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => (ErrorClass::Conflict, "sql.foreign-key-violation"),
        ffi::SQLITE_CONSTRAINT_NOTNULL => (ErrorClass::Invalid, "sql.not-null-violation"),
        ffi::SQLITE_CONSTRAINT_CHECK | ffi::SQLITE_CONSTRAINT_DATATYPE => {
            (ErrorClass::Invalid, "sql.check-violation")
        }
        _ => match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                (ErrorClass::Unavailable, "sql.busy")
            }
            ErrorCode::TypeMismatch => (ErrorClass::Invalid, "sql.parameter"),
            _ => (ErrorClass::Invalid, "sql.syntax"),
        },
    };
    let mut failure = error(class, name, message.clone());
    // SQLite names the columns: `UNIQUE constraint failed: users.email`.
    if let Some((_, constraint)) = message.split_once("failed: ") {
        failure.attrs.push(("constraint".to_owned(), constraint.to_owned()));
    }
    failure
}
