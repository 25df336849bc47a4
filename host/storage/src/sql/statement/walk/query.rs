//! `SELECT` and what it reads from.

use airhost_core::Result;
use sqlparser::ast::{
    Distinct, GroupByExpr, JoinConstraint, JoinOperator, LimitClause, Offset, OffsetRows, OrderBy,
    OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    TableWithJoins, Value, Values, WildcardAdditionalOptions, With,
};

use super::super::{Hint, Origin, Output};
use super::{Walk, absent, identifier, not_allowed, not_portable, single_name};

impl Walk {
    pub(super) fn query(&mut self, query: &mut Query) -> Result<Vec<Output>> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        absent(fetch.is_some(), "FETCH")?;
        absent(for_clause.is_some(), "FOR")?;
        absent(settings.is_some() || format_clause.is_some(), "SETTINGS")?;
        absent(!pipe_operators.is_empty(), "a pipe")?;
        match self.origin {
            Origin::Host => locks.clear(),
            Origin::Guest => absent(!locks.is_empty(), "FOR UPDATE")?,
        }
        self.ctes.push(Vec::new());
        if let Some(with) = with {
            self.with(with)?;
        }
        self.scopes.push(Vec::new());
        let outputs = self.set_expr(body)?;
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        if let Some(limit) = limit_clause {
            self.limit(limit)?;
        }
        self.scopes.pop();
        self.ctes.pop();
        Ok(outputs)
    }

    /// Binds the names of a `WITH` to the query on top.
    pub(super) fn with(&mut self, with: &mut With) -> Result<()> {
        for cte in &mut with.cte_tables {
            let name = self.alias(&mut cte.alias, true)?;
            absent(cte.from.is_some(), "FROM in WITH")?;
            // A recursive one may name itself, and the others those before them.
            if with.recursive {
                self.bind_cte(&name);
            }
            if matches!(
                *cte.query.body,
                SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_)
            ) {
                return Err(not_portable("a write in WITH"));
            }
            self.query(&mut cte.query)?;
            self.bind_cte(&name);
        }
        Ok(())
    }

    fn bind_cte(&mut self, name: &str) {
        if let Some(names) = self.ctes.last_mut() {
            names.push(name.to_owned());
        }
    }

    fn set_expr(&mut self, body: &mut SetExpr) -> Result<Vec<Output>> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::Values(values) => self.values(values, &[]),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                match (&op, set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All) | (_, SetQuantifier::None) => {}
                    _ => return Err(not_portable("ALL or DISTINCT at this set operation")),
                }
                absent(matches!(op, SetOperator::Minus), "MINUS")?;
                // INTERSECT binds tighter in PostgreSQL; SQLite goes from left to right.
                absent(
                    matches!(**right, SetExpr::SetOperation { .. }),
                    "INTERSECT after another set operation",
                )?;
                if matches!(**left, SetExpr::Query(_)) || matches!(**right, SetExpr::Query(_)) {
                    return Err(not_portable("a set operation of queries in brackets"));
                }
                self.scopes.push(Vec::new());
                let outputs = self.set_expr(left)?;
                self.scopes.pop();
                self.scopes.push(Vec::new());
                self.set_expr(right)?;
                self.scopes.pop();
                Ok(outputs)
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) => {
                Err(not_portable("a write inside a query"))
            }
            SetExpr::Merge(_) | SetExpr::Table(_) => Err(not_portable("MERGE or TABLE")),
        }
    }

    fn select(&mut self, select: &mut Select) -> Result<Vec<Output>> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        absent(matches!(distinct, Some(Distinct::On(_))), "DISTINCT ON")?;
        absent(into.is_some(), "SELECT INTO")?;
        absent(!named_window.is_empty(), "a WINDOW clause")?;
        absent(top.is_some() || qualify.is_some() || exclude.is_some(), "this clause of SELECT")?;
        absent(
            !optimizer_hints.is_empty()
                || select_modifiers.is_some()
                || !lateral_views.is_empty()
                || prewhere.is_some()
                || !connect_by.is_empty()
                || !cluster_by.is_empty()
                || !distribute_by.is_empty()
                || !sort_by.is_empty()
                || value_table_mode.is_some()
                || *flavor != SelectFlavor::Standard,
            "this clause of SELECT",
        )?;
        absent(projection.is_empty(), "SELECT without columns")?;
        for table in from {
            self.table_with_joins(table)?;
        }
        let outputs = self.projection(projection)?;
        if let Some(condition) = selection {
            self.expr(condition)?;
        }
        match group_by {
            GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => {
                for expression in expressions {
                    self.expr(expression)?;
                }
            }
            _ => return Err(not_portable("this GROUP BY")),
        }
        if let Some(condition) = having {
            self.expr(condition)?;
        }
        Ok(outputs)
    }

    /// The list of a `SELECT` or `RETURNING`.
    pub(super) fn projection(&mut self, items: &mut [SelectItem]) -> Result<Vec<Output>> {
        let mut outputs = Vec::with_capacity(items.len());
        for item in items {
            outputs.push(match item {
                SelectItem::UnnamedExpr(expression) => {
                    let name = super::expression::output_name(expression);
                    let hint = self.expr(expression)?;
                    Output::Column { name, hint }
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let hint = self.expr(expr)?;
                    Output::Column { name: identifier(alias)?, hint }
                }
                SelectItem::Wildcard(options) => {
                    plain_wildcard(options)?;
                    Output::Star
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    plain_wildcard(options)?;
                    single_name(name)?;
                    Output::Star
                }
                SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(..) => {
                    return Err(not_portable("this column list"));
                }
            });
        }
        Ok(outputs)
    }

    /// Rows of values; `columns` are those they are inserted into.
    pub(super) fn values(&mut self, values: &mut Values, columns: &[Hint]) -> Result<Vec<Output>> {
        absent(values.explicit_row || values.value_keyword, "ROW or VALUE")?;
        let mut width = None;
        for row in &mut values.rows {
            if *width.get_or_insert(row.content.len()) != row.content.len()
                || (!columns.is_empty() && columns.len() != row.content.len())
            {
                return Err(airhost_core::codes::SQL_SYNTAX
                    .error("VALUES has rows of another number of values than there are columns"));
            }
            for (at, value) in row.content.iter_mut().enumerate() {
                let expected = columns.get(at).cloned().unwrap_or(Hint::None);
                self.assigned(value, expected)?;
            }
        }
        let column = |at| Output::Column { name: format!("column{}", at + 1), hint: Hint::None };
        Ok((0..width.unwrap_or_default()).map(column).collect())
    }

    pub(super) fn table_with_joins(&mut self, table: &mut TableWithJoins) -> Result<()> {
        let TableWithJoins { relation, joins } = table;
        self.table_factor(relation)?;
        for join in joins {
            absent(join.global, "GLOBAL")?;
            self.table_factor(&mut join.relation)?;
            match &mut join.join_operator {
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::Left(constraint)
                | JoinOperator::LeftOuter(constraint)
                | JoinOperator::Right(constraint)
                | JoinOperator::RightOuter(constraint)
                | JoinOperator::FullOuter(constraint) => match constraint {
                    JoinConstraint::On(condition) => {
                        self.expr(condition)?;
                    }
                    JoinConstraint::Using(columns) => {
                        for column in columns {
                            single_name(column)?;
                        }
                    }
                    JoinConstraint::Natural => return Err(not_portable("NATURAL JOIN")),
                    JoinConstraint::None => return Err(not_portable("JOIN without ON")),
                },
                JoinOperator::CrossJoin(JoinConstraint::None) => {}
                _ => return Err(not_portable("this kind of join")),
            }
        }
        Ok(())
    }

    fn table_factor(&mut self, factor: &mut TableFactor) -> Result<()> {
        let source = match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                absent(args.is_some(), "a function as a table")?;
                absent(
                    !with_hints.is_empty()
                        || version.is_some()
                        || *with_ordinality
                        || !partitions.is_empty()
                        || json_path.is_some()
                        || sample.is_some()
                        || !index_hints.is_empty(),
                    "this clause at a table",
                )?;
                let name = single_name(name)?;
                let table = if self.is_cte(&name) {
                    None
                } else {
                    super::reserved_table(&name, self.origin)?;
                    Some(name.clone())
                };
                let alias = match alias {
                    Some(alias) => self.alias(alias, false)?,
                    None => name,
                };
                (alias, table)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                absent(*lateral, "LATERAL")?;
                absent(sample.is_some(), "TABLESAMPLE")?;
                let Some(alias) = alias else {
                    return Err(not_portable("a subquery in FROM without a name"));
                };
                self.query(subquery)?;
                (self.alias(alias, false)?, None)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                absent(alias.is_some(), "a name for a join in brackets")?;
                return self.table_with_joins(table_with_joins);
            }
            _ => return Err(not_allowed("anything but a table, a subquery or a join in FROM")),
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(source);
        }
        Ok(())
    }

    /// The name of a table alias; its columns may be named in `WITH` only.
    fn alias(&mut self, alias: &mut TableAlias, columns_allowed: bool) -> Result<String> {
        let TableAlias { explicit: _, name, columns, at } = alias;
        absent(at.is_some(), "AT")?;
        absent(!columns.is_empty() && !columns_allowed, "column names after a table's name")?;
        for column in columns {
            absent(column.data_type.is_some(), "a type in a table's name")?;
            identifier(&mut column.name)?;
        }
        let name = identifier(name)?;
        super::reserved_table(&name, self.origin)?;
        Ok(name)
    }

    fn order_by(&mut self, order_by: &mut OrderBy) -> Result<()> {
        absent(order_by.interpolate.is_some(), "INTERPOLATE")?;
        match &mut order_by.kind {
            OrderByKind::Expressions(expressions) => self.order_by_expressions(expressions),
            OrderByKind::All(_) => Err(not_portable("ORDER BY ALL")),
        }
    }

    pub(super) fn order_by_expressions(&mut self, order: &mut [OrderByExpr]) -> Result<()> {
        for OrderByExpr { expr, options, with_fill } in order {
            absent(with_fill.is_some(), "WITH FILL")?;
            let OrderByOptions { sort, nulls_first: _ } = options;
            absent(matches!(sort, Some(OrderBySort::Using(_))), "ORDER BY USING")?;
            self.expr(expr)?;
        }
        Ok(())
    }

    fn limit(&mut self, clause: &mut LimitClause) -> Result<()> {
        let LimitClause::LimitOffset { limit, offset, limit_by } = clause else {
            return Err(not_portable("LIMIT with a comma"));
        };
        absent(!limit_by.is_empty(), "LIMIT BY")?;
        if let Some(limit) = limit {
            self.assigned(limit, Hint::Type(super::super::Portable::Bigint))?;
        }
        if let Some(Offset { value, rows }) = offset {
            self.assigned(value, Hint::Type(super::super::Portable::Bigint))?;
            // SQLite has neither ROWS nor OFFSET without LIMIT; -1 is its word for no limit.
            *rows = OffsetRows::None;
            if limit.is_none() {
                *limit = Some(super::expression::literal(Value::Number("-1".to_owned(), false)));
            }
        }
        Ok(())
    }
}

fn plain_wildcard(options: &WildcardAdditionalOptions) -> Result<()> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    absent(
        opt_ilike.is_some()
            || opt_exclude.is_some()
            || opt_except.is_some()
            || opt_replace.is_some()
            || opt_rename.is_some()
            || opt_alias.is_some(),
        "a clause after *",
    )
}
