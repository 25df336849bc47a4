use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::*;
use crate::{sql::Phase, testing::sql_conformance};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

async fn open(folder: &tempfile::TempDir) -> Sqlite {
    Sqlite::open(SqliteConfig::new(folder.path().join("state/db.sqlite"))).await.expect("opens")
}

fn migration(sql: &str) -> Migration {
    Migration { name: "0001_test".to_owned(), phase: Phase::Expand, sql: sql.to_owned() }
}

async fn count(db: &dyn Database, statement: &str) -> i64 {
    let rows = db.query(statement, vec![], soon()).await.expect("counts").rows;
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Bigint(count)) => *count,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    let folders = parking_lot::Mutex::new(Vec::new());
    sql_conformance(|| async {
        let folder = tempfile::tempdir().expect("a folder");
        let db: Arc<dyn Database> = Arc::new(open(&folder).await);
        folders.lock().push(folder);
        db
    })
    .await;
}

#[tokio::test]
async fn files_are_the_owners_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(&folder).await;
    db.migrate(&[migration("CREATE TABLE t (a text)")], false).await.expect("migrates");
    let mode = |name: &str| {
        let path = folder.path().join(name);
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    };
    assert_eq!(mode("state"), 0o700);
    for file in ["state/db.sqlite", "state/db.sqlite-wal", "state/db.sqlite-shm"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

#[tokio::test]
async fn closing_is_tidy_and_final() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(&folder).await;
    db.migrate(&[migration("CREATE TABLE t (a text)")], false).await.expect("migrates");
    db.ping(soon()).await.expect("answers");
    db.close().await;
    db.close().await;
    for error in [
        db.ping(soon()).await.expect_err("closed"),
        db.execute("DELETE FROM t", vec![], soon()).await.expect_err("closed"),
        db.begin(Access::Write, soon()).await.map(drop).expect_err("closed"),
        db.begin(Access::Read, soon()).await.map(drop).expect_err("closed"),
    ] {
        assert!(codes::SQL_UNAVAILABLE.is(&error), "{error}");
    }
    assert_eq!(count(&open(&folder).await, "SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn the_hosts_tables_are_versioned() {
    const FIRST: HostSchema = HostSchema {
        name: "test",
        version: 1,
        statements: &["CREATE TABLE _airhost_test (id uuid PRIMARY KEY, at timestamp NOT NULL)"],
    };
    const SECOND: HostSchema = HostSchema {
        name: "test",
        version: 2,
        statements: &["ALTER TABLE _airhost_test ADD COLUMN done boolean NOT NULL DEFAULT FALSE"],
    };
    const CHANGED: HostSchema = HostSchema { statements: &["DROP TABLE _airhost_test"], ..FIRST };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db.sqlite");
    let open = async |schemas: &[HostSchema]| {
        let config = SqliteConfig::new(&path).with_host_schemas(schemas.iter().copied());
        Sqlite::open(config).await
    };
    let db = open(&[FIRST]).await.expect("opens");
    let insert = "INSERT INTO _airhost_test (id, at) VALUES ($1, $2)";
    let id = Value::Uuid("0190a2b4-0000-7000-8000-0123456789ab".to_owned());
    let params = vec![id.clone(), Value::Timestamp(5)];
    assert_eq!(db.host_execute(insert, params.clone(), soon()).await, Ok(1));
    assert!(db.execute(insert, params, soon()).await.is_err(), "a guest");
    db.close().await;
    let db = open(&[SECOND, FIRST]).await.expect("opens");
    let rows = db.host_query("SELECT * FROM _airhost_test", vec![], soon()).await.expect("reads");
    assert_eq!(rows.rows, [[id, Value::Timestamp(5), Value::Boolean(false)]]);
    db.close().await;
    let changed = open(&[CHANGED]).await.map(drop).expect_err("changed");
    assert!(codes::MIGRATION_CHANGED.is(&changed), "{changed}");
}

#[tokio::test]
async fn the_authorizer_is_a_second_wall() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(&folder).await;
    let conn = Conn::open(&db.config.path, Role::Writer).expect("opens");
    for sql in [
        "CREATE TABLE x (a TEXT)",
        "DROP TABLE _airhost_migrations",
        "PRAGMA journal_mode = DELETE",
        "ATTACH 'x' AS y",
        "SELECT name FROM _airhost_migrations",
        "SELECT name FROM sqlite_schema",
        "DELETE FROM _airhost_idempotency",
        "INSERT INTO _airhost_idempotency (request) VALUES ('x')",
        "SELECT load_extension('x')",
        "COMMIT",
        "VACUUM INTO 'x'",
        "ANALYZE",
    ] {
        let armed = conn.arm_guest();
        let run = conn.db.execute_batch(sql);
        drop(armed);
        assert!(run.is_err(), "{sql}");
    }
    // Even the engine itself attaches nothing and rewrites no schema.
    assert!(conn.db.execute_batch("ATTACH 'x' AS y").is_err());
    assert!(
        conn.db.execute_batch("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema").is_err()
    );
    let setting = |pragma: &str| {
        conn.db.query_row(pragma, [], |row| row.get::<_, i64>(0)).expect("a setting")
    };
    assert_eq!(setting("PRAGMA synchronous"), 2, "FULL");
    assert_eq!(setting("PRAGMA foreign_keys"), 1);
    assert_eq!(setting("PRAGMA trusted_schema"), 0);
    let mode: String =
        conn.db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_writes_share_a_commit_and_a_deferred_constraint_harms_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Arc::new(open(&folder).await);
    let schema = "CREATE TABLE parent (id bigint PRIMARY KEY);
        CREATE TABLE child (id bigint PRIMARY KEY,
            parent bigint REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)";
    db.migrate(&[migration(schema)], false).await.expect("migrates");
    let holder = db.begin(Access::Write, soon()).await.expect("begins");
    holder.execute("INSERT INTO parent (id) VALUES (1)", vec![]).await.expect("inserts");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40_i64 {
        let db = Arc::clone(&db);
        tasks.spawn(async move {
            let parent = if n == 20 { 2 } else { 1 };
            let params = vec![Value::Bigint(n), Value::Bigint(parent)];
            let insert = "INSERT INTO child (id, parent) VALUES ($1, $2)";
            (n, db.execute(insert, params, soon()).await)
        });
    }
    // All of them wait for the transaction, so they are committed together.
    while db.jobs.capacity() > db.jobs.max_capacity() - 40 {
        tokio::task::yield_now().await;
    }
    holder.commit().await.expect("commits");
    while let Some(done) = tasks.join_next().await {
        match done.expect("no panic") {
            (20, Err(error)) => assert!(codes::SQL_FOREIGN_KEY_VIOLATION.is(&error), "{error}"),
            (n, result) => assert_eq!(result, Ok(1), "{n}"),
        }
    }
    assert_eq!(count(&*db, "SELECT count(*) FROM child").await, 39);
}

#[tokio::test]
async fn the_command_line_reads_beside_a_running_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(&folder).await;
    db.migrate(&[migration("CREATE TABLE t (a boolean)")], false).await.expect("migrates");
    db.execute("INSERT INTO t (a) VALUES (TRUE)", vec![], soon()).await.expect("inserts");
    let read = |sql| read_only_query(&db.config.path, sql, soon());
    assert_eq!(read("SELECT a FROM t").expect("reads").rows, [[Value::Boolean(true)]]);
    let history = read("SELECT name FROM _airhost_migrations").expect("reads");
    assert_eq!(history.rows, [[Value::Text("0001_test".to_owned())]]);
    for sql in ["DELETE FROM t", "DROP TABLE t", "PRAGMA x"] {
        assert!(codes::SQL_NOT_ALLOWED.is(&read(sql).expect_err(sql)), "{sql}");
    }
    let missing = read_only_query(&folder.path().join("none"), "SELECT 1", soon());
    assert!(codes::SQL_UNAVAILABLE.is(&missing.expect_err("no such file")));
}

#[tokio::test]
async fn a_damaged_file_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db.sqlite");
    fs::write(&path, vec![7; 8_192]).expect("writes");
    let opened = Sqlite::open(SqliteConfig::new(&path)).await.map(drop);
    assert!(codes::SQL_UNAVAILABLE.is(&opened.expect_err("damaged")));
}

#[tokio::test]
async fn a_long_read_leaves_the_callers_thread() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = open(&folder).await;
    // On this one thread the ticks go on only if the read is elsewhere.
    let statement =
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000)
        SELECT count(*) FROM c";
    let mut ticks = 0;
    let long = db.query(statement, vec![], soon());
    tokio::pin!(long);
    let rows = loop {
        tokio::select! {
            biased;
            rows = &mut long => break rows.expect("counts"),
            () = tokio::time::sleep(Duration::from_millis(1)) => ticks += 1,
        }
    };
    assert_eq!(rows.rows, [[Value::Bigint(3_000_000)]]);
    assert!(ticks > 5, "{ticks}");
}

const CHILD: &str = "AIRHOST_STORAGE_DURABILITY_CHILD";

/// The process that is killed: writes as fast as it can and says what was acknowledged. Does
/// nothing unless it is started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durability_child() {
    use std::io::Write;
    let Ok(path) = std::env::var(CHILD) else { return };
    let db = Arc::new(Sqlite::open(SqliteConfig::new(path)).await.expect("opens"));
    let schema = "CREATE TABLE single (id text PRIMARY KEY);
        CREATE TABLE pair (id text PRIMARY KEY, half bigint NOT NULL)";
    db.migrate(&[migration(schema)], false).await.expect("migrates");
    let acknowledge = |id: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nack {id}").and_then(|()| out.flush()).expect("the parent reads");
    };
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let db = Arc::clone(&db);
        tasks.spawn(async move {
            for n in 0_u64.. {
                let id = format!("{}-{writer}-{n}", std::process::id());
                if writer % 2 == 0 {
                    let insert = "INSERT INTO single (id) VALUES ($1)";
                    let params = vec![Value::Text(id.clone())];
                    db.execute(insert, params, soon()).await.expect("inserts");
                } else {
                    let tx = db.begin(Access::Write, soon()).await.expect("begins");
                    for half in 0..2 {
                        let insert = "INSERT INTO pair (id, half) VALUES ($1, $2)";
                        let key = Value::Text(format!("{id}/{half}"));
                        tx.execute(insert, vec![key, Value::Bigint(half)]).await.expect("inserts");
                    }
                    tx.commit().await.expect("commits");
                }
                acknowledge(&id);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db.sqlite");
    let mut acknowledged = Vec::new();
    let mut random = 12_345_u64;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "sql::sqlite::tests::durability_child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Killed at once after so many acknowledgements, in whatever it is doing then.
        let stop_after =
            acknowledged.len() + 1 + usize::try_from(random >> 33).expect("fits") % 150;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut killed = false;
        while let Some(Ok(line)) = lines.next() {
            if let Some(id) = line.strip_prefix("ack ") {
                acknowledged.push(id.to_owned());
            }
            if !killed && acknowledged.len() >= stop_after {
                child.kill().expect("kills");
                killed = true;
            }
        }
        assert!(killed, "the child ended by itself in round {round}");
        child.wait().expect("is gone");
        // The last line may have been cut short by the kill.
        let db = Sqlite::open(SqliteConfig::new(&path)).await.expect("opens");
        for id in &acknowledged {
            let writer: u64 =
                id.split('-').nth(1).and_then(|writer| writer.parse().ok()).expect("an id");
            let (statement, expected) = if writer.is_multiple_of(2) {
                ("SELECT count(*) FROM single WHERE id = $1", 1)
            } else {
                ("SELECT count(*) FROM pair WHERE id IN ($1 || '/0', $1 || '/1')", 2)
            };
            let params = vec![Value::Text(id.clone())];
            let rows = db.query(statement, params, soon()).await.expect("reads").rows;
            assert_eq!(rows, [[Value::Bigint(expected)]], "{id} was acknowledged");
        }
        let halves = "SELECT count(*) FROM pair WHERE half = ";
        let [first, second] =
            [count(&db, &format!("{halves}0")).await, count(&db, &format!("{halves}1")).await];
        assert_eq!(first, second, "half a transaction");
        db.close().await;
    }
    assert!(acknowledged.len() > 8);
}
