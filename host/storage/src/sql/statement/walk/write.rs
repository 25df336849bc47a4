//! `INSERT`, `UPDATE` and `DELETE`.

use airhost_core::Result;
use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, Expr, FromTable, Insert,
    OnConflict, OnConflictAction, OnInsert, Query, SelectItem, SetExpr, Statement, TableFactor,
    TableObject, TableWithJoins, Update, UpdateTableFromKind, Value,
};

use super::super::{ColumnRef, Hint, Kind, Output};
use super::{Walk, absent, identifier, not_portable, single_name};

impl Walk {
    /// A write that begins with `WITH`, which the parser has as a query around it.
    pub(super) fn write_with(&mut self, query: &mut Query) -> Result<(Kind, Vec<Output>)> {
        absent(
            query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some(),
            "ORDER BY or LIMIT after a write",
        )?;
        absent(!query.locks.is_empty() || !query.pipe_operators.is_empty(), "a clause here")?;
        absent(
            query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some(),
            "a clause here",
        )?;
        self.ctes.push(Vec::new());
        if let Some(with) = &mut query.with {
            self.with(with)?;
        }
        let found = match &mut *query.body {
            SetExpr::Insert(Statement::Insert(insert)) => self.insert(insert),
            SetExpr::Update(Statement::Update(update)) => self.update(update),
            SetExpr::Delete(Statement::Delete(delete)) => self.delete(delete),
            _ => Err(not_portable("this write")),
        };
        self.ctes.pop();
        found
    }

    pub(super) fn insert(&mut self, insert: &mut Insert) -> Result<(Kind, Vec<Output>)> {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore,
            into,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        absent(or.is_some() || *ignore || *replace_into, "OR, IGNORE or REPLACE; use ON CONFLICT")?;
        absent(!*into || *overwrite || *has_table_keyword, "INSERT without INTO")?;
        absent(
            !optimizer_hints.is_empty()
                || !assignments.is_empty()
                || partitioned.is_some()
                || !after_columns.is_empty()
                || output.is_some()
                || priority.is_some()
                || insert_alias.is_some()
                || settings.is_some()
                || format_clause.is_some()
                || multi_table_insert_type.is_some()
                || !multi_table_into_clauses.is_empty()
                || !multi_table_when_clauses.is_empty()
                || multi_table_else_clause.is_some(),
            "this clause of INSERT",
        )?;
        let TableObject::TableName(name) = table else {
            return Err(not_portable("INSERT into anything but a table"));
        };
        let table = self.table(name)?;
        let alias = match table_alias {
            Some(alias) => identifier(&mut alias.alias)?,
            None => table.clone(),
        };
        let mut expected = Vec::with_capacity(columns.len());
        for column in columns.iter_mut() {
            expected.push(column_of(&table, single_name(column)?));
        }
        match source {
            Some(source) => {
                absent(columns.is_empty(), "INSERT without a list of columns")?;
                self.source(source, &expected)?;
                if on.is_some() {
                    tell_apart_from_join(&mut source.body);
                }
            }
            None => absent(!columns.is_empty(), "INSERT without VALUES")?,
        }
        self.scopes
            .push(vec![(alias, Some(table.clone())), ("excluded".to_owned(), Some(table.clone()))]);
        match on {
            None => {}
            Some(OnInsert::OnConflict(OnConflict { conflict_target, action })) => {
                match conflict_target {
                    None => absent(
                        matches!(action, OnConflictAction::DoUpdate(_)),
                        "ON CONFLICT DO UPDATE without columns",
                    )?,
                    Some(ConflictTarget::Columns(columns)) => {
                        for column in columns {
                            identifier(column)?;
                        }
                    }
                    Some(ConflictTarget::OnConstraint(_)) => {
                        return Err(not_portable("ON CONFLICT ON CONSTRAINT"));
                    }
                }
                if let OnConflictAction::DoUpdate(DoUpdate { assignments, selection }) = action {
                    self.assignments(assignments, &table)?;
                    if let Some(selection) = selection {
                        self.expr(selection)?;
                    }
                }
            }
            Some(_) => return Err(not_portable("ON DUPLICATE KEY")),
        }
        let outputs = self.returning(returning)?;
        self.scopes.pop();
        Ok(outputs)
    }

    /// What is inserted: rows of values meet the columns; a query stands by itself.
    fn source(&mut self, source: &mut Query, columns: &[Hint]) -> Result<()> {
        let simple = source.with.is_none()
            && source.order_by.is_none()
            && source.limit_clause.is_none()
            && source.fetch.is_none()
            && source.locks.is_empty()
            && source.for_clause.is_none()
            && source.settings.is_none()
            && source.format_clause.is_none()
            && source.pipe_operators.is_empty();
        match &mut *source.body {
            SetExpr::Values(values) if simple => {
                self.values(values, columns)?;
            }
            SetExpr::Select(select) => {
                // A bare parameter of the list meets the column it is inserted into.
                for (item, hint) in select.projection.iter().zip(columns) {
                    if let SelectItem::UnnamedExpr(Expr::Value(value)) = item
                        && let Value::Placeholder(name) = &value.value
                        && let Some(digits) = name.strip_prefix('$')
                        && let Ok(number) = digits.parse()
                    {
                        self.params.entry(number).or_insert_with(|| hint.clone());
                    }
                }
                self.query(source)?;
            }
            _ => {
                self.query(source)?;
            }
        }
        Ok(())
    }

    pub(super) fn update(&mut self, update: &mut Update) -> Result<(Kind, Vec<Output>)> {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        absent(or.is_some(), "UPDATE OR")?;
        absent(!order_by.is_empty() || limit.is_some(), "UPDATE with ORDER BY or LIMIT")?;
        absent(!optimizer_hints.is_empty() || output.is_some(), "this clause of UPDATE")?;
        self.scopes.push(Vec::new());
        let table = self.target(table)?;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(from)) => {
                for table in from {
                    self.table_with_joins(table)?;
                }
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(not_portable("UPDATE with FROM before SET"));
            }
        }
        self.assignments(assignments, &table)?;
        if let Some(selection) = selection {
            self.expr(selection)?;
        }
        let outputs = self.returning(returning)?;
        self.scopes.pop();
        Ok(outputs)
    }

    pub(super) fn delete(&mut self, delete: &mut Delete) -> Result<(Kind, Vec<Output>)> {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        absent(using.is_some(), "DELETE with USING; use a subquery")?;
        absent(!order_by.is_empty() || limit.is_some(), "DELETE with ORDER BY or LIMIT")?;
        absent(
            !tables.is_empty() || !optimizer_hints.is_empty() || output.is_some(),
            "this clause of DELETE",
        )?;
        let FromTable::WithFromKeyword(from) = from else {
            return Err(not_portable("DELETE without FROM"));
        };
        let [table] = from.as_mut_slice() else {
            return Err(not_portable("DELETE from more than one table"));
        };
        self.scopes.push(Vec::new());
        self.target(table)?;
        if let Some(selection) = selection {
            self.expr(selection)?;
        }
        let outputs = self.returning(returning)?;
        self.scopes.pop();
        Ok(outputs)
    }

    /// The one table that is written.
    fn target(&mut self, table: &mut TableWithJoins) -> Result<String> {
        absent(!table.joins.is_empty(), "a join as what is written")?;
        let TableFactor::Table { name, .. } = &mut table.relation else {
            return Err(not_portable("a write to anything but a table"));
        };
        let written = self.table(name)?;
        self.table_with_joins(table)?;
        Ok(written)
    }

    fn assignments(&mut self, assignments: &mut [Assignment], table: &str) -> Result<()> {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(name) => {
                    let column = single_name(name)?;
                    self.assigned(value, column_of(table, column))?;
                }
                AssignmentTarget::Tuple(_) => {
                    return Err(not_portable("SET with a list of columns"));
                }
            }
        }
        Ok(())
    }

    fn returning(
        &mut self,
        returning: &mut Option<Vec<SelectItem>>,
    ) -> Result<(Kind, Vec<Output>)> {
        match returning {
            Some(items) => Ok((Kind::Write { returning: true }, self.projection(items)?)),
            None => Ok((Kind::Write { returning: false }, Vec::new())),
        }
    }
}

fn column_of(table: &str, column: String) -> Hint {
    Hint::Column(ColumnRef { tables: vec![table.to_owned()], column })
}

/// SQLite takes the `ON` of `ON CONFLICT` after a `FROM` for that of a join, unless there is a
/// `WHERE` between them.
fn tell_apart_from_join(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) if select.selection.is_none() => {
            select.selection = Some(super::expression::literal(Value::Boolean(true)));
        }
        SetExpr::SetOperation { right, .. } => tell_apart_from_join(right),
        _ => {}
    }
}
