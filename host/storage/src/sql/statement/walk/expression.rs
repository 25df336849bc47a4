//! Expressions.

use airhost_core::{Result, codes};
use sqlparser::ast::{
    BinaryOperator, CastKind, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, ObjectName, SelectItem,
    SetExpr, UnaryOperator, Value, ValueWithSpan, WindowFrameBound, WindowSpec, WindowType,
};

use super::super::{
    super::Portable,
    ColumnRef, Hint,
    functions::{self, Answer, Use},
};
use super::{Walk, absent, identifier, not_allowed, not_portable};

/// Functions that the SQLite engine adds for operators that SQLite means otherwise.
pub(crate) const JSON_GET: &str = "airhost_json_get";
/// As [`JSON_GET`], for `->>`.
pub(crate) const JSON_TEXT: &str = "airhost_json_text";

const BOOLEAN: Hint = Hint::Type(Portable::Boolean);

impl Walk {
    /// Checks an expression and says what is known of its type.
    pub(super) fn expr(&mut self, expr: &mut Expr) -> Result<Hint> {
        match expr {
            Expr::Identifier(ident) => {
                let column = identifier(ident)?;
                Ok(self.column(&column))
            }
            Expr::CompoundIdentifier(parts) => match parts.as_mut_slice() {
                [table, column] => {
                    let table = identifier(table)?;
                    let column = identifier(column)?;
                    Ok(self.qualified(&table, column))
                }
                _ => Err(not_allowed("a name with a schema")),
            },
            Expr::Value(value) => self.value(value, &Hint::None),
            Expr::Nested(inner) => self.expr(inner),
            Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner) => {
                self.expr(inner)?;
                Ok(BOOLEAN)
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.pair(left, right)?;
                Ok(BOOLEAN)
            }
            Expr::InList { expr, list, negated: _ } => {
                absent(list.is_empty(), "an empty IN")?;
                let hint = self.expr(expr)?;
                for item in list {
                    absent(matches!(item, Expr::Tuple(_)), "IN with a list of rows")?;
                    self.assigned(item, hint.clone())?;
                }
                Ok(BOOLEAN)
            }
            Expr::InSubquery { expr, subquery, negated: _ } => {
                let outputs = self.query(subquery)?;
                self.assigned(expr, only(&outputs))?;
                Ok(BOOLEAN)
            }
            Expr::Between { expr, negated: _, low, high } => {
                let hint = self.expr(expr)?;
                self.assigned(low, hint.clone())?;
                self.assigned(high, hint)?;
                Ok(BOOLEAN)
            }
            Expr::Like { negated: _, any, expr, pattern, escape_char } => {
                absent(*any, "LIKE ANY")?;
                self.expr(expr)?;
                self.assigned(pattern, Hint::Type(Portable::Text))?;
                match escape_char {
                    Some(escape) => {
                        self.expr(escape)?;
                    }
                    // PostgreSQL's default; SQLite has none.
                    None => {
                        let backslash = Value::SingleQuotedString("\\".to_owned());
                        *escape_char = Some(Box::new(literal(backslash)));
                    }
                }
                Ok(BOOLEAN)
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { .. } => self.binary(expr),
            Expr::Cast { kind, expr, data_type, format } => {
                absent(*kind != CastKind::Cast, "a cast other than CAST(… AS …)")?;
                absent(format.is_some(), "CAST with FORMAT")?;
                let Some(portable) = Portable::from_sql(data_type) else {
                    return Err(not_portable(&format!("the type {data_type:.80}")));
                };
                self.assigned(expr, Hint::None)?;
                *data_type = sqlite_type(portable);
                Ok(Hint::Type(portable))
            }
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                let operand = match operand {
                    Some(operand) => Some(self.expr(operand)?),
                    None => None,
                };
                let mut hint = Hint::None;
                for when in conditions.iter_mut() {
                    match &operand {
                        Some(operand) => self.assigned(&mut when.condition, operand.clone())?,
                        None => self.expr(&mut when.condition)?,
                    };
                    hint = hint.or(self.expr(&mut when.result)?);
                }
                if let Some(result) = else_result {
                    hint = hint.or(self.expr(result)?);
                }
                Ok(hint)
            }
            Expr::Exists { subquery, negated: _ } => {
                self.query(subquery)?;
                Ok(BOOLEAN)
            }
            Expr::Subquery(subquery) => {
                let outputs = self.query(subquery)?;
                Ok(only(&outputs))
            }
            Expr::Tuple(items) => {
                for item in items {
                    self.expr(item)?;
                }
                Ok(Hint::None)
            }
            Expr::Substring { expr, substring_from, substring_for, special, shorthand: _ } => {
                absent(!*special, "SUBSTRING with FROM; write substr(text, from, length)")?;
                self.expr(expr)?;
                for part in [substring_from, substring_for].into_iter().flatten() {
                    self.assigned(part, Hint::Type(Portable::Bigint))?;
                }
                Ok(Hint::Type(Portable::Text))
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                absent(
                    trim_where.is_some() || trim_what.is_some() || trim_characters.is_some(),
                    "TRIM with more than a text",
                )?;
                self.expr(expr)?;
                Ok(Hint::Type(Portable::Text))
            }
            Expr::Function(function) => self.function(function),
            Expr::ILike { .. } => Err(not_portable("ILIKE; compare lower(…) instead")),
            _ => Err(not_portable("this kind of expression")),
        }
    }

    /// Checks an expression that meets something of a known type; a parameter takes that type.
    pub(super) fn assigned(&mut self, expr: &mut Expr, expected: Hint) -> Result<Hint> {
        match expr {
            Expr::Value(value) => self.value(value, &expected),
            Expr::Nested(inner) => self.assigned(inner, expected),
            other => self.expr(other),
        }
    }

    /// Two expressions that are compared or combined: what is known of one holds for the other.
    fn pair(&mut self, left: &mut Expr, right: &mut Expr) -> Result<Hint> {
        if is_parameter(left) {
            let hint = self.expr(right)?;
            self.assigned(left, hint.clone())?;
            Ok(hint)
        } else {
            let hint = self.expr(left)?;
            let other = self.assigned(right, hint.clone())?;
            Ok(hint.or(other))
        }
    }

    fn value(&mut self, value: &mut ValueWithSpan, expected: &Hint) -> Result<Hint> {
        match &mut value.value {
            Value::Number(digits, long) => {
                absent(*long, "a number with a suffix")?;
                let integer = digits.bytes().all(|byte| byte.is_ascii_digit());
                let plain = digits.bytes().all(|byte| {
                    byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+')
                });
                if !plain || (integer && digits.parse::<i64>().is_err()) {
                    return Err(not_portable("this number"));
                }
                Ok(Hint::None)
            }
            Value::SingleQuotedString(_) | Value::Null => Ok(Hint::None),
            Value::Boolean(_) => Ok(BOOLEAN),
            Value::Placeholder(name) => {
                let number = name.strip_prefix('$').and_then(|digits| {
                    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                    plain.then(|| digits.parse::<usize>().ok()).flatten()
                });
                let Some(number @ 1..=super::MOST_PARAMETERS) = number else {
                    return Err(codes::SQL_PARAMETER.error("parameters are $1 to $32766"));
                };
                *name = format!("?{number}");
                let known = self.params.entry(number).or_insert(Hint::None);
                if *known == Hint::None {
                    known.clone_from(expected);
                }
                Ok(known.clone())
            }
            _ => Err(not_portable("this kind of literal")),
        }
    }

    fn unary(&mut self, op: UnaryOperator, expr: &mut Expr) -> Result<Hint> {
        let hint = self.expr(expr)?;
        match op {
            UnaryOperator::Not => Ok(BOOLEAN),
            UnaryOperator::Minus | UnaryOperator::Plus => Ok(self.number(hint)),
            _ => Err(not_portable("this operator")),
        }
    }

    fn binary(&mut self, expr: &mut Expr) -> Result<Hint> {
        use BinaryOperator as Op;
        let Expr::BinaryOp { left, op, right } = expr else { return Ok(Hint::None) };
        let function = match op {
            Op::And | Op::Or => {
                self.expr(left)?;
                self.expr(right)?;
                return Ok(BOOLEAN);
            }
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
                self.pair(left, right)?;
                return Ok(BOOLEAN);
            }
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => {
                let hint = self.pair(left, right)?;
                return Ok(self.number(hint));
            }
            Op::StringConcat => {
                self.expr(left)?;
                self.expr(right)?;
                return Ok(Hint::Type(Portable::Text));
            }
            Op::Arrow => JSON_GET,
            Op::LongArrow => JSON_TEXT,
            _ => return Err(not_portable("this operator")),
        };
        self.expr(left)?;
        self.expr(right)?;
        let arguments = [&mut **left, &mut **right].map(|side| {
            let taken = std::mem::replace(side, literal(Value::Null));
            FunctionArg::Unnamed(FunctionArgExpr::Expr(taken))
        });
        *expr = Expr::Function(Function {
            name: ObjectName::from(vec![Ident::new(function)]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args: arguments.into(),
                clauses: Vec::new(),
            }),
            within_group: Vec::new(),
            filter: None,
            null_treatment: None,
            over: None,
        });
        Ok(Hint::Type(if function == JSON_GET { Portable::Json } else { Portable::Text }))
    }

    /// Notes that an operand must be a number that SQLite computes with exactly as PostgreSQL.
    fn number(&mut self, hint: Hint) -> Hint {
        if hint != Hint::None {
            self.numbers.push(hint.clone());
        }
        hint
    }

    fn function(&mut self, function: &mut Function) -> Result<Hint> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment,
            over,
        } = function;
        let called = name.to_string().to_ascii_lowercase();
        let Some(known) = functions::find(&called) else {
            return Err(not_portable(&format!("the function {called:.80}")));
        };
        absent(
            *uses_odbc_syntax
                || !matches!(parameters, FunctionArguments::None)
                || !within_group.is_empty()
                || null_treatment.is_some(),
            "this way to call a function",
        )?;
        let aggregates = known.usage == Use::Aggregate;
        absent(filter.is_some() && !aggregates, "FILTER here")?;
        absent(over.is_some() && known.usage == Use::Scalar, "OVER here")?;
        absent(over.is_none() && known.usage == Use::Window, "a window function without OVER")?;
        let FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, clauses }) =
            args
        else {
            return Err(not_portable("a function without brackets"));
        };
        let distinct = matches!(duplicate_treatment, Some(DuplicateTreatment::Distinct));
        absent(duplicate_treatment.is_some() && !aggregates, "DISTINCT here")?;
        absent(distinct && args.len() != 1, "DISTINCT with more than one argument")?;
        for clause in clauses {
            match clause {
                FunctionArgumentClause::OrderBy(order) if aggregates => {
                    self.order_by_expressions(order)?;
                }
                _ => return Err(not_portable("this clause in a function")),
            }
        }
        let star = matches!(args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let (fewest, most) = known.arguments;
        if star {
            absent(called != "count" || distinct, "* here")?;
        } else if !(fewest..=most).contains(&args.len()) || (called == "count" && args.is_empty()) {
            return Err(codes::SQL_SYNTAX
                .error(format!("{called} is called with {} arguments", args.len())));
        }
        let hint = if star { Hint::None } else { self.arguments(args, known)? };
        if let Some(filter) = filter {
            self.expr(filter)?;
        }
        if let Some(over) = over {
            self.over(over)?;
        }
        let hint = match known.answer {
            Answer::Type(portable) => Hint::Type(portable),
            Answer::Argument => hint,
        };
        // Names of functions are not case-sensitive and not quoted.
        *name = ObjectName::from(vec![Ident::new(called)]);
        Ok(hint)
    }

    /// The arguments, and the type of the first that has one.
    fn arguments(&mut self, args: &mut [FunctionArg], known: &functions::Function) -> Result<Hint> {
        let mut expressions = Vec::with_capacity(args.len());
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) = arg else {
                return Err(not_portable("an argument with a name"));
            };
            expressions.push(expression);
        }
        let alike = known.usage == Use::Scalar && known.answer == Answer::Argument;
        let mut hint = Hint::None;
        for (at, expression) in expressions.iter_mut().enumerate() {
            if !is_parameter(expression) {
                let found = self.expr(expression)?;
                if alike || at == 0 {
                    hint = hint.or(found);
                }
            }
        }
        for expression in expressions {
            if is_parameter(expression) {
                self.assigned(expression, if alike { hint.clone() } else { Hint::None })?;
            }
        }
        if matches!(known.name, "sum" | "avg" | "abs") {
            hint = self.number(hint);
        }
        Ok(hint)
    }

    fn over(&mut self, over: &mut WindowType) -> Result<()> {
        let WindowType::WindowSpec(WindowSpec {
            window_name,
            partition_by,
            order_by,
            window_frame,
        }) = over
        else {
            return Err(not_portable("a named window"));
        };
        absent(window_name.is_some(), "a named window")?;
        for expression in partition_by {
            self.expr(expression)?;
        }
        self.order_by_expressions(order_by)?;
        if let Some(frame) = window_frame {
            for bound in [Some(&mut frame.start_bound), frame.end_bound.as_mut()] {
                if let Some(
                    WindowFrameBound::Preceding(Some(distance))
                    | WindowFrameBound::Following(Some(distance)),
                ) = bound
                {
                    self.expr(distance)?;
                }
            }
        }
        Ok(())
    }

    /// What an unqualified name may be: a column of the nearest query that has tables with such
    /// a column.
    fn column(&self, column: &str) -> Hint {
        let mut tables = Vec::new();
        for scope in self.scopes.iter().rev() {
            tables.extend(scope.iter().filter_map(|(_, table)| table.clone()));
            // A subquery's columns are not known, so an outer column of the name may be hidden.
            if scope.iter().any(|(_, table)| table.is_none()) {
                break;
            }
        }
        if tables.is_empty() {
            Hint::None
        } else {
            Hint::Column(ColumnRef { tables, column: column.to_owned() })
        }
    }

    fn qualified(&self, qualifier: &str, column: String) -> Hint {
        let sources = self.scopes.iter().rev().flatten();
        match sources.into_iter().find(|(name, _)| name == qualifier) {
            Some((_, Some(table))) => {
                Hint::Column(ColumnRef { tables: vec![table.clone()], column })
            }
            _ => Hint::None,
        }
    }
}

/// The hint of a subquery's one column.
fn only(outputs: &[super::Output]) -> Hint {
    match outputs {
        [super::Output::Column { hint, .. }] => hint.clone(),
        _ => Hint::None,
    }
}

fn is_parameter(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => true,
        Expr::Nested(inner) => is_parameter(inner),
        _ => false,
    }
}

/// A literal.
pub(super) fn literal(value: Value) -> Expr {
    Expr::Value(value.into())
}

/// What PostgreSQL calls a column of this expression when it is given no name.
pub(super) fn output_name(expr: &Expr) -> String {
    let named = |expr: &Expr| match output_name(expr) {
        name if name == "?column?" => None,
        name => Some(name),
    };
    match expr {
        Expr::Identifier(ident) => ident.value.to_ascii_lowercase(),
        Expr::CompoundIdentifier(parts) => {
            parts.last().map(|ident| ident.value.to_ascii_lowercase()).unwrap_or_default()
        }
        Expr::Function(function) => function.name.to_string().to_ascii_lowercase(),
        Expr::Cast { expr, data_type, .. } => {
            named(expr).unwrap_or_else(|| data_type.to_string().to_ascii_lowercase())
        }
        Expr::Nested(inner) => output_name(inner),
        Expr::Case { else_result, .. } => {
            else_result.as_deref().and_then(named).unwrap_or_else(|| "case".to_owned())
        }
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Substring { .. } => "substr".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(inner)] => output_name(inner),
                [SelectItem::ExprWithAlias { alias, .. }] => alias.value.to_ascii_lowercase(),
                _ => "?column?".to_owned(),
            },
            _ => "?column?".to_owned(),
        },
        _ => "?column?".to_owned(),
    }
}

fn sqlite_type(portable: Portable) -> sqlparser::ast::DataType {
    use sqlparser::ast::DataType;
    match portable.sqlite() {
        "INTEGER" => DataType::Integer(None),
        "REAL" => DataType::Real,
        "BLOB" => DataType::Blob(None),
        _ => DataType::Text,
    }
}
