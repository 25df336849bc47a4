//! Looking into a database from the command line.

use std::path::Path;

use airhost_core::{Deadline, Result, codes};

use super::{
    super::{
        Rows,
        statement::{Kind, Origin, check},
    },
    connection::{Call, Conn, Failure, Outcome, Role},
    migrate::load_catalog,
};

/// Runs one `SELECT` on a database file, also while a node uses it; the host's tables may be
/// read. Blocks the thread.
///
/// # Errors
/// Those of a query; `sql.unavailable` when there is no such file.
pub fn read_only_query(path: &Path, sql: &str, deadline: Deadline) -> Result<Rows> {
    let statement = check(sql, Origin::Host)?;
    if statement.kind() != Kind::Read {
        return Err(codes::SQL_NOT_ALLOWED.error("only a SELECT can be run here"));
    }
    let mut conn = Conn::open(path, Role::Reader)?;
    let catalog = load_catalog(&conn.db, 1)?;
    let params = catalog.conform(&statement, Vec::new())?;
    let call = Call::new(deadline.instant());
    match conn.run(&statement, &params, &call, None, &catalog, true) {
        Ok(Outcome::Rows(rows)) => Ok(rows),
        Ok(Outcome::Count(_)) => Ok(Rows::default()),
        Err(failure) => Err(Failure::into_error(failure)),
    }
}
