use airhost_core::Backoff;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    Bus,
    testing::{Plug, Plugged, context, database, event, eventually, log, number, outbox, soon},
};
use airhost_storage::sql::Access;

async fn numbers(bus: &dyn Bus) -> Vec<i64> {
    let records = bus.tail(&[], Some(0), 1_000).await.expect("events");
    records.iter().map(|record| number(&record.event)).collect()
}

#[tokio::test]
async fn an_event_exists_if_and_only_if_its_transaction_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, Arc::new(log(folder.path()).await));
    let outbox = outbox(Arc::clone(&database));
    let relay = Relay::new(outbox.clone(), bus.clone(), RelayConfig::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(relay.clone().run(stop.clone()));

    let tx = database.begin(Access::Write, soon()).await.expect("a transaction");
    outbox
        .publish(event("numbers", "a", 1), &context(), Some(tx.as_ref()))
        .await
        .expect("published");
    tx.rollback().await.expect("rolled back");
    let tx = database.begin(Access::Write, soon()).await.expect("a transaction");
    for number in 2..5 {
        let event = event("numbers", "a", number);
        outbox.publish(event, &context(), Some(tx.as_ref())).await.expect("published");
    }
    assert!(numbers(bus.as_ref()).await.is_empty());
    tx.commit().await.expect("committed");
    outbox.publish(event("letters", "a", 5), &context(), None).await.expect("published");
    eventually("all are sent", async || numbers(bus.as_ref()).await == [2, 3, 4, 5]).await;
    eventually("none waits", async || outbox.pending(soon()).await.expect("pending") == (0, None))
        .await;
    eventually("all are counted", async || relay.status().sent == 4).await;
    stop.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn a_topic_that_is_not_granted_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let outbox = outbox(database(folder.path()).await);
    let error =
        outbox.publish(event("other", "a", 1), &context(), None).await.expect_err("refused");
    assert_eq!(error.code, "events.topic-denied");
    assert_eq!(outbox.pending(soon()).await.expect("pending").0, 0);
}

#[tokio::test]
async fn what_the_bus_refuses_waits_and_is_sent_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
    let outbox = outbox(database);
    for number in 0..7 {
        outbox.publish(event("numbers", "a", number), &context(), None).await.expect("published");
    }
    let plugged: Arc<dyn Bus> =
        Arc::new(Plugged::<dyn Bus> { inner: Arc::new(bus.clone()), plug: Plug::new(0, false) });
    let refused = Relay::new(outbox.clone(), plugged, RelayConfig::default());
    assert!(refused.send_batch().await.is_err());
    assert_eq!(outbox.pending(soon()).await.expect("pending").0, 7);

    let config = RelayConfig {
        batch: 3,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(2)),
        ..RelayConfig::default()
    };
    let relay = Relay::new(outbox.clone(), Arc::new(bus.clone()), config);
    while relay.send_batch().await.expect("sent") > 0 {}
    assert_eq!(numbers(&bus).await, (0..7).collect::<Vec<_>>());
}

/// Wherever a relay dies, the bus holds each event once and in order after the next one ran.
#[tokio::test]
async fn a_relay_that_dies_loses_and_doubles_nothing() {
    for at in 0.. {
        let mut any = false;
        for after in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let (database, bus) = (database(folder.path()).await, log(folder.path()).await);
            let plug = Plug::new(at, after);
            let good = outbox(Arc::clone(&database));
            for number in 0..4 {
                good.publish(event("numbers", "a", number), &context(), None)
                    .await
                    .expect("published");
            }
            let dying = outbox(Arc::new(Plugged { inner: database, plug: Arc::clone(&plug) }));
            let bus_of_dying: Arc<dyn Bus> = Arc::new(Plugged::<dyn Bus> {
                inner: Arc::new(bus.clone()),
                plug: Arc::clone(&plug),
            });
            let config = RelayConfig { batch: 3, ..RelayConfig::default() };
            let first = Relay::new(dying, bus_of_dying, config);
            while let Ok(1..) = first.send_batch().await {}
            any |= plug.is_pulled();

            let second = Relay::new(good.clone(), Arc::new(bus.clone()), config);
            while second.send_batch().await.expect("sent") > 0 {}
            assert_eq!(numbers(&bus).await, [0, 1, 2, 3], "at {at}, after {after}");
            assert_eq!(good.pending(soon()).await.expect("pending").0, 0);
        }
        if !any {
            assert!(at > 5, "the run has more steps than {at}");
            break;
        }
    }
}
