//! `CREATE TABLE` and `ALTER TABLE`.

use std::fmt::Write;

use airhost_core::Result;
use sqlparser::ast::{
    AlterTable, AlterTableOperation, ColumnDef, ColumnOption, ColumnOptionDef, CreateTable,
    CreateTableOptions, Expr, ForeignKeyConstraint, GeneratedAs, HiveDistributionStyle, Ident,
    IndexColumn, ReferentialAction, RenameTableNameKind, TableConstraint, UnaryOperator, Value,
};

use super::{
    super::{
        Portable,
        sqlite::DECIMAL_COLLATION,
        statement::{Origin, identifier, walk_definition},
    },
    Change, Step, absent, column_list, named, refused,
};

/// A part of a definition, for each engine.
#[derive(Default)]
struct Both {
    sqlite: String,
    postgres: String,
}

impl Both {
    fn alike(&mut self, text: &str) {
        self.sqlite.push_str(text);
        self.postgres.push_str(text);
    }
}

pub(super) fn create(create: &mut CreateTable, origin: Origin) -> Result<Step> {
    absent(
        create.or_replace
            || create.temporary
            || create.unlogged
            || create.external
            || create.dynamic
            || create.global.is_some()
            || create.transient
            || create.volatile
            || create.iceberg
            || create.snapshot
            || create.query.is_some()
            || create.like.is_some()
            || create.clone.is_some()
            || create.on_commit.is_some()
            || create.inherits.is_some()
            || create.partition_by.is_some()
            || create.partition_of.is_some()
            || create.without_rowid
            || create.strict
            || create.comment.is_some()
            || create.hive_distribution != HiveDistributionStyle::NONE
            || create.table_options != CreateTableOptions::None,
        "this clause of CREATE TABLE",
    )?;
    let table = named(&mut create.name, origin)?;
    let mut parts = Vec::new();
    let mut changes = Vec::new();
    for definition in &mut create.columns {
        let (part, column, portable) = column(definition)?;
        parts.push(part);
        changes.push(Change::AddColumn { table: table.clone(), column, portable });
    }
    for constraint in &mut create.constraints {
        parts.push(table_constraint(constraint)?);
    }
    absent(changes.is_empty(), "a table without columns")?;
    let exists = if create.if_not_exists { "IF NOT EXISTS " } else { "" };
    let head = format!("CREATE TABLE {exists}\"{table}\" (");
    let join = |take: fn(&Both) -> &str| parts.iter().map(take).collect::<Vec<_>>().join(", ");
    Ok(Step {
        sqlite: format!("{head}{}) STRICT", join(|part| &part.sqlite)),
        postgres: format!("{head}{})", join(|part| &part.postgres)),
        changes,
    })
}

pub(super) fn alter(alter: &mut AlterTable, origin: Origin) -> Result<Step> {
    let AlterTable {
        name,
        if_exists,
        only,
        operations,
        location,
        on_cluster,
        table_type,
        end_token: _,
    } = alter;
    absent(
        *if_exists || *only || location.is_some() || on_cluster.is_some() || table_type.is_some(),
        "this clause of ALTER TABLE",
    )?;
    let table = named(name, origin)?;
    let [operation] = operations.as_mut_slice() else {
        return Err(refused("ALTER TABLE with more than one change"));
    };
    let head = format!("ALTER TABLE \"{table}\"");
    let alike = |tail: &str, change| Step {
        sqlite: format!("{head} {tail}"),
        postgres: format!("{head} {tail}"),
        changes: vec![change],
    };
    match operation {
        AlterTableOperation::AddColumn {
            column_keyword: _,
            if_not_exists,
            column_def,
            column_position,
        } => {
            absent(*if_not_exists || column_position.is_some(), "this clause of ADD COLUMN")?;
            addable(column_def)?;
            let (part, column, portable) = column(column_def)?;
            Ok(Step {
                sqlite: format!("{head} ADD COLUMN {}", part.sqlite),
                postgres: format!("{head} ADD COLUMN {}", part.postgres),
                changes: vec![Change::AddColumn { table, column, portable }],
            })
        }
        AlterTableOperation::DropColumn {
            has_column_keyword: _,
            column_names,
            if_exists,
            drop_behavior,
        } => {
            absent(*if_exists || drop_behavior.is_some(), "this clause of DROP COLUMN")?;
            let [column] = column_names.as_mut_slice() else {
                return Err(refused("DROP COLUMN of more than one column"));
            };
            let column = identifier(column)?;
            Ok(alike(&format!("DROP COLUMN \"{column}\""), Change::DropColumn { table, column }))
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            let from = identifier(old_column_name)?;
            let to = identifier(new_column_name)?;
            Ok(alike(
                &format!("RENAME COLUMN \"{from}\" TO \"{to}\""),
                Change::RenameColumn { table, from, to },
            ))
        }
        AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(name) } => {
            let to = named(name, origin)?;
            Ok(alike(&format!("RENAME TO \"{to}\""), Change::RenameTable { from: table, to }))
        }
        _ => Err(refused("this change of a table (SQLite cannot make it)")),
    }
}

/// SQLite adds a column only if every row there is can have it.
fn addable(definition: &ColumnDef) -> Result<()> {
    let has = |wanted: fn(&ColumnOption) -> bool| {
        definition.options.iter().any(|option| wanted(&option.option))
    };
    absent(
        has(|option| matches!(option, ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_))),
        "ADD COLUMN with PRIMARY KEY or UNIQUE (create a unique index instead)",
    )?;
    let default = definition.options.iter().find_map(|option| match &option.option {
        ColumnOption::Default(default) => Some(default),
        _ => None,
    });
    let null = |default: &Expr| matches!(default, Expr::Value(value) if value.value == Value::Null);
    absent(
        has(|option| matches!(option, ColumnOption::NotNull)) && default.is_none_or(null),
        "ADD COLUMN with NOT NULL and no DEFAULT",
    )?;
    absent(
        has(|option| matches!(option, ColumnOption::ForeignKey(_))) && !default.is_none_or(null),
        "ADD COLUMN with REFERENCES and a DEFAULT",
    )
}

fn column(definition: &mut ColumnDef) -> Result<(Both, String, Portable)> {
    let ColumnDef { name, data_type, options } = definition;
    let column = identifier(name)?;
    let Some(portable) = Portable::from_sql(data_type) else {
        return Err(refused(&format!(
            "the type {data_type:.80} (uuid, decimal, json, text, timestamp, boolean, bigint, \
             double and bytes are)"
        )));
    };
    let mut part = Both {
        sqlite: format!("\"{column}\" {}", portable.sqlite()),
        postgres: format!("\"{column}\" {}", portable.postgres()),
    };
    match portable {
        // By value and not by letter.
        Portable::Decimal => part.sqlite.push_str(&format!(" COLLATE {DECIMAL_COLLATION}")),
        // SQLite's order is by bytes.
        Portable::Text => part.postgres.push_str(" COLLATE \"C\""),
        _ => {}
    }
    let identity = options.iter().position(|option| is_identity(&option.option));
    if let Some(at) = identity {
        let primary =
            |option: &ColumnOptionDef| matches!(option.option, ColumnOption::PrimaryKey(_));
        absent(
            portable != Portable::Bigint || !options.iter().any(primary),
            "IDENTITY on anything but a bigint PRIMARY KEY",
        )?;
        options.remove(at);
        options.retain(|option| !primary(option));
        part.sqlite.push_str(" PRIMARY KEY AUTOINCREMENT");
        part.postgres.push_str(" GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY");
    }
    for ColumnOptionDef { name, option } in options {
        if let Some(name) = name {
            part.alike(&format!(" CONSTRAINT \"{}\"", identifier(name)?));
        }
        column_option(option, portable, &mut part)?;
    }
    Ok((part, column, portable))
}

fn is_identity(option: &ColumnOption) -> bool {
    matches!(
        option,
        ColumnOption::Generated {
            generated_as: GeneratedAs::Always | GeneratedAs::ByDefault,
            generation_expr: None,
            ..
        }
    )
}

fn column_option(option: &mut ColumnOption, portable: Portable, part: &mut Both) -> Result<()> {
    match option {
        ColumnOption::Null => {}
        ColumnOption::NotNull => part.alike(" NOT NULL"),
        ColumnOption::Default(default) => {
            let text = default_literal(default, portable)?;
            part.alike(&format!(" DEFAULT {text}"));
        }
        ColumnOption::PrimaryKey(key) => {
            absent(key.characteristics.is_some(), "DEFERRABLE at PRIMARY KEY")?;
            part.alike(" PRIMARY KEY");
        }
        ColumnOption::Unique(unique) => {
            absent(unique.characteristics.is_some(), "DEFERRABLE at UNIQUE")?;
            part.alike(" UNIQUE");
        }
        ColumnOption::ForeignKey(key) => {
            let reference = references(key)?;
            part.alike(&reference);
        }
        ColumnOption::Check(check) => {
            absent(check.no_inherit || check.enforced.is_some(), "a clause at CHECK")?;
            part.alike(" ");
            check_expression(&mut check.expr, part)?;
        }
        _ => return Err(refused("this option of a column")),
    }
    Ok(())
}

fn check_expression(expr: &mut Expr, part: &mut Both) -> Result<()> {
    part.postgres.push_str(&format!("CHECK ({expr})"));
    walk_definition(expr)?;
    part.sqlite.push_str(&format!("CHECK ({expr})"));
    Ok(())
}

/// A default: a literal of the column's type. Moments are given by the service, because the
/// engines' clocks differ in form.
fn default_literal(default: &Expr, portable: Portable) -> Result<String> {
    let fits = |value: &Value| match value {
        Value::Null => true,
        Value::Boolean(_) => portable == Portable::Boolean,
        Value::Number(..) => {
            matches!(portable, Portable::Bigint | Portable::Double | Portable::Decimal)
        }
        Value::SingleQuotedString(_) => {
            matches!(portable, Portable::Text | Portable::Json | Portable::Uuid)
        }
        _ => false,
    };
    let literal = match default {
        Expr::Value(value) => fits(&value.value),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            matches!(&**expr, Expr::Value(value) if matches!(value.value, Value::Number(..)) && fits(&value.value))
        }
        _ => false,
    };
    if literal {
        Ok(default.to_string())
    } else {
        Err(refused("a DEFAULT that is not a literal of the column's type"))
    }
}

fn references(key: &mut ForeignKeyConstraint) -> Result<String> {
    let ForeignKeyConstraint {
        name: _,
        index_name,
        columns: _,
        foreign_table,
        referred_columns,
        on_delete,
        on_update,
        match_kind,
        characteristics,
    } = key;
    absent(index_name.is_some() || match_kind.is_some(), "MATCH at REFERENCES")?;
    let table = named(foreign_table, Origin::Host)?;
    let mut text = format!(" REFERENCES \"{table}\"");
    if !referred_columns.is_empty() {
        text.push_str(&format!(" ({})", column_list(referred_columns)?));
    }
    for (event, action) in [("DELETE", on_delete), ("UPDATE", on_update)] {
        if let Some(action) = action {
            absent(matches!(action, ReferentialAction::SetDefault), "SET DEFAULT")?;
            text.push_str(&format!(" ON {event} {action}"));
        }
    }
    if let Some(characteristics) = characteristics {
        absent(characteristics.enforced.is_some(), "ENFORCED")?;
        text.push_str(&format!(" {characteristics}"));
    }
    Ok(text)
}

fn table_constraint(constraint: &mut TableConstraint) -> Result<Both> {
    let mut part = Both::default();
    let named = |name: &mut Option<Ident>, part: &mut Both| -> Result<()> {
        if let Some(name) = name {
            part.alike(&format!("CONSTRAINT \"{}\" ", identifier(name)?));
        }
        Ok(())
    };
    match constraint {
        TableConstraint::Unique(unique) => {
            absent(
                unique.characteristics.is_some()
                    || unique.index_name.is_some()
                    || !unique.include.is_empty()
                    || unique.nulls_distinct != sqlparser::ast::NullsDistinctOption::None,
                "a clause at UNIQUE",
            )?;
            named(&mut unique.name, &mut part)?;
            part.alike(&format!("UNIQUE ({})", plain_columns(&mut unique.columns)?));
        }
        TableConstraint::PrimaryKey(key) => {
            absent(
                key.characteristics.is_some()
                    || key.index_name.is_some()
                    || !key.include.is_empty(),
                "a clause at PRIMARY KEY",
            )?;
            named(&mut key.name, &mut part)?;
            part.alike(&format!("PRIMARY KEY ({})", plain_columns(&mut key.columns)?));
        }
        TableConstraint::ForeignKey(key) => {
            named(&mut key.name, &mut part)?;
            let columns = column_list(&mut key.columns)?;
            let references = references(key)?;
            part.alike(&format!("FOREIGN KEY ({columns}){references}"));
        }
        TableConstraint::Check(check) => {
            absent(check.no_inherit || check.enforced.is_some(), "a clause at CHECK")?;
            named(&mut check.name, &mut part)?;
            check_expression(&mut check.expr, &mut part)?;
        }
        _ => return Err(refused("this constraint")),
    }
    Ok(part)
}

fn plain_columns(columns: &mut [IndexColumn]) -> Result<String> {
    let mut quoted = String::new();
    for IndexColumn { column, operator_class } in columns {
        absent(operator_class.is_some(), "an operator class")?;
        let plain = column.options.sort.is_none() && column.options.nulls_first.is_none();
        match &mut column.expr {
            Expr::Identifier(ident) if plain => {
                let comma = if quoted.is_empty() { "" } else { ", " };
                let name = identifier(ident)?;
                // Writing to a String does not fail.
                let _written = write!(quoted, "{comma}\"{name}\"");
            }
            _ => return Err(refused("a key of anything but columns")),
        }
    }
    Ok(quoted)
}
