//! What a statement means must not depend on the engine.

use super::sql::{execute, migrate, query, text};
use crate::sql::{Database, Value};

/// Statements and the one value of the one row each answers.
pub(super) async fn run(db: &dyn Database) {
    migrate(
        db,
        "CREATE TABLE words (id bigint PRIMARY KEY, word text, size decimal, document json,
            \"user\" text UNIQUE);
         CREATE TABLE tags (word bigint NOT NULL REFERENCES words (id) ON DELETE CASCADE,
            tag text NOT NULL, PRIMARY KEY (word, tag))",
    )
    .await;
    let rows = [
        (1, Some("b"), "10", r#"{"a":{"b":[1,"two",null]},"n":5,"t":true}"#),
        (2, Some("B"), "9.5", r#"{"$.a":"dollar"}"#),
        (3, Some("a_c"), "-3", "[1,2]"),
        (4, Some("abc"), "9.50", "null"),
        (5, None, "0.001", "{}"),
    ];
    for (id, word, size, document) in rows {
        let insert = "INSERT INTO words (id, word, size, document) VALUES ($1, $2, $3, $4)";
        let word = word.map_or(Value::Null, text);
        execute(db, insert, vec![Value::Bigint(id), word, text(size), text(document)]).await;
    }
    for (statement, expected) in [
        // Texts are ordered by bytes, decimals by value, nulls as asked.
        ("SELECT id FROM words WHERE word IS NOT NULL ORDER BY word", "2 3 4 1"),
        ("SELECT id FROM words ORDER BY size, id", "3 5 2 4 1"),
        ("SELECT id FROM words ORDER BY word NULLS FIRST LIMIT 1", "5"),
        ("SELECT id FROM words ORDER BY word DESC NULLS LAST LIMIT 1", "1"),
        ("SELECT id FROM words WHERE size = 9.5 ORDER BY id", "2 4"),
        ("SELECT id FROM words WHERE size > 9.5", "1"),
        ("SELECT count(DISTINCT size) FROM words", "4"),
        // LIKE tells capitals apart and escapes with a backslash.
        ("SELECT id FROM words WHERE word LIKE 'b'", "1"),
        (r"SELECT id FROM words WHERE word LIKE 'a\_c'", "3"),
        ("SELECT id FROM words WHERE word LIKE 'a_c' ORDER BY id", "3 4"),
        ("SELECT id FROM words WHERE word LIKE 'a!_c' ESCAPE '!'", "3"),
        ("SELECT id FROM words WHERE word NOT LIKE '%b%' ORDER BY id", "2 3"),
        // JSON.
        ("SELECT document ->> 'n' FROM words WHERE id = 1", "'5'"),
        ("SELECT document ->> 't' FROM words WHERE id = 1", "'true'"),
        ("SELECT document -> 'a' -> 'b' ->> 1 FROM words WHERE id = 1", "'two'"),
        ("SELECT document -> 'a' -> 'b' -> -2 FROM words WHERE id = 1", "j\"two\""),
        ("SELECT document ->> '$.a' FROM words WHERE id = 2", "'dollar'"),
        ("SELECT id FROM words WHERE document ->> 'n' = '5'", "1"),
        // Names that one engine reserves, quotes and literals.
        ("SELECT count(\"user\") FROM words", "0"),
        ("SELECT 'it''s \\ \"quoted\" -- /* $1 */ ;'", "'it's \\ \"quoted\" -- /* $1 */ ;'"),
        (r"SELECT 'a\'''", r"'a\''"),
        ("SELECT id FROM words WHERE word = 'b' -- a comment", "1"),
        // Clauses.
        ("SELECT id FROM words ORDER BY id OFFSET 3", "4 5"),
        ("SELECT id FROM words ORDER BY id LIMIT 1 OFFSET 1", "2"),
        ("SELECT id FROM words WHERE (id, word) > (2, 'a') AND (id, word) < (4, 'a')", "3"),
        ("SELECT id FROM words WHERE word IS DISTINCT FROM NULL AND id > 3", "4"),
        ("SELECT id FROM words WHERE id IN (SELECT max(id) FROM words)", "5"),
        (
            "SELECT a.id FROM words AS a LEFT JOIN words AS b ON b.id = a.id + 1 WHERE b.id IS NULL",
            "5",
        ),
        (
            "SELECT id FROM words WHERE id < 3 UNION ALL SELECT id FROM words WHERE id = 5 ORDER BY id",
            "1 2 5",
        ),
        ("SELECT id FROM words EXCEPT SELECT id FROM words WHERE id > 1", "1"),
        ("SELECT count(*) FILTER (WHERE id > 2) FROM words", "3"),
        ("SELECT string_agg(word, ',' ORDER BY id) FROM words WHERE id < 3", "'b,B'"),
        (
            "SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM words
          ORDER BY id DESC LIMIT 1",
            "9",
        ),
        ("SELECT 7 / 2", "3"),
        ("SELECT -7 % 3", "-1"),
        ("SELECT upper('aé')", "'Aé'"),
        ("SELECT length('aé')", "2"),
        ("SELECT substr('abcdef', 2, 3)", "'bcd'"),
        ("SELECT coalesce(NULL, 'x')", "'x'"),
        ("SELECT concat('a', NULL, 'b')", "'ab'"),
        // Writes.
        (
            "INSERT INTO words (id, word) VALUES (1, 'z') ON CONFLICT (id) DO NOTHING RETURNING id",
            "",
        ),
        (
            "INSERT INTO words AS w (id, word) VALUES (1, 'z') ON CONFLICT (id)
          DO UPDATE SET word = excluded.word || w.word WHERE w.id = 1 RETURNING word",
            "'zb'",
        ),
        (
            "INSERT INTO words (id, word) SELECT id, word FROM words WHERE id = 2
          ON CONFLICT (id) DO UPDATE SET word = 'again' RETURNING word",
            "'again'",
        ),
        (
            "INSERT INTO words (id, word) SELECT id, word FROM words
          ON CONFLICT (id) DO NOTHING RETURNING id",
            "",
        ),
        (
            "UPDATE words SET word = s.w FROM (SELECT 3 AS i, 'from' AS w) AS s WHERE id = s.i RETURNING word",
            "'from'",
        ),
        (
            "WITH gone AS (SELECT 4 AS i) DELETE FROM words WHERE id IN (SELECT i FROM gone) RETURNING id",
            "4",
        ),
        ("INSERT INTO tags (word, tag) VALUES (1, 'x'), (1, 'y') RETURNING tag", "'x' 'y'"),
        ("DELETE FROM words WHERE id = 1 RETURNING id", "1"),
        ("SELECT count(*) FROM tags", "0"),
    ] {
        let rows = query(db, statement, vec![]).await.rows;
        let shown: Vec<String> = rows.iter().flatten().map(show).collect();
        assert_eq!(shown.join(" "), expected, "{statement}");
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Bigint(value) => value.to_string(),
        Value::Double(value) => format!("{value:?}"),
        Value::Text(value) => format!("'{value}'"),
        Value::Json(value) => format!("j{value}"),
        other => format!("{other:?}"),
    }
}
