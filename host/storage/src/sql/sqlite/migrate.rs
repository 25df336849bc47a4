//! Bringing a schema up to date.

use std::{collections::HashMap, time::SystemTime};

use airhost_core::{Error, Result, codes};
use rusqlite::{Connection, params};

use super::{
    super::{
        Applied, HostSchema, Migration, Phase, Portable,
        catalog::Catalog,
        migration::{Change, digest, failed, plan},
        statement::Origin,
    },
    error::statement_error,
};

/// The tables that the engine itself keeps: what ran, and what type a column was declared with
/// (SQLite's strict tables know only how a value is stored).
const BOOTSTRAP: &str = "
    CREATE TABLE IF NOT EXISTS _airhost_migrations (
        name TEXT PRIMARY KEY, phase TEXT NOT NULL, sha256 TEXT NOT NULL,
        applied_at INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS _airhost_schemas (
        name TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (name, version)) STRICT;
    CREATE TABLE IF NOT EXISTS _airhost_columns (
        table_name TEXT NOT NULL, column_name TEXT NOT NULL, type TEXT NOT NULL,
        PRIMARY KEY (table_name, column_name)) STRICT;
";

/// Makes the engine's own tables and those of the higher crates.
pub(super) fn prepare(db: &Connection, schemas: &[HostSchema]) -> Result<()> {
    let mut schemas: Vec<_> = schemas.iter().chain([&crate::idempotency::SCHEMA]).collect();
    schemas.sort_by_key(|schema| (schema.name, schema.version));
    schemas.dedup();
    in_transaction(db, |db| {
        db.execute_batch(BOOTSTRAP).map_err(|error| statement_error(&error))?;
        schemas.iter().try_for_each(|schema| host_schema(db, schema))
    })
}

fn host_schema(db: &Connection, schema: &HostSchema) -> Result<()> {
    let ran = optional_text(
        db,
        "SELECT sha256 FROM _airhost_schemas WHERE name = ?1 AND version = ?2",
        params![schema.name, schema.version],
    )?;
    let name = format!("host:{}:{}", schema.name, schema.version);
    if let Some(ran) = ran {
        if ran == schema.digest() {
            return Ok(());
        }
        return Err(changed(&name, "is not the same as when it ran"));
    }
    let migration = Migration { name, phase: Phase::Expand, sql: schema.statements.join(";\n") };
    run(db, &migration, Origin::Host)?;
    db.execute(
        "INSERT INTO _airhost_schemas (name, version, sha256) VALUES (?1, ?2, ?3)",
        params![schema.name, schema.version, schema.digest()],
    )
    .map(drop)
    .map_err(|error| statement_error(&error))
}

/// Applies what has not run, in one transaction.
pub(super) fn apply(db: &Connection, migrations: &[Migration], contract: bool) -> Result<Applied> {
    let mut ordered: Vec<_> = migrations.iter().collect();
    ordered.sort_by(|left, right| left.name.cmp(&right.name));
    if let Some(twice) = ordered.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let cause = codes::SQL_NOT_ALLOWED.error("two migrations have this name");
        return Err(failed(&twice[0].name, 0, &cause));
    }
    in_transaction(db, |db| {
        let mut ran = history(db)?;
        let mut applied = Applied::default();
        for migration in ordered {
            match ran.remove(&migration.name) {
                Some(sha256) if sha256 == digest(migration) => {}
                Some(_) => {
                    return Err(changed(&migration.name, "is not the same as when it ran"));
                }
                None if migration.phase == Phase::Contract && !contract => {
                    applied.waiting.push(migration.name.clone());
                }
                None => {
                    run(db, migration, Origin::Guest)?;
                    record(db, migration).map_err(|error| statement_error(&error))?;
                    applied.ran.push(migration.name.clone());
                }
            }
        }
        match ran.into_keys().min() {
            Some(gone) => Err(changed(&gone, "ran before and is gone")),
            None => Ok(applied),
        }
    })
}

fn changed(name: &str, how: &str) -> Error {
    codes::MIGRATION_CHANGED.error(format!("the migration {name} {how}")).with("migration", name)
}

fn history(db: &Connection) -> Result<HashMap<String, String>> {
    let read = || -> rusqlite::Result<HashMap<String, String>> {
        let mut statement = db.prepare("SELECT name, sha256 FROM _airhost_migrations")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    read().map_err(|error| statement_error(&error))
}

fn record(db: &Connection, migration: &Migration) -> rusqlite::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let phase = match migration.phase {
        Phase::Expand => "expand",
        Phase::Contract => "contract",
    };
    db.execute(
        "INSERT INTO _airhost_migrations (name, phase, sha256, applied_at) VALUES (?1, ?2, ?3, ?4)",
        params![migration.name, phase, digest(migration), now],
    )
    .map(drop)
}

/// Runs the statements of one migration.
fn run(db: &Connection, migration: &Migration, origin: Origin) -> Result<()> {
    for (at, step) in plan(migration, origin)?.iter().enumerate() {
        let result = db
            .execute_batch(&step.sqlite)
            .and_then(|()| step.changes.iter().try_for_each(|change| note(db, change)));
        result.map_err(|error| failed(&migration.name, at + 1, &migration_cause(&error)))?;
    }
    Ok(())
}

/// What is wrong with a statement of a migration. Its author may see names, not SQLite's text.
fn migration_cause(error: &rusqlite::Error) -> Error {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.as_str(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.as_str(),
        _ => "",
    };
    let known = [
        ("already exists", "it exists already"),
        ("duplicate column name", "the column exists already"),
        ("no such index", "there is no such index"),
        ("error in index", "an index uses the column; drop the index first"),
        ("error in table", "the table's definition uses the column"),
        ("cannot drop column", "the column is a key or used by a constraint"),
        ("foreign key mismatch", "REFERENCES names columns that are not a unique key"),
    ];
    match known.iter().find(|(part, _)| text.contains(part)) {
        Some((_, meaning)) => codes::SQL_SYNTAX.error(*meaning),
        None => statement_error(error),
    }
}

/// Keeps what is known of the columns.
fn note(db: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::AddColumn { table, column, portable } => db.execute(
            "INSERT INTO _airhost_columns (table_name, column_name, type) VALUES (?1, ?2, ?3)
             ON CONFLICT (table_name, column_name) DO NOTHING",
            params![table, column, portable.name()],
        ),
        Change::DropColumn { table, column } => db.execute(
            "DELETE FROM _airhost_columns WHERE table_name = ?1 AND column_name = ?2",
            params![table, column],
        ),
        Change::RenameColumn { table, from, to } => db.execute(
            "UPDATE _airhost_columns SET column_name = ?3 WHERE table_name = ?1 AND column_name = ?2",
            params![table, from, to],
        ),
        Change::RenameTable { from, to } => db.execute(
            "UPDATE _airhost_columns SET table_name = ?2 WHERE table_name = ?1",
            params![from, to],
        ),
        Change::DropTable { table } => {
            db.execute("DELETE FROM _airhost_columns WHERE table_name = ?1", params![table])
        }
    }
    .map(drop)
}

/// What is known of the columns.
pub(super) fn load_catalog(db: &Connection, version: u64) -> Result<Catalog> {
    let read = || -> rusqlite::Result<Vec<(String, String, String)>> {
        let sql = "SELECT table_name, column_name, type FROM _airhost_columns";
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    let mut catalog = Catalog { version, ..Catalog::default() };
    for (table, column, name) in read().map_err(|error| statement_error(&error))? {
        let Some(portable) = Portable::from_name(&name) else {
            tracing::error!(table, column, name, "the database has a column of an unknown type");
            return Err(codes::SQL_UNAVAILABLE.error("the database is of a newer host"));
        };
        catalog.tables.entry(table).or_default().insert(column, portable);
    }
    Ok(catalog)
}

/// Copies the schema, and the rows that say what it is, into an empty database.
pub(super) fn copy_schema(from: &Connection, to: &Connection) -> Result<()> {
    let copy = || -> rusqlite::Result<()> {
        // Tables before the indices on them.
        let mut statement = from.prepare(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite|_%' ESCAPE '|'
             ORDER BY CASE type WHEN 'table' THEN 0 ELSE 1 END, rowid",
        )?;
        let definitions = statement.query_map([], |row| row.get::<_, String>(0))?;
        for definition in definitions {
            to.execute_batch(&definition?)?;
        }
        for (table, columns) in
            [("_airhost_migrations", 4), ("_airhost_schemas", 3), ("_airhost_columns", 3)]
        {
            let marks = ["?1", "?2", "?3", "?4"][..columns].join(", ");
            let mut read = from.prepare(&format!("SELECT * FROM {table}"))?;
            let mut write = to.prepare(&format!("INSERT INTO {table} VALUES ({marks})"))?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    let value: rusqlite::types::Value = row.get(column)?;
                    write.raw_bind_parameter(column + 1, value)?;
                }
                write.raw_execute()?;
            }
        }
        Ok(())
    };
    copy().map_err(|error| statement_error(&error))
}

fn optional_text(
    db: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Option<String>> {
    match db.query_row(sql, params, |row| row.get(0)) {
        Ok(text) => Ok(Some(text)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(statement_error(&error)),
    }
}

/// All of it, or nothing.
fn in_transaction<T>(db: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let run = |sql: &str| db.execute_batch(sql).map_err(|error| statement_error(&error));
    run("BEGIN IMMEDIATE")?;
    match work(db).and_then(|done| run("COMMIT").map(|()| done)) {
        Ok(done) => Ok(done),
        Err(error) => {
            if !db.is_autocommit() {
                run("ROLLBACK")?;
            }
            Err(error)
        }
    }
}
