//! Transactions, waiting and giving up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use airhost_core::{Deadline, codes};

use super::sql::{assert_code, execute, migrate, one, soon, text};
use crate::sql::{Access, Database, Value};

pub(super) const CASES: usize = 9;

pub(super) async fn run(case: usize, db: Arc<dyn Database>) {
    migrate(&*db, "CREATE TABLE notes (id bigint PRIMARY KEY, note text)").await;
    match case {
        0 => commit_and_rollback(&*db).await,
        1 => a_read_sees_one_snapshot(&*db).await,
        2 => no_update_is_lost(db).await,
        3 => a_forgotten_transaction_expires(&*db).await,
        4 => waiting_for_a_turn_ends(&*db).await,
        5 => a_deadline_stops_a_statement(&*db).await,
        6 => dropping_a_future_stops_its_statement(db).await,
        7 => a_failed_statement_leaves_the_transaction(&*db).await,
        _ => single_writes_do_not_harm_each_other(db).await,
    }
}

const COUNT: &str = "SELECT count(*) FROM notes";
const INSERT: &str = "INSERT INTO notes (id, note) VALUES ($1, 'x')";
/// Runs for hours.
const ENDLESS: &str =
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000000000)
    SELECT count(*) FROM c";
const ENDLESS_WRITE: &str = "INSERT INTO notes (id)
    WITH RECURSIVE c (n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM c WHERE n < 100000000000)
    SELECT n FROM c";

fn id(id: i64) -> Vec<Value> {
    vec![Value::Bigint(id)]
}

async fn commit_and_rollback(db: &dyn Database) {
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = || {
        let woken = Arc::clone(&woken);
        Arc::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        })
    };
    let tx = db.begin(Access::Write, soon()).await.expect("begins");
    assert_eq!(tx.access(), Access::Write);
    assert_eq!(tx.execute(INSERT, id(1)).await, Ok(1));
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(0), "not seen outside yet");
    assert_eq!(tx.query(COUNT, vec![]).await.expect("counts").rows, [id(1)]);
    tx.on_commit(wake());
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    tx.commit().await.expect("commits");
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(1));
    assert_code(tx.execute(INSERT, id(2)).await, &codes::TX_CLOSED, "execute after commit");
    assert_code(tx.commit().await, &codes::TX_CLOSED, "commit after commit");
    assert_code(tx.rollback().await, &codes::TX_CLOSED, "rollback after commit");

    let tx = db.begin(Access::Write, soon()).await.expect("begins");
    tx.execute(INSERT, id(2)).await.expect("inserts");
    tx.on_commit(wake());
    tx.rollback().await.expect("rolls back");
    assert_code(tx.query(COUNT, vec![]).await, &codes::TX_CLOSED, "query after rollback");

    let tx = db.begin(Access::Write, soon()).await.expect("begins");
    tx.execute(INSERT, id(3)).await.expect("inserts");
    tx.on_commit(wake());
    drop(tx);
    assert_eq!(execute(db, INSERT, id(4)).await, 1);
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(2));
    assert_eq!(woken.load(Ordering::SeqCst), 1, "a rollback wakes nobody");
}

async fn a_read_sees_one_snapshot(db: &dyn Database) {
    let tx = db.begin(Access::Read, soon()).await.expect("begins");
    assert_eq!(tx.access(), Access::Read);
    execute(db, INSERT, id(1)).await;
    assert_eq!(tx.query(COUNT, vec![]).await.expect("counts").rows, [id(0)]);
    execute(db, INSERT, id(2)).await;
    assert_eq!(tx.query(COUNT, vec![]).await.expect("counts").rows, [id(0)]);
    assert_code(tx.execute(INSERT, id(3)).await, &codes::TX_READ_ONLY, "a write");
    let write = "DELETE FROM notes RETURNING id";
    assert_code(tx.query(write, vec![]).await, &codes::TX_READ_ONLY, "a write with rows");
    tx.commit().await.expect("ends");
    assert_code(tx.query(COUNT, vec![]).await, &codes::TX_CLOSED, "a query after the end");
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(2));
}

async fn no_update_is_lost(db: Arc<dyn Database>) {
    execute(&*db, "INSERT INTO notes (id, note) VALUES (1, '0')", vec![]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let db = Arc::clone(&db);
        tasks.spawn(async move {
            let tx = db.begin(Access::Write, soon()).await.expect("begins");
            let rows =
                tx.query("SELECT note FROM notes WHERE id = 1", vec![]).await.expect("reads");
            let Some(Value::Text(note)) = rows.rows.first().and_then(|row| row.first()) else {
                panic!("{rows:?}");
            };
            let next = note.parse::<u64>().expect("a number") + 1;
            let update = "UPDATE notes SET note = $1 WHERE id = 1";
            tx.execute(update, vec![text(&next.to_string())]).await.expect("writes");
            tx.commit().await.expect("commits");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    assert_eq!(one(&*db, "SELECT note FROM notes", vec![]).await, text("20"));
}

async fn a_forgotten_transaction_expires(db: &dyn Database) {
    for access in [Access::Write, Access::Read] {
        let forgotten =
            db.begin(access, Deadline::after(Duration::from_millis(80))).await.expect("begins");
        if access == Access::Write {
            forgotten.execute(INSERT, id(1)).await.expect("inserts");
        }
        // Waits until the writer is free, which only the expiry makes it.
        let next = db.begin(Access::Write, soon()).await.expect("begins");
        next.rollback().await.expect("rolls back");
        tokio::time::sleep(Duration::from_millis(if access == Access::Read { 100 } else { 0 }))
            .await;
        assert_code(forgotten.query(COUNT, vec![]).await, &codes::TX_EXPIRED, "query");
        assert_code(forgotten.commit().await, &codes::TX_EXPIRED, "commit");
        assert_eq!(forgotten.rollback().await, Ok(()));
    }
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(0));
}

async fn waiting_for_a_turn_ends(db: &dyn Database) {
    let holder = db.begin(Access::Write, soon()).await.expect("begins");
    holder.execute(INSERT, id(1)).await.expect("inserts");
    let brief = || Deadline::after(Duration::from_millis(50));
    let begun = db.begin(Access::Write, brief()).await.map(drop);
    assert_code(begun, &codes::SQL_BUSY, "begin");
    assert_code(db.execute(INSERT, id(2), brief()).await, &codes::SQL_BUSY, "execute");
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(0), "reads do not wait");
    holder.commit().await.expect("commits");
    // What was given up did not happen afterwards.
    execute(db, INSERT, id(3)).await;
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(2));
}

async fn a_deadline_stops_a_statement(db: &dyn Database) {
    let brief = || Deadline::after(Duration::from_millis(60));
    assert_code(db.query(ENDLESS, vec![], brief()).await, &codes::DEADLINE_EXCEEDED, "query");
    assert_code(
        db.execute(ENDLESS_WRITE, vec![], brief()).await,
        &codes::DEADLINE_EXCEEDED,
        "execute",
    );
    let tx = db.begin(Access::Write, brief()).await.expect("begins");
    assert_code(tx.execute(ENDLESS_WRITE, vec![]).await, &codes::TX_EXPIRED, "in a transaction");
    assert_code(tx.commit().await, &codes::TX_EXPIRED, "its commit");
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(0));
    assert_eq!(execute(db, INSERT, id(1)).await, 1);
}

async fn dropping_a_future_stops_its_statement(db: Arc<dyn Database>) {
    let tx = db.begin(Access::Read, soon()).await.expect("begins");
    for _ in 0..8 {
        // More than there are connections: each must come back.
        let patience = Duration::from_millis(20);
        let query = tokio::time::timeout(patience, db.query(ENDLESS, vec![], soon())).await;
        assert!(query.is_err(), "not given up");
    }
    let write = db.execute(ENDLESS_WRITE, vec![], soon());
    assert!(tokio::time::timeout(Duration::from_millis(40), write).await.is_err());
    let read = tokio::time::timeout(Duration::from_millis(20), tx.query(ENDLESS, vec![])).await;
    assert!(read.is_err());
    let tx = db.begin(Access::Write, soon()).await.expect("begins");
    let write = tx.execute(ENDLESS_WRITE, vec![]);
    assert!(tokio::time::timeout(Duration::from_millis(40), write).await.is_err());
    drop(tx);
    assert_eq!(execute(&*db, INSERT, id(1)).await, 1);
    assert_eq!(one(&*db, COUNT, vec![]).await, Value::Bigint(1));
}

async fn a_failed_statement_leaves_the_transaction(db: &dyn Database) {
    let tx = db.begin(Access::Write, soon()).await.expect("begins");
    tx.execute(INSERT, id(1)).await.expect("inserts");
    assert_code(tx.execute(INSERT, id(1)).await, &codes::SQL_UNIQUE_VIOLATION, "again");
    assert_code(tx.query("SELECT nothing", vec![]).await, &codes::SQL_SYNTAX, "no such column");
    tx.execute(INSERT, id(2)).await.expect("goes on");
    tx.commit().await.expect("commits");
    assert_eq!(one(db, COUNT, vec![]).await, Value::Bigint(2));
}

/// Many at once, of which some fail or are stopped: the others are there, and only they.
async fn single_writes_do_not_harm_each_other(db: Arc<dyn Database>) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200_i64 {
        let db = Arc::clone(&db);
        tasks.spawn(async move {
            match n % 10 {
                7 => {
                    // Has the key of its neighbour, so that one of the two fails.
                    (n, db.execute(INSERT, id(n - 1), soon()).await.is_ok())
                }
                9 if n < 50 => {
                    let brief = Deadline::after(Duration::from_millis(30));
                    let endless = db.execute(ENDLESS_WRITE, vec![], brief).await;
                    assert!(endless.is_err());
                    (n, false)
                }
                _ => (n, db.execute(INSERT, id(n), soon()).await.is_ok()),
            }
        });
    }
    let mut acknowledged = 0;
    let mut failed = 0;
    while let Some(done) = tasks.join_next().await {
        match done.expect("no panic") {
            (_, true) => acknowledged += 1,
            (_, false) => failed += 1,
        }
    }
    assert_eq!(acknowledged + failed, 200);
    assert_eq!(failed, 20 + 5, "one of each pair, and the endless ones");
    assert_eq!(one(&*db, COUNT, vec![]).await, Value::Bigint(acknowledged));
}
