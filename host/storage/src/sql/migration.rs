//! Migrations: portable SQL that is checked and written anew for each engine.
//!
//! Allowed are `CREATE TABLE`, `CREATE [UNIQUE] INDEX`, `ALTER TABLE` that adds, drops or renames
//! a column or renames the table, `DROP TABLE`, `DROP INDEX`, and `INSERT`, `UPDATE`, `DELETE`.

mod table;

use airhost_core::{Error, Result, codes};
use sha2::{Digest, Sha256};
use sqlparser::ast::{self, ObjectType, Statement as Ast};

use super::{
    Migration, Portable,
    statement::{self, Origin, identifier, reserved_table, single_name, walk_definition},
};

/// One statement of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// As SQLite takes it.
    pub(crate) sqlite: String,
    /// As PostgreSQL takes it.
    pub(crate) postgres: String,
    /// What it does to the columns.
    pub(crate) changes: Vec<Change>,
}

/// A change of what is known of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    AddColumn { table: String, column: String, portable: Portable },
    DropColumn { table: String, column: String },
    RenameColumn { table: String, from: String, to: String },
    RenameTable { from: String, to: String },
    DropTable { table: String },
}

/// Checks that both engines take a migration, as far as its text tells: for `airhost build`.
///
/// # Errors
/// `migration.failed` with the attributes `migration` and `statement` (from 1).
pub fn check_portable(migration: &Migration) -> Result<()> {
    plan(migration, Origin::Guest).map(drop)
}

/// The statements of a migration as PostgreSQL takes them.
///
/// # Errors
/// As [`check_portable`].
pub fn postgres_statements(migration: &Migration) -> Result<Vec<String>> {
    let steps = plan(migration, Origin::Guest)?;
    Ok(steps.into_iter().map(|step| step.postgres).collect())
}

/// The digest that tells a changed migration from the one that ran.
pub(crate) fn digest(migration: &Migration) -> String {
    hex::encode(Sha256::digest(&migration.sql))
}

/// The error of a statement of a migration; `number` counts from 1.
pub(crate) fn failed(migration: &str, number: usize, cause: &Error) -> Error {
    let mut error = codes::MIGRATION_FAILED
        .error(format!("statement {number} of the migration {migration}: {}", cause.message))
        .with("migration", migration)
        .with("statement", number.to_string());
    error.attrs.extend(cause.attrs.iter().filter(|(name, _)| name != "statement").cloned());
    error
}

/// Parses and checks a migration.
pub(crate) fn plan(migration: &Migration, origin: Origin) -> Result<Vec<Step>> {
    let parsed = statement::parse(&migration.sql).map_err(|cause| {
        let number = cause.attrs.iter().find(|(name, _)| name == "statement");
        let number = number.and_then(|(_, number)| number.parse().ok()).unwrap_or(1);
        failed(&migration.name, number, &cause)
    })?;
    let steps = parsed.into_iter().enumerate().map(|(at, parsed)| {
        step(parsed, origin).map_err(|cause| failed(&migration.name, at + 1, &cause))
    });
    steps.collect()
}

pub(super) fn refused(what: &str) -> Error {
    codes::SQL_NOT_ALLOWED.error(format!("{what} is not allowed in a migration"))
}

/// Refuses a clause that is there.
pub(super) fn absent(is_there: bool, what: &str) -> Result<()> {
    if is_there { Err(refused(what)) } else { Ok(()) }
}

fn step(parsed: Ast, origin: Origin) -> Result<Step> {
    match parsed {
        Ast::CreateTable(mut create) => table::create(&mut create, origin),
        Ast::AlterTable(mut alter) => table::alter(&mut alter, origin),
        Ast::CreateIndex(mut create) => index(&mut create, origin),
        Ast::Drop {
            object_type,
            if_exists,
            mut names,
            cascade,
            restrict: _,
            purge,
            temporary,
            table,
        } => {
            absent(cascade, "CASCADE")?;
            absent(purge || temporary || table.is_some(), "this clause of DROP")?;
            let [name] = names.as_mut_slice() else {
                return Err(refused("DROP of more than one thing"));
            };
            let name = named(name, origin)?;
            let exists = if if_exists { "IF EXISTS " } else { "" };
            let (kind, changes) = match object_type {
                ObjectType::Table => ("TABLE", vec![Change::DropTable { table: name.clone() }]),
                ObjectType::Index => ("INDEX", Vec::new()),
                _ => return Err(refused("DROP of anything but a table or an index")),
            };
            let text = format!("DROP {kind} {exists}\"{name}\"");
            Ok(Step { sqlite: text.clone(), postgres: text, changes })
        }
        Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Query(_) => {
            let checked = statement::check(&parsed.to_string(), origin)?;
            absent(checked.kind() == statement::Kind::Read, "SELECT")?;
            absent(checked.parameter_count() > 0, "a parameter")?;
            Ok(Step {
                sqlite: checked.sqlite().to_owned(),
                postgres: checked.postgres().to_owned(),
                changes: Vec::new(),
            })
        }
        _ => Err(refused("this kind of statement")),
    }
}

/// The name of a table or index that a migration may touch.
pub(super) fn named(name: &mut ast::ObjectName, origin: Origin) -> Result<String> {
    let name = single_name(name)?;
    reserved_table(&name, origin)?;
    Ok(name)
}

fn index(create: &mut ast::CreateIndex, origin: Origin) -> Result<Step> {
    let ast::CreateIndex {
        name,
        table_name,
        using,
        columns,
        unique,
        concurrently,
        r#async,
        if_not_exists,
        include,
        nulls_distinct,
        with,
        predicate,
        index_options,
        alter_options,
    } = create;
    absent(using.is_some() || *concurrently || *r#async, "USING or CONCURRENTLY at an index")?;
    absent(!include.is_empty() || nulls_distinct.is_some(), "INCLUDE or NULLS DISTINCT")?;
    absent(
        !with.is_empty() || !index_options.is_empty() || !alter_options.is_empty(),
        "an option of an index",
    )?;
    let Some(name) = name else { return Err(refused("an index without a name")) };
    let name = named(name, origin)?;
    let table = named(table_name, origin)?;
    let mut sqlite = Vec::with_capacity(columns.len());
    let mut postgres = Vec::with_capacity(columns.len());
    for ast::IndexColumn { column, operator_class } in columns {
        absent(operator_class.is_some(), "an operator class")?;
        let ast::OrderByExpr { expr, options, with_fill } = column;
        absent(options.nulls_first.is_some() || with_fill.is_some(), "NULLS FIRST in an index")?;
        let direction = match options.sort {
            None | Some(ast::OrderBySort::Asc) => "",
            Some(ast::OrderBySort::Desc) => " DESC",
            Some(ast::OrderBySort::Using(_)) => return Err(refused("USING in an index")),
        };
        let plain = matches!(expr, ast::Expr::Identifier(_));
        let original = expr.to_string();
        walk_definition(expr)?;
        if plain {
            sqlite.push(format!("{expr}{direction}"));
            postgres.push(format!("{expr}{direction}"));
        } else {
            sqlite.push(format!("({expr}){direction}"));
            postgres.push(format!("({original}){direction}"));
        }
    }
    let condition = match predicate {
        Some(predicate) => {
            let original = format!(" WHERE {predicate}");
            walk_definition(predicate)?;
            (format!(" WHERE {predicate}"), original)
        }
        None => (String::new(), String::new()),
    };
    let unique = if *unique { "UNIQUE " } else { "" };
    let exists = if *if_not_exists { "IF NOT EXISTS " } else { "" };
    let head = format!("CREATE {unique}INDEX {exists}\"{name}\" ON \"{table}\"");
    Ok(Step {
        sqlite: format!("{head} ({}){}", sqlite.join(", "), condition.0),
        postgres: format!("{head} ({}){}", postgres.join(", "), condition.1),
        changes: Vec::new(),
    })
}

/// The quoted form of a list of columns.
pub(super) fn column_list(columns: &mut [ast::Ident]) -> Result<String> {
    let mut quoted = Vec::with_capacity(columns.len());
    for column in columns {
        quoted.push(format!("\"{}\"", identifier(column)?));
    }
    Ok(quoted.join(", "))
}

#[cfg(test)]
mod tests;
