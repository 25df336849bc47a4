//! The walk over a parsed statement: refuses what is not allowed and rewrites the rest so that
//! SQLite does what PostgreSQL would.
//!
//! Structures are taken apart without `..` wherever that is bearable, so that a field added by a
//! new version of the parser does not slip through unseen.

mod expression;
mod query;
mod write;

use std::collections::BTreeMap;

use airhost_core::{Error, Result, codes};
use sqlparser::ast::{self, Ident, ObjectName, ObjectNamePart};

pub(crate) use expression::{JSON_GET, JSON_TEXT};

use super::{Hint, Kind, Origin, Output};

/// Most parameters of a statement: SQLite's own limit.
pub(crate) const MOST_PARAMETERS: usize = 32_766;

/// What the walk found.
pub(super) struct Checked {
    pub(super) kind: Kind,
    pub(super) params: Vec<Hint>,
    pub(super) numbers: Vec<Hint>,
    pub(super) outputs: Vec<Output>,
}

/// Checks and rewrites a statement.
pub(super) fn walk(statement: &mut ast::Statement, origin: Origin) -> Result<Checked> {
    let mut walk = Walk::new(origin);
    let (kind, outputs) = walk.statement(statement)?;
    let count = walk.params.len();
    let contiguous = walk.params.keys().copied().eq(1..=count);
    if !contiguous {
        return Err(codes::SQL_PARAMETER.error("the parameters are not $1 to $n without a gap"));
    }
    let params = walk.params.into_values().collect();
    Ok(Checked { kind, params, numbers: walk.numbers, outputs })
}

/// Checks and rewrites an expression of a table's definition: no parameters and no subqueries.
pub(crate) fn walk_definition(expr: &mut ast::Expr) -> Result<()> {
    let mut walk = Walk::new(Origin::Guest);
    walk.expr(expr)?;
    if walk.params.is_empty() {
        Ok(())
    } else {
        Err(codes::SQL_NOT_ALLOWED.error("a parameter has no place in a definition"))
    }
}

/// A table of a `FROM`: how columns name it, and what it is; none for a subquery or `WITH` table.
type Source = (String, Option<String>);

struct Walk {
    origin: Origin,
    /// The `FROM` of each query around the place of the walk, innermost last.
    scopes: Vec<Vec<Source>>,
    /// Names bound by `WITH`, by query.
    ctes: Vec<Vec<String>>,
    params: BTreeMap<usize, Hint>,
    /// Operands of arithmetic.
    numbers: Vec<Hint>,
}

pub(super) fn not_a_data_statement() -> Error {
    codes::SQL_NOT_ALLOWED
        .error("only SELECT, INSERT, UPDATE and DELETE are allowed, each by itself")
}

pub(super) fn not_allowed(what: &str) -> Error {
    codes::SQL_NOT_ALLOWED.error(format!("{what} is not allowed"))
}

pub(super) fn not_portable(what: &str) -> Error {
    codes::SQL_NOT_ALLOWED.error(format!("{what} is not what both engines have"))
}

/// Refuses a clause that is there.
fn absent(is_there: bool, what: &str) -> Result<()> {
    if is_there { Err(not_portable(what)) } else { Ok(()) }
}

impl Walk {
    fn new(origin: Origin) -> Self {
        Self {
            origin,
            scopes: Vec::new(),
            ctes: Vec::new(),
            params: BTreeMap::new(),
            numbers: Vec::new(),
        }
    }

    fn statement(&mut self, statement: &mut ast::Statement) -> Result<(Kind, Vec<Output>)> {
        use ast::Statement;
        match statement {
            Statement::Query(query) => {
                if matches!(
                    *query.body,
                    ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_)
                ) {
                    self.write_with(query)
                } else {
                    Ok((Kind::Read, self.query(query)?))
                }
            }
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            _ => Err(not_a_data_statement()),
        }
    }

    /// Checks the name of a table of the database; answers it in lower case.
    fn table(&mut self, name: &mut ObjectName) -> Result<String> {
        let table = single_name(name)?;
        reserved_table(&table, self.origin)?;
        Ok(table)
    }

    fn is_cte(&self, name: &str) -> bool {
        self.ctes.iter().flatten().any(|cte| cte == name)
    }
}

/// Refuses names of the host and of the engines.
pub(crate) fn reserved_table(table: &str, origin: Origin) -> Result<()> {
    let engine = ["sqlite_", "pg_", "airhost_"].iter().any(|prefix| table.starts_with(prefix))
        || matches!(table, "information_schema" | "dual");
    if engine || (origin == Origin::Guest && table.starts_with("_airhost")) {
        return Err(not_allowed(&format!("the table {table}")));
    }
    Ok(())
}

/// A name of one part, made ready for SQLite.
pub(crate) fn single_name(name: &mut ObjectName) -> Result<String> {
    match name.0.as_mut_slice() {
        [ObjectNamePart::Identifier(ident)] => identifier(ident),
        _ => Err(not_allowed("a name with a schema")),
    }
}

/// Checks an identifier and quotes it, so that words that only one engine reserves do not
/// matter: SQLite is opened with double quotes meaning identifiers only. Answers it in lower
/// case, as PostgreSQL folds it.
pub(crate) fn identifier(ident: &mut Ident) -> Result<String> {
    let name = ident.value.clone();
    let refuse =
        |why: &str| Err(codes::SQL_NOT_ALLOWED.error(format!("the name {name:.80} {why}")));
    let plain = ident.value.len() <= 63
        && ident.value.bytes().enumerate().all(|(at, byte)| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => true,
            b'0'..=b'9' => at > 0,
            _ => false,
        });
    if !plain || ident.value.is_empty() {
        return refuse("is not 1 to 63 letters, digits and underscores");
    }
    match ident.quote_style {
        None if POSTGRES_RESERVED.binary_search(&&*ident.value.to_ascii_lowercase()).is_ok() => {
            return refuse("is a reserved word; put it in double quotes");
        }
        None => ident.value.make_ascii_lowercase(),
        Some('"') if ident.value.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            return refuse("is quoted and has capitals, which SQLite does not tell apart");
        }
        Some('"') => {}
        Some(_) => return refuse("is not quoted as both engines have it"),
    }
    if SYSTEM_COLUMNS.contains(&ident.value.as_str()) {
        return refuse("is a system column of one engine");
    }
    ident.quote_style = Some('"');
    Ok(ident.value.clone())
}

/// Columns that an engine has without being asked.
const SYSTEM_COLUMNS: &[&str] =
    &["rowid", "oid", "_rowid_", "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// Reserved in PostgreSQL (its manual, appendix C), sorted.
const POSTGRES_RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    #[test]
    fn reserved_words_are_sorted() {
        assert!(super::POSTGRES_RESERVED.is_sorted());
    }
}
