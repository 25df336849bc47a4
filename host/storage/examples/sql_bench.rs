//! How many operations a second the embedded database does: `cargo run --release --example
//! sql_bench -p airhost-storage [folder]`. The folder should be on the disk that is measured.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use airhost_core::{Deadline, Error, Result};
use airhost_storage::sql::{Access, Database, Migration, Phase, Sqlite, SqliteConfig, Value};
use tokio::time::Instant;

/// How long each case runs.
const LASTS: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("sql_bench-{}.sqlite", std::process::id()));
    let db: Arc<dyn Database> = Arc::new(Sqlite::open(SqliteConfig::new(&path)).await?);
    let schema = Migration {
        name: "0001_bench".to_owned(),
        phase: Phase::Expand,
        sql: "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, hits bigint NOT NULL)"
            .to_owned(),
    };
    db.migrate(&[schema], false).await?;
    let fill = "INSERT INTO items (id, name, hits)
        WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10000)
        SELECT n, 'an item of the list', 0 FROM c";
    db.execute(fill, vec![], soon()).await?;

    measure("point query, 1 reader", 1, &db, point_query).await?;
    measure("point query, 8 readers", 8, &db, point_query).await?;
    measure("autocommit write, 1 writer", 1, &db, write).await?;
    measure("autocommit write, 64 writers", 64, &db, write).await?;
    measure("transaction of 3 writes, 1 writer", 1, &db, transaction).await?;
    measure("transaction of 3 writes, 64 writers", 64, &db, transaction).await?;
    db.close().await;
    for ending in ["", "-wal", "-shm"] {
        // What is not there need not be removed.
        drop(std::fs::remove_file(format!("{}{ending}", path.display())));
    }
    Ok(())
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

async fn measure<F, W>(name: &str, tasks: u64, db: &Arc<dyn Database>, work: F) -> Result<()>
where
    F: Fn(Arc<dyn Database>, i64) -> W + Copy + Send + 'static,
    W: Future<Output = Result<()>> + Send,
{
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let db = Arc::clone(db);
        running.spawn(async move {
            let mut done = 0_u64;
            let mut id = i64::try_from(task).unwrap_or_default();
            while start.elapsed() < LASTS {
                id = (id * 31 + 7) % 10_000;
                work(Arc::clone(&db), id + 1).await?;
                done += 1;
            }
            Ok::<u64, Error>(done)
        });
    }
    let mut total = 0;
    while let Some(done) = running.join_next().await {
        total += done.unwrap_or(Ok(0))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!("{name:<40} {rate:>10.0}/s");
    Ok(())
}

async fn point_query(db: Arc<dyn Database>, id: i64) -> Result<()> {
    let statement = "SELECT name, hits FROM items WHERE id = $1";
    db.query(statement, vec![Value::Bigint(id)], soon()).await.map(drop)
}

const WRITE: &str = "UPDATE items SET hits = hits + 1 WHERE id = $1";

async fn write(db: Arc<dyn Database>, id: i64) -> Result<()> {
    db.execute(WRITE, vec![Value::Bigint(id)], soon()).await.map(drop)
}

async fn transaction(db: Arc<dyn Database>, id: i64) -> Result<()> {
    let tx = db.begin(Access::Write, soon()).await?;
    for offset in 0..3 {
        tx.execute(WRITE, vec![Value::Bigint((id + offset) % 10_000 + 1)]).await?;
    }
    tx.commit().await
}
