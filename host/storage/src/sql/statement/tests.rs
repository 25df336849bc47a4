use airhost_core::codes;

use super::*;

fn checked(text: &str) -> Statement {
    check(text, Origin::Guest).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn statements_are_written_anew_for_sqlite() {
    for (given, sqlite) in [
        ("select Id from Users where id=$1", r#"SELECT "id" FROM "users" WHERE "id" = ?1"#),
        (
            "SELECT a FROM t WHERE b = $2 AND c = $1 AND d = $2",
            r#"SELECT "a" FROM "t" WHERE "b" = ?2 AND "c" = ?1 AND "d" = ?2"#,
        ),
        (
            "SELECT a FROM t WHERE a LIKE 'x%'",
            r#"SELECT "a" FROM "t" WHERE "a" LIKE 'x%' ESCAPE '\'"#,
        ),
        (
            "SELECT CAST($1 AS uuid), CAST(a AS timestamp), CAST(a AS double) FROM t",
            r#"SELECT CAST(?1 AS TEXT), CAST("a" AS INTEGER), CAST("a" AS REAL) FROM "t""#,
        ),
        ("SELECT a FROM t OFFSET $1", r#"SELECT "a" FROM "t" LIMIT -1 OFFSET ?1"#),
        ("SELECT a ->> 'b' FROM t", r#"SELECT airhost_json_text("a", 'b') FROM "t""#),
        (
            "INSERT INTO t (a) SELECT b FROM u ON CONFLICT (a) DO NOTHING",
            r#"INSERT INTO "t" ("a") SELECT "b" FROM "u" WHERE true ON CONFLICT("a") DO NOTHING"#,
        ),
        // A quote after a backslash ends a string in neither engine.
        (r"SELECT 'a\''b' FROM t", r#"SELECT 'a\''b' FROM "t""#),
        (r"SELECT '''', '\', ''''''", r"SELECT '''', '\', ''''''"),
    ] {
        assert_eq!(checked(given).sqlite(), sqlite, "{given}");
        // What is written is one statement again.
        let again = parse(&sqlite.replace('?', "$")).expect("parses");
        assert_eq!(again.len(), 1, "{sqlite}");
    }
}

#[test]
fn postgresql_gets_the_operators_and_locks_as_written() {
    let text = "SELECT a ->> 'b' FROM t WHERE c = $1";
    assert_eq!(checked(text).postgres(), text);
    let claim =
        "SELECT id FROM _airhost_jobs WHERE due <= $1 ORDER BY due LIMIT 5 FOR UPDATE SKIP LOCKED";
    let claimed = check(claim, Origin::Host).expect("the host may lock");
    assert_eq!(claimed.postgres(), claim);
    assert!(!claimed.sqlite().contains("LOCKED"), "{}", claimed.sqlite());
    let refused = check(claim, Origin::Guest).expect_err("a guest may not");
    assert!(codes::SQL_NOT_ALLOWED.is(&refused));
}

#[test]
fn parameters_meet_columns() {
    let column = |tables: &[&str], column: &str| {
        Hint::Column(ColumnRef {
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            column: column.to_owned(),
        })
    };
    for (text, params) in [
        (
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, lower($4))",
            vec![column(&["t"], "a"), column(&["t"], "b"), column(&["t"], "a"), Hint::None],
        ),
        (
            "INSERT INTO t (a, b) SELECT $1, c FROM u WHERE c = $2",
            vec![column(&["t"], "a"), column(&["u"], "c")],
        ),
        (
            "UPDATE t SET a = $1, b = coalesce($2, b) WHERE c = $3 AND $4 < d",
            vec![
                column(&["t"], "a"),
                column(&["t"], "b"),
                column(&["t"], "c"),
                column(&["t"], "d"),
            ],
        ),
        (
            "SELECT x.a FROM t AS x JOIN u ON x.a = u.b WHERE u.c IN ($1) AND d = $2 LIMIT $3",
            vec![column(&["u"], "c"), column(&["t", "u"], "d"), Hint::Type(Portable::Bigint)],
        ),
        (
            "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND b = $1)",
            vec![column(&["u", "t"], "b")],
        ),
        ("WITH w AS (SELECT a FROM t) SELECT a FROM w WHERE a = $1", vec![Hint::None]),
        (
            "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = $1 WHERE excluded.c = $2",
            vec![column(&["t"], "b"), column(&["t"], "c")],
        ),
    ] {
        assert_eq!(checked(text).params, params, "{text}");
    }
}

#[test]
fn what_it_does_is_known() {
    for (text, kind) in [
        ("SELECT 1", Kind::Read),
        ("WITH w AS (SELECT 1 AS a) SELECT a FROM w", Kind::Read),
        ("DELETE FROM t", Kind::Write { returning: false }),
        ("INSERT INTO t DEFAULT VALUES RETURNING a", Kind::Write { returning: true }),
        ("WITH w AS (SELECT 1 AS a) UPDATE t SET a = 2", Kind::Write { returning: false }),
    ] {
        assert_eq!(checked(text).kind(), kind, "{text}");
    }
}

#[test]
fn odd_texts_are_refused_and_do_not_panic() {
    for text in [
        "SELECT $0",
        "SELECT $1, $3",
        "SELECT $32767",
        "SELECT ?",
        "SELECT :a",
        "SELECT @a",
        "SELECT $a",
        "SELECT $$x$$",
        "SELECT E'\\n'",
        "SELECT U&'x'",
        "SELECT X'00'",
        "SELECT B'1'",
        "SELECT 99999999999999999999",
        "SELECT 0x10",
        "SELECT a.b.c FROM t",
        "SELECT main.t.a FROM t",
        "SELECT a FROM main.t",
        "SELECT \"a b\" FROM t",
        "SELECT `a` FROM t",
        "SELECT [a] FROM t",
        "SELECT user FROM t",
        "SELECT DEFAULT",
        "TABLE t",
        "VALUES (1), (2, 3)",
        "SELECT a FROM t, LATERAL (SELECT 1) AS x",
        "SELECT * FROM json_each('[]')",
        "SELECT * FROM generate_series(1, 2)",
        "SELECT a FROM t AS x (y)",
        "SELECT INTERVAL '1 day'",
        "SELECT DATE '2020-01-01'",
        "SELECT a COLLATE nocase FROM t",
        "SELECT ARRAY[1]",
        "SELECT a[1] FROM t",
        "SELECT a = ANY($1) FROM t",
        "SELECT a ~ 'x' FROM t",
        "SELECT EXTRACT(year FROM a) FROM t",
        "SELECT a AT TIME ZONE 'UTC' FROM t",
        "SELECT ROW(1, 2)",
        "SELECT max(DISTINCT a, b) FROM t",
        "SELECT count() FROM t",
        "SELECT rank() FROM t",
        "SELECT lower(a) OVER () FROM t",
        "SELECT a FROM t ORDER BY a USING <",
        "SELECT a FROM t FETCH FIRST 1 ROW ONLY",
        "SELECT a FROM t GROUP BY ROLLUP (a)",
        "SELECT a INTO b FROM t",
        "SELECT a FROM t TABLESAMPLE SYSTEM (1)",
        "SELECT 1 UNION DISTINCT SELECT 2",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT 1 UNION SELECT 2 INTERSECT SELECT 3",
        "INSERT OR REPLACE INTO t (a) VALUES (1)",
        "REPLACE INTO t (a) VALUES (1)",
        "INSERT INTO t (a) VALUES (1, 2)",
        "INSERT INTO t (a) VALUES (DEFAULT)",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT DO UPDATE SET a = 1",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT ON CONSTRAINT x DO NOTHING",
        "UPDATE t SET (a, b) = (1, 2)",
        "UPDATE t AS x JOIN u ON true SET a = 1",
        "DELETE t FROM t",
        "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
        "COPY t FROM 'x'",
        "VACUUM",
        "ANALYZE t",
        "ATTACH DATABASE 'x' AS y",
        "CALL f()",
        "DO $$ $$",
        "GRANT ALL ON t TO x",
        "TRUNCATE t",
        "LOCK TABLE t",
        "SELECT nextval('x')",
        "SELECT pg_sleep(10)",
        "SELECT query_to_xml('x')",
        "SELECT setval('x', 1)",
    ] {
        assert!(check(text, Origin::Guest).is_err(), "{text}");
    }
    // Any prefix of a statement, and any single character put into it.
    let text = "WITH w (a) AS (SELECT $1) INSERT INTO t (a) SELECT 'x''y' FROM w ON CONFLICT (a) DO NOTHING RETURNING *";
    assert!(check(text, Origin::Guest).is_ok());
    for at in 0..text.len() {
        drop(check(&text[..at], Origin::Guest));
        for extra in ["'", "\"", "(", ")", ";", "\\", "$", "é", "--", "/*"] {
            let broken = format!("{}{extra}{}", &text[..at], &text[at..]);
            drop(check(&broken, Origin::Guest));
        }
    }
}

#[test]
fn checked_statements_are_kept() {
    let statements = Statements::default();
    let first = statements.get("SELECT 1", Origin::Guest).expect("checks");
    let again = statements.get("SELECT 1", Origin::Guest).expect("checks");
    assert!(Arc::ptr_eq(&first, &again));
    let host = statements.get("SELECT 1", Origin::Host).expect("checks");
    assert!(!Arc::ptr_eq(&first, &host), "what the host may is not what a guest may");
}
