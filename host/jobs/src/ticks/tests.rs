use async_trait::async_trait;

use super::*;
use crate::testing::{Hands, database, eventually, service};

const MINUTE: i64 = 60_000_000;
const START: i64 = 1_000 * MINUTE;

type Script = Box<dyn Fn(usize) -> Result<()> + Send + Sync>;

struct Runner {
    script: Script,
    dues: Mutex<Vec<i64>>,
    stuck: bool,
}

impl Runner {
    fn new(script: impl Fn(usize) -> Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), dues: Mutex::default(), stuck: false })
    }

    fn stuck() -> Arc<Self> {
        Arc::new(Self { script: Box::new(|_| Ok(())), dues: Mutex::default(), stuck: true })
    }

    fn dues(&self) -> Vec<i64> {
        self.dues.lock().clone()
    }
}

#[async_trait]
impl Tick for Runner {
    async fn tick(&self, _: &ServiceName, name: &str, due: i64) -> Result<()> {
        assert_eq!(name, "cleanup");
        let run = {
            let mut dues = self.dues.lock();
            dues.push(due);
            dues.len()
        };
        if self.stuck {
            std::future::pending::<()>().await;
        }
        (self.script)(run)
    }
}

fn config(hands: &Hands) -> TicksConfig {
    let every_minute = Schedule::every(Duration::from_secs(60)).expect("a schedule");
    TicksConfig {
        every: Duration::from_millis(2),
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(2)),
        clock: hands.clock(),
        ..TicksConfig::new([("cleanup".to_owned(), every_minute)].into())
    }
}

struct Started {
    ticks: Ticks,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Started {
    fn new(config: TicksConfig, database: &Arc<dyn Database>, runner: Arc<Runner>) -> Self {
        let ticks = Ticks::new(service(), config, Arc::clone(database), runner);
        let stop = CancellationToken::new();
        Self { ticks: ticks.clone(), task: tokio::spawn(ticks.run(stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .expect("stops")
            .expect("ends");
    }
}

/// Lets loops look a few times.
async fn look() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}

#[tokio::test]
async fn each_due_time_runs_once_in_the_cluster_and_missed_ones_are_one_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hands, database) = (Hands::at(START + 1), database(folder.path()).await);
    let runner = Runner::new(|_| Ok(()));
    let nodes: Vec<_> =
        (0..3).map(|_| Started::new(config(&hands), &database, Arc::clone(&runner))).collect();
    look().await;
    assert!(runner.dues().is_empty(), "a new tick counts from now on");
    for minute in 1..4 {
        hands.advance(Duration::from_secs(60));
        let due = START + minute * MINUTE;
        eventually("it ticks", async || runner.dues().last() == Some(&due)).await;
        look().await;
    }
    assert_eq!(runner.dues(), [START + MINUTE, START + 2 * MINUTE, START + 3 * MINUTE]);
    for node in nodes {
        node.stop().await;
    }
    // Nobody is there for ten minutes.
    hands.advance(Duration::from_secs(600));
    let node = Started::new(config(&hands), &database, Arc::clone(&runner));
    eventually("it ticks", async || runner.dues().len() == 4).await;
    look().await;
    assert_eq!(runner.dues()[3..], [START + 13 * MINUTE]);
    node.stop().await;
}

#[tokio::test]
async fn a_tick_that_fails_is_tried_again_unless_that_cannot_help() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hands, database) = (Hands::at(START + 1), database(folder.path()).await);
    let runner = Runner::new(|run| match run {
        1 | 2 => Err(codes::CALL_OVERLOADED.error("busy")),
        4 => Err(codes::SQL_SYNTAX.error("wrong")),
        _ => Ok(()),
    });
    let node = Started::new(config(&hands), &database, Arc::clone(&runner));
    look().await;
    hands.advance(Duration::from_secs(60));
    eventually("it succeeds", async || {
        node.ticks.status().get("cleanup").is_some_and(|tick| tick.succeeded == 1)
    })
    .await;
    assert_eq!(runner.dues(), [START + MINUTE; 3]);
    hands.advance(Duration::from_secs(60));
    eventually("it fails", async || runner.dues().len() == 4).await;
    look().await;
    assert_eq!(runner.dues().len(), 4, "it waits for its next time");
    assert_eq!(node.ticks.status()["cleanup"].failed, 3);
    node.stop().await;
}

#[tokio::test]
async fn a_tick_never_overlaps_and_is_taken_over_from_a_node_that_died() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hands, database) = (Hands::at(START + 1), database(folder.path()).await);
    let stuck = Runner::stuck();
    let dying = Started::new(config(&hands), &database, Arc::clone(&stuck));
    look().await;
    hands.advance(Duration::from_secs(60));
    eventually("it runs", async || stuck.dues().len() == 1).await;
    let runner = Runner::new(|_| Ok(()));
    let mut impatient = config(&hands);
    impatient.lease = Duration::from_millis(20);
    let other = Started::new(impatient, &database, Arc::clone(&runner));
    look().await;
    assert!(runner.dues().is_empty(), "it runs already");
    dying.task.abort();
    drop(dying.task.await);
    hands.advance(Duration::from_secs(31));
    eventually("it is taken over", async || runner.dues() == [START + MINUTE]).await;
    other.stop().await;
}
