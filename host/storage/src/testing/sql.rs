//! The suite of `sql`: values, statements and their errors.

use std::{sync::Arc, time::Duration};

use airhost_core::{Deadline, Error, codes::Code};

use super::{sql_dialect, sql_migrations, sql_transactions};
use crate::sql::{Database, Migration, Phase, Rows, Value};

/// Runs the whole suite; `factory` opens a new, empty database each time it is called.
///
/// # Panics
/// When the engine does not do what the contract says.
pub async fn sql_conformance<F, D>(factory: F)
where
    F: Fn() -> D,
    D: Future<Output = Arc<dyn Database>>,
{
    values_come_back_as_they_are(&*factory().await).await;
    expressions_have_types(&*factory().await).await;
    columns_have_names(&*factory().await).await;
    parameters_are_checked(&*factory().await).await;
    violations_have_codes(&*factory().await).await;
    what_is_not_allowed_is_refused(&*factory().await).await;
    names_that_do_not_exist_are_syntax(&*factory().await).await;
    results_are_bounded(&*factory().await).await;
    sql_dialect::run(&*factory().await).await;
    for case in 0..sql_transactions::CASES {
        sql_transactions::run(case, factory().await).await;
    }
    for case in 0..sql_migrations::CASES {
        sql_migrations::run(case, &*factory().await).await;
    }
}

/// Long enough for any case on a busy machine.
pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub(super) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(super) fn expand(name: &str, sql: &str) -> Migration {
    Migration { name: name.to_owned(), phase: Phase::Expand, sql: sql.to_owned() }
}

pub(super) async fn migrate(db: &dyn Database, sql: &str) {
    db.migrate(&[expand("0001_test", sql)], false).await.expect("migrates");
}

pub(super) async fn execute(db: &dyn Database, statement: &str, params: Vec<Value>) -> u64 {
    db.execute(statement, params, soon())
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"))
}

pub(super) async fn query(db: &dyn Database, statement: &str, params: Vec<Value>) -> Rows {
    db.query(statement, params, soon()).await.unwrap_or_else(|error| panic!("{statement}: {error}"))
}

/// The one value of the one row.
pub(super) async fn one(db: &dyn Database, statement: &str, params: Vec<Value>) -> Value {
    let rows = query(db, statement, params).await.rows;
    assert_eq!((rows.len(), rows.first().map(Vec::len)), (1, Some(1)), "{statement}: {rows:?}");
    rows.into_iter().flatten().next().expect("a value")
}

#[track_caller]
pub(super) fn assert_code<T: std::fmt::Debug>(result: Result<T, Error>, code: &Code, what: &str) {
    match result {
        Err(error) if code.is(&error) => {}
        other => panic!("{what}: {other:?} is not {}", code.code),
    }
}

#[track_caller]
fn assert_attr(error: &Error, name: &str, value: &str) {
    let found = error.attrs.iter().find(|(attr, _)| attr == name).map(|(_, value)| value.as_str());
    assert_eq!(found, Some(value), "{error:?}");
}

const EVERYTHING: &str = "CREATE TABLE everything (
    id uuid PRIMARY KEY, amount decimal, document json, note text, moment timestamp,
    flag boolean, count bigint, ratio double, data bytes)";

const INSERT: &str = "INSERT INTO everything
    (id, amount, document, note, moment, flag, count, ratio, data)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

fn row() -> Vec<Value> {
    vec![
        Value::Uuid("0190a2b4-0000-7000-8000-0123456789ab".to_owned()),
        Value::Decimal("1234567890123456789.50".to_owned()),
        Value::Json("{\"b\":[1,2],\"a\":null}".to_owned()),
        // What looks like a number stays text.
        text("1e3"),
        Value::Timestamp(1_700_000_000_123_456),
        Value::Boolean(true),
        Value::Bigint(i64::MIN),
        Value::Double(-0.1),
        Value::Bytes(vec![0, 255, 1]),
    ]
}

async fn values_come_back_as_they_are(db: &dyn Database) {
    migrate(db, EVERYTHING).await;
    assert_eq!(execute(db, INSERT, row()).await, 1);
    let rows = query(db, "SELECT * FROM everything", vec![]).await;
    assert_eq!(rows.rows, [row()]);
    let names = ["id", "amount", "document", "note", "moment", "flag", "count", "ratio", "data"];
    assert_eq!(*rows.columns, names.map(str::to_owned));
    let mut nulls = vec![Value::Null; 9];
    nulls[0] = Value::Uuid("0190a2b4-0000-7000-8000-000000000002".to_owned());
    let returned = query(db, &format!("{INSERT} RETURNING *"), nulls.clone()).await;
    assert_eq!(returned.rows, [nulls]);
    // Every form of a value is stored as the one form.
    let given = [
        Value::Text("0190A2B4-0000-7000-8000-00000000000A".to_owned()),
        text("+007.10"),
        text(" { \"k\" : 1 } "),
    ];
    let insert = "INSERT INTO everything (id, amount, document, ratio) VALUES ($1, $2, $3, $4)
        RETURNING id, amount, document, ratio";
    let params = given.into_iter().chain([Value::Bigint(3)]).collect();
    let stored = [
        Value::Uuid("0190a2b4-0000-7000-8000-00000000000a".to_owned()),
        Value::Decimal("7.10".to_owned()),
        Value::Json("{\"k\":1}".to_owned()),
        Value::Double(3.0),
    ];
    assert_eq!(query(db, insert, params).await.rows, [stored]);
}

async fn expressions_have_types(db: &dyn Database) {
    migrate(db, EVERYTHING).await;
    execute(db, INSERT, row()).await;
    let [id, amount, document, note, moment, flag, ..] =
        <[Value; 9]>::try_from(row()).expect("nine");
    for (statement, expected) in [
        ("SELECT max(moment) FROM everything", moment.clone()),
        ("SELECT coalesce(moment, moment) FROM everything", moment.clone()),
        ("SELECT e.flag FROM everything e", flag.clone()),
        ("SELECT count > 5 FROM everything", Value::Boolean(false)),
        ("SELECT EXISTS (SELECT 1 FROM everything)", Value::Boolean(true)),
        ("SELECT note IS NULL FROM everything", Value::Boolean(false)),
        ("SELECT count(*) FROM everything", Value::Bigint(1)),
        ("SELECT note || 'x' FROM everything", text("1e3x")),
        ("SELECT (SELECT id FROM everything)", id.clone()),
        ("SELECT i FROM (SELECT id AS i FROM everything) AS s", id.clone()),
        ("WITH w AS (SELECT id, moment AS m FROM everything) SELECT m FROM w", moment.clone()),
        ("SELECT CASE WHEN flag THEN document ELSE document END FROM everything", document),
        ("SELECT min(amount) FROM everything", amount),
        ("SELECT CAST(note AS text) FROM everything", note),
        ("SELECT lag(id) OVER (ORDER BY note) FROM everything", Value::Null),
        ("SELECT row_number() OVER (ORDER BY note) FROM everything", Value::Bigint(1)),
        ("UPDATE everything SET note = 'y' RETURNING moment", moment),
        ("DELETE FROM everything RETURNING flag", flag),
    ] {
        assert_eq!(one(db, statement, vec![]).await, expected, "{statement}");
    }
}

async fn columns_have_names(db: &dyn Database) {
    migrate(db, EVERYTHING).await;
    for (statement, names) in [
        (
            "SELECT count(*), max(note), note AS n, id FROM everything GROUP BY note, id",
            "count max n id",
        ),
        ("SELECT Note, 1 + 1, e.id FROM everything AS e", "note ?column? id"),
        (
            "SELECT count, e.*, note FROM everything AS e",
            "count id amount document note moment flag count ratio data note",
        ),
    ] {
        let rows = query(db, statement, vec![]).await;
        assert_eq!(rows.columns.join(" "), names, "{statement}");
    }
}

async fn parameters_are_checked(db: &dyn Database) {
    use airhost_core::codes::SQL_PARAMETER;
    migrate(db, EVERYTHING).await;
    let by_id = "SELECT id FROM everything WHERE id = $1";
    for (statement, params) in [
        (by_id, vec![]),
        (by_id, vec![Value::Null, Value::Null]),
        (by_id, vec![text("not a uuid")]),
        (by_id, vec![Value::Bigint(1)]),
        ("SELECT id FROM everything WHERE count = $2", vec![Value::Bigint(1); 2]),
        ("SELECT id FROM everything WHERE flag = $1", vec![Value::Bigint(1)]),
        ("SELECT id FROM everything WHERE moment BETWEEN $1 AND $2", vec![Value::Bigint(1); 2]),
        ("SELECT id FROM everything WHERE note IN ($1)", vec![Value::Bigint(1)]),
        ("SELECT id FROM everything LIMIT $1", vec![text("1")]),
        ("INSERT INTO everything (id, amount) VALUES ($1, $2)", vec![Value::Null, text("1e5")]),
        ("UPDATE everything SET document = $1", vec![text("{")]),
        ("UPDATE everything SET note = $1", vec![text("a\0b")]),
        ("UPDATE everything SET ratio = $1", vec![Value::Double(f64::NAN)]),
    ] {
        let run = if statement.starts_with("SELECT") {
            db.query(statement, params, soon()).await.map(drop)
        } else {
            db.execute(statement, params, soon()).await.map(drop)
        };
        assert_code(run, &SQL_PARAMETER, statement);
    }
    let again = "SELECT count(*) FROM everything WHERE note = $1 OR note = $2 OR note = $1";
    assert_eq!(one(db, again, vec![text("a"), text("b")]).await, Value::Bigint(0));
}

async fn violations_have_codes(db: &dyn Database) {
    use airhost_core::codes;
    migrate(
        db,
        "CREATE TABLE parent (id bigint PRIMARY KEY, name text NOT NULL UNIQUE);
         CREATE TABLE child (
            id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parent (id),
            size bigint, CONSTRAINT size_is_small CHECK (size < 10));
         INSERT INTO parent (id, name) VALUES (1, 'one');
         INSERT INTO child (id, parent) VALUES (1, 1)",
    )
    .await;
    let run = async |statement: &str| db.execute(statement, vec![], soon()).await;
    let unique = run("INSERT INTO parent (id, name) VALUES (2, 'one')").await;
    assert_attr(unique.as_ref().expect_err("unique"), "table", "parent");
    assert_attr(unique.as_ref().expect_err("unique"), "column", "name");
    assert_code(unique, &codes::SQL_UNIQUE_VIOLATION, "unique");
    let primary = run("INSERT INTO parent (id, name) VALUES (1, 'two')").await;
    assert_code(primary, &codes::SQL_UNIQUE_VIOLATION, "primary key");
    let orphan = run("INSERT INTO child (id, parent) VALUES (2, 7)").await;
    assert_code(orphan, &codes::SQL_FOREIGN_KEY_VIOLATION, "orphan");
    let referred = run("DELETE FROM parent WHERE id = 1").await;
    assert_code(referred, &codes::SQL_FOREIGN_KEY_VIOLATION, "referred");
    let missing = run("INSERT INTO parent (id, name) VALUES (3, NULL)").await;
    assert_attr(missing.as_ref().expect_err("missing"), "column", "name");
    assert_code(missing, &codes::SQL_NOT_NULL_VIOLATION, "missing");
    let large = run("UPDATE child SET size = 10").await;
    assert_attr(large.as_ref().expect_err("large"), "constraint", "size_is_small");
    assert_code(large, &codes::SQL_CHECK_VIOLATION, "large");
    // Nothing of a failed statement is left, even of the rows that fitted.
    let some = run("INSERT INTO parent (id, name) VALUES (5, 'five'), (6, 'one')").await;
    assert_code(some, &codes::SQL_UNIQUE_VIOLATION, "some");
    assert_eq!(one(db, "SELECT count(*) FROM parent", vec![]).await, Value::Bigint(1));
}

async fn what_is_not_allowed_is_refused(db: &dyn Database) {
    use airhost_core::codes::SQL_NOT_ALLOWED;
    migrate(db, EVERYTHING).await;
    for statement in [
        "SELECT 1; SELECT 2",
        "CREATE TABLE t (id bigint)",
        "DROP TABLE everything",
        "PRAGMA table_info(everything)",
        "SET search_path = x",
        "LISTEN x",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT s",
        "EXPLAIN SELECT 1",
        "SELECT note FROM everything FOR UPDATE",
        "SELECT note FROM everything WHERE note ILIKE 'a'",
        "SELECT name FROM sqlite_master",
        "SELECT name FROM sqlite_schema",
        "SELECT relname FROM pg_class",
        "SELECT table_name FROM information_schema.tables",
        "SELECT name FROM _airhost_migrations",
        "DELETE FROM _airhost_idempotency",
        "SELECT x FROM (SELECT name AS x FROM _airhost_migrations) AS s",
        "SELECT (SELECT count(*) FROM _AIRHOST_MIGRATIONS)",
        "SELECT e.note FROM everything AS e WHERE EXISTS (SELECT 1 FROM \"_airhost_schemas\")",
        "SELECT pg_advisory_lock(1)",
        "SELECT load_extension('x')",
        "SELECT randomblob(1000000000)",
        "SELECT now()",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT ctid FROM everything",
        "SELECT rowid FROM everything",
        "SELECT \"Note\" FROM everything",
        "SELECT note::text FROM everything",
        "SELECT DISTINCT ON (note) note FROM everything",
        "SELECT amount + 1 FROM everything",
        "SELECT sum(amount) FROM everything",
        "INSERT INTO everything VALUES (1)",
        "WITH w AS (DELETE FROM everything RETURNING id) SELECT id FROM w",
        "DELETE FROM everything USING everything AS e WHERE e.note = 'x'",
        "UPDATE everything SET note = 'x' LIMIT 1",
    ] {
        let result = db.query(statement, vec![], soon()).await;
        assert_code(result, &SQL_NOT_ALLOWED, statement);
        assert!(db.execute(statement, vec![], soon()).await.is_err(), "{statement}");
    }
    let select = db.execute("SELECT note FROM everything", vec![], soon()).await;
    assert_code(select, &SQL_NOT_ALLOWED, "SELECT as execute");
    let rowless = db.query("DELETE FROM everything", vec![], soon()).await;
    assert_code(rowless, &SQL_NOT_ALLOWED, "DELETE as query");
}

async fn names_that_do_not_exist_are_syntax(db: &dyn Database) {
    use airhost_core::codes::SQL_SYNTAX;
    migrate(db, EVERYTHING).await;
    for statement in [
        "",
        "SELEC 1",
        "SELECT nothing FROM everything",
        "SELECT 1 FROM nothing",
        "SELECT 1 FROM everything WHERE",
        "SELECT 'open FROM everything",
        "INSERT INTO everything (nothing) VALUES (1) RETURNING id",
    ] {
        assert_code(db.query(statement, vec![], soon()).await, &SQL_SYNTAX, statement);
    }
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_code(db.query(&deep, vec![], soon()).await, &SQL_SYNTAX, "deep");
    let long = format!("SELECT 1{}", "+1".repeat(50_000));
    assert_code(db.query(&long, vec![], soon()).await, &SQL_SYNTAX, "long");
}

async fn results_are_bounded(db: &dyn Database) {
    use airhost_core::codes::SQL_RESULT_TOO_LARGE;
    migrate(db, "CREATE TABLE numbers (n bigint PRIMARY KEY, note text)").await;
    let fill = "INSERT INTO numbers (n)
        WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10001)
        SELECT n FROM c";
    assert_eq!(execute(db, fill, vec![]).await, 10_001);
    let limited = query(db, "SELECT n FROM numbers LIMIT 10000", vec![]).await;
    assert_eq!(limited.rows.len(), 10_000);
    let all = db.query("SELECT n FROM numbers", vec![], soon()).await;
    assert_code(all, &SQL_RESULT_TOO_LARGE, "10 001 rows");
    // A write whose answer is too large has not happened.
    let write = db.query("UPDATE numbers SET note = 'x' RETURNING n", vec![], soon()).await;
    assert_code(write, &SQL_RESULT_TOO_LARGE, "write of 10 001 rows");
    let touched = "SELECT count(*) FROM numbers WHERE note IS NOT NULL";
    assert_eq!(one(db, touched, vec![]).await, Value::Bigint(0));
    let note = vec![text(&"x".repeat(1 << 20))];
    execute(db, "UPDATE numbers SET note = $1 WHERE n <= 9", note).await;
    let large = db.query("SELECT note FROM numbers WHERE n <= 9", vec![], soon()).await;
    assert_code(large, &SQL_RESULT_TOO_LARGE, "9 MiB");
}
