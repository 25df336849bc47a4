use std::collections::{BTreeSet, HashMap};

use airhost_core::codes;
use airhost_storage::sql::Transaction;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::{
    DeadLetters, Delivery, Outcome,
    bus::Log,
    testing::{Plug, Plugged, database, envelope, eventually, log, number, service, soon},
};

const TOPIC: &str = "numbers";

type Script = Box<dyn Fn(&Delivery) -> Result<Outcome> + Send + Sync>;

/// Writes one row for each event it acknowledges, and does what its script says.
struct Handler {
    script: Script,
    seen: Mutex<Vec<(String, i64, u32)>>,
}

impl Handler {
    fn new(script: impl Fn(&Delivery) -> Result<Outcome> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), seen: Mutex::default() })
    }
}

#[async_trait]
impl Deliver for Handler {
    async fn deliver(
        &self,
        _: &ServiceName,
        batch: Vec<Delivery>,
        tx: Option<Arc<dyn Transaction>>,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for delivery in batch {
            let (subject, number) = (delivery.event.subject.clone(), number(&delivery.event));
            self.seen.lock().push((subject.clone(), number, delivery.attempt));
            let outcome = (self.script)(&delivery)?;
            if let (Some(tx), Outcome::Ack) = (&tx, &outcome) {
                let sql = "INSERT INTO effects (place, subject, number)
                    VALUES ((SELECT coalesce(max(place), 0) + 1 FROM effects), $1, $2)";
                tx.execute(sql, vec![Value::Text(subject), Value::Bigint(number)]).await?;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}

fn config(mode: Mode, max_attempts: u32) -> ConsumerConfig {
    let topics = BTreeMap::from([(TOPIC.to_owned(), TopicRule { mode, max_attempts })]);
    ConsumerConfig {
        backoff: Backoff::new(Duration::from_millis(2), Duration::from_millis(4)),
        pause: Backoff::new(Duration::from_millis(2), Duration::from_millis(4)),
        ..ConsumerConfig::new(topics)
    }
}

async fn effects(database: &dyn Database) -> Vec<(String, i64)> {
    let sql = "SELECT subject, number FROM effects ORDER BY place";
    let rows = database.query(sql, Vec::new(), soon()).await.expect("effects").rows;
    let read = |row: Vec<Value>| match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(subject), Value::Bigint(number)]) => (subject, number),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(read).collect()
}

async fn count(database: &dyn Database, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let rows = database.host_query(&sql, Vec::new(), soon()).await.expect("a count").rows;
    match rows[0][0] {
        Value::Bigint(count) => count,
        ref other => panic!("{other:?}"),
    }
}

async fn lag(bus: &Log) -> u64 {
    bus.groups().await.expect("groups").iter().map(|group| group.lag).sum()
}

/// Appends `each` events for each subject, taking turns.
async fn append(bus: &Log, subjects: &[&str], each: u64) {
    let events: Vec<_> = (1..=each)
        .flat_map(|number| subjects.iter().map(move |subject| envelope(TOPIC, subject, number)))
        .collect();
    bus.append(&events).await.expect("appended");
}

fn by_subject(effects: &[(String, i64)]) -> HashMap<&str, Vec<i64>> {
    let mut found: HashMap<&str, Vec<i64>> = HashMap::new();
    for (subject, number) in effects {
        found.entry(subject).or_default().push(*number);
    }
    found
}

struct Started {
    control: ConsumerControl,
    task: tokio::task::JoinHandle<()>,
}

impl Started {
    async fn stop(self) {
        self.control.stop();
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .expect("stops")
            .expect("ends");
    }
}

fn start(
    config: ConsumerConfig,
    database: Arc<dyn Database>,
    bus: Arc<dyn Bus>,
    handler: Arc<Handler>,
) -> Started {
    let (consumer, control) = Consumer::new(service(), config, database, bus, handler);
    Started { control, task: tokio::spawn(consumer.run()) }
}

#[tokio::test]
async fn events_are_consumed_once_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    append(&bus, &["a", "b", "c"], 100).await;
    let handler = Handler::new(|_| Ok(Outcome::Ack));
    let started =
        start(config(Mode::ExactlyOnce, 3), Arc::clone(&database), Arc::new(bus.clone()), handler);
    eventually("all are consumed", async || {
        lag(&bus).await == 0 && started.control.status().done == 300
    })
    .await;
    started.stop().await;
    for (subject, numbers) in by_subject(&effects(database.as_ref()).await) {
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>(), "{subject}");
    }
}

#[tokio::test]
async fn a_failing_key_blocks_only_itself_until_it_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    // Three batches: what follows in a later one must wait too.
    append(&bus, &["good", "bad", "fine"], 80).await;
    let handler = Handler::new(|delivery| {
        if delivery.event.subject == "bad" && number(&delivery.event) == 5 {
            return Err(codes::GUEST_TRAP.error("it trapped"));
        }
        Ok(Outcome::Ack)
    });
    let started = start(
        config(Mode::ExactlyOnce, 4),
        Arc::clone(&database),
        Arc::new(bus.clone()),
        Arc::clone(&handler),
    );
    let letters = DeadLetters::new(service(), Arc::clone(&database), Some(started.control.clone()));
    eventually("all but one are done", async || started.control.status().done == 239).await;
    let found = letters.list(None, 10, soon()).await.expect("letters");
    let [letter] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((number(&letter.event), letter.attempts), (5, 4));
    assert!(letter.reason.contains("it trapped"), "{}", letter.reason);

    let done = effects(database.as_ref()).await;
    let found = by_subject(&done);
    let expected: Vec<i64> = (1..=80).collect();
    assert_eq!(found["good"], expected);
    assert_eq!(found["fine"], expected);
    let without: Vec<i64> = (1..=80).filter(|number| *number != 5).collect();
    assert_eq!(found["bad"], without);
    let alone = handler
        .seen
        .lock()
        .iter()
        .filter(|seen| seen.0 == "bad" && seen.1 == 5)
        .map(|seen| seen.2)
        .max();
    assert_eq!(alone, Some(4), "attempts are counted");
    assert_eq!(count(database.as_ref(), "_airhost_parked").await, 0);
    // The log is told what is done after it is counted.
    eventually("the log is told", async || lag(&bus).await == 0).await;
    started.stop().await;
}

#[tokio::test]
async fn a_dead_letter_can_be_put_back_or_thrown_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    append(&bus, &["a"], 2).await;
    let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let handler = Handler::new(move |_| {
        if is_mended.load(std::sync::atomic::Ordering::SeqCst) {
            Ok(Outcome::Ack)
        } else {
            Ok(Outcome::Dead("cannot be read".into()))
        }
    });
    let started =
        start(config(Mode::ExactlyOnce, 3), Arc::clone(&database), Arc::new(bus.clone()), handler);
    eventually("both are dead", async || started.control.status().dead == 2).await;
    mended.store(true, std::sync::atomic::Ordering::SeqCst);
    let letters = DeadLetters::new(service(), Arc::clone(&database), Some(started.control.clone()));
    let found = letters.list(None, 10, soon()).await.expect("letters");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].reason, "cannot be read");
    let (first, second) = (found[0].event.id, found[1].event.id);
    assert!(letters.replay(first, soon()).await.expect("put back"));
    assert!(!letters.replay(first, soon()).await.expect("it is gone"));
    eventually("it is consumed", async || effects(database.as_ref()).await.len() == 1).await;
    assert!(letters.discard(second, soon()).await.expect("thrown away"));
    assert!(letters.list(None, 10, soon()).await.expect("letters").is_empty());
    started.stop().await;
}

#[tokio::test]
async fn what_is_not_the_events_fault_counts_no_try() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    append(&bus, &["a"], 3).await;
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = Handler::new(move |_| {
        if counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 8 {
            Err(codes::GUEST_NO_REVISION.error("nothing is deployed"))
        } else {
            Ok(Outcome::Ack)
        }
    });
    // With one attempt, anything counted would be dead.
    let started =
        start(config(Mode::ExactlyOnce, 1), Arc::clone(&database), Arc::new(bus.clone()), handler);
    eventually("all are done", async || started.control.status().done == 3).await;
    assert_eq!(started.control.status().dead, 0);
    assert!(started.control.status().last_error.is_some());
    started.stop().await;
}

#[tokio::test]
async fn a_paused_consumer_delivers_nothing_until_it_is_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    let handler = Handler::new(|_| Ok(Outcome::Ack));
    let started =
        start(config(Mode::ExactlyOnce, 1), database, Arc::new(bus.clone()), Arc::clone(&handler));
    started.control.pause();
    append(&bus, &["a"], 3).await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(started.control.status().paused);
    assert!(handler.seen.lock().is_empty());
    started.control.resume();
    eventually("all are done", async || started.control.status().done == 3).await;
    started.stop().await;
}

#[tokio::test]
async fn without_a_transaction_only_what_failed_comes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    append(&bus, &["a", "b"], 3).await;
    let handler = Handler::new(|delivery| {
        let failing = delivery.event.subject == "a" && number(&delivery.event) == 2;
        if failing && delivery.attempt < 3 { Ok(Outcome::Retry(None)) } else { Ok(Outcome::Ack) }
    });
    let started = start(
        config(Mode::AtLeastOnce, 5),
        Arc::clone(&database),
        Arc::new(bus.clone()),
        Arc::clone(&handler),
    );
    eventually("all are done", async || started.control.status().done == 6).await;
    let seen = handler.seen.lock().clone();
    assert_eq!(seen.iter().filter(|seen| seen.0 == "b").count(), 3, "{seen:?}");
    assert_eq!(seen.iter().filter(|seen| seen.0 == "a" && seen.1 == 2).count(), 3, "{seen:?}");
    started.stop().await;
}

/// The plug is pulled at every step of a run with a trap, a retry and an event given up in it;
/// after a restart nothing may be lost, doubled or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_wherever_the_power_fails() {
    let mut pulled_at = 0;
    for at in 0.. {
        let mut any = false;
        for after in [false, true] {
            any |= crash_at(at, after).await;
        }
        if !any {
            break;
        }
        pulled_at = at;
    }
    assert!(pulled_at > 15, "the run has more steps than {pulled_at}");
}

/// Answers whether the run came as far as the step.
async fn crash_at(at: usize, after: bool) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    append(&bus, &["a", "b", "dead"], 2).await;
    let plug = Plug::new(at, after);
    let plugged: Arc<dyn Database> =
        Arc::new(Plugged { inner: Arc::clone(&database), plug: Arc::clone(&plug) });
    let plugged_bus: Arc<dyn Bus> = Arc::new(Plugged::<dyn Bus> {
        inner: Arc::new(bus.clone()) as Arc<dyn Bus>,
        plug: Arc::clone(&plug),
    });
    let script = |delivery: &Delivery| match delivery.event.subject.as_str() {
        "dead" if number(&delivery.event) == 1 => Ok(Outcome::Dead("no".into())),
        "a" if number(&delivery.event) == 1 && delivery.attempt == 1 => {
            Err(codes::GUEST_TRAP.error("once"))
        }
        _ => Ok(Outcome::Ack),
    };
    let all_done = async || {
        let database = database.as_ref();
        lag(&bus).await == 0
            && effects(database).await.len() >= 5
            && count(database, "_airhost_parked").await == 0
            && count(database, "_airhost_dead_letters").await == 1
    };
    let first = start(config(Mode::ExactlyOnce, 3), plugged, plugged_bus, Handler::new(script));
    eventually("the first run ends", async || plug.is_pulled() || all_done().await).await;
    // A crash: nothing is finished.
    first.task.abort();
    drop(first.task.await);

    let second = start(
        config(Mode::ExactlyOnce, 3),
        Arc::clone(&database),
        Arc::new(bus.clone()),
        Handler::new(script),
    );
    eventually("the second run ends", all_done).await;
    second.stop().await;
    let done = effects(database.as_ref()).await;
    let found = by_subject(&done);
    let shown = format!("at {at}, after {after}: {done:?}");
    assert_eq!(found["a"], [1, 2], "{shown}");
    assert_eq!(found["b"], [1, 2], "{shown}");
    assert_eq!(found["dead"], [2], "{shown}");
    let subjects: BTreeSet<_> = found.keys().copied().collect();
    assert_eq!(subjects, BTreeSet::from(["a", "b", "dead"]), "{shown}");
    plug.is_pulled()
}
