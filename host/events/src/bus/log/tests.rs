use std::time::Duration;

use super::*;
use crate::testing::{envelope, number};

async fn open(folder: &Path, change: impl FnOnce(&mut LogConfig)) -> Log {
    let mut config = LogConfig::new(folder.join("bus.db"));
    change(&mut config);
    Log::open(config).await.expect("a log")
}

fn numbers(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| number(&record.event)).collect()
}

fn topics(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_group_goes_on_where_it_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    {
        let log = open(folder.path(), |_| {}).await;
        let events: Vec<_> = (0..5).map(|n| envelope("a", "k", n)).collect();
        log.append(&events).await.expect("appended");
        // What a relay sends twice is there once.
        log.append(&events[3..]).await.expect("appended");
        let mut reader = log.subscribe("g", &topics(&["a"])).await.expect("subscribed");
        let limit = FetchLimit { events: 3, bytes: usize::MAX };
        assert_eq!(numbers(&reader.fetch(limit).await.expect("fetched")), [0, 1, 2]);
        reader.commit().await.expect("committed");
        assert_eq!(numbers(&reader.fetch(limit).await.expect("fetched")), [3, 4]);
    }
    let log = open(folder.path(), |_| {}).await;
    let mut reader = log.subscribe("g", &topics(&["a"])).await.expect("subscribed");
    assert_eq!(numbers(&reader.fetch(FetchLimit::BATCH).await.expect("fetched")), [3, 4]);
    let groups = log.groups().await.expect("groups");
    assert_eq!((groups[0].group.as_str(), groups[0].position, groups[0].lag), ("g", 3, 2));
}

#[tokio::test]
async fn topics_are_merged_and_a_new_one_begins_at_its_oldest_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), |_| {}).await;
    for n in 0..6 {
        let topic = if n % 2 == 0 { "even" } else { "odd" };
        log.append(&[envelope(topic, "k", n)]).await.expect("appended");
    }
    let mut reader = log.subscribe("g", &topics(&["even"])).await.expect("subscribed");
    assert_eq!(numbers(&reader.fetch(FetchLimit::BATCH).await.expect("fetched")), [0, 2, 4]);
    reader.commit().await.expect("committed");
    log.append(&[envelope("even", "k", 6)]).await.expect("appended");
    let mut reader = log.subscribe("g", &topics(&["even", "odd"])).await.expect("subscribed");
    assert_eq!(numbers(&reader.fetch(FetchLimit::BATCH).await.expect("fetched")), [1, 3, 5, 6]);
    let info = log.topics().await.expect("topics");
    assert_eq!(info[0], TopicInfo { topic: "even".into(), events: 4, first: 1, last: 7 });
    assert_eq!(numbers(&log.tail(&topics(&["odd"]), None, 2).await.expect("tail")), [3, 5]);
    assert_eq!(numbers(&log.tail(&[], Some(5), 10).await.expect("tail")), [5, 6]);
    assert!(log.tail(&topics(&["none"]), None, 2).await.expect("tail").is_empty());
}

#[tokio::test]
async fn a_reader_waits_for_the_next_event_and_takes_no_more_bytes_than_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), |_| {}).await;
    let mut reader = log.subscribe("g", &topics(&["a"])).await.expect("subscribed");
    let nothing = tokio::time::timeout(Duration::from_millis(20), reader.fetch(FetchLimit::BATCH));
    assert!(nothing.await.is_err());
    let writer = log.clone();
    let appended = tokio::spawn(async move {
        writer.append(&[envelope("a", "k", 1), envelope("a", "k", 2)]).await
    });
    let limit = FetchLimit { events: 100, bytes: 1 };
    assert_eq!(numbers(&reader.fetch(limit).await.expect("fetched")), [1]);
    assert_eq!(numbers(&reader.fetch(limit).await.expect("fetched")), [2]);
    appended.await.expect("ends").expect("appended");
}

#[tokio::test]
async fn appends_at_the_same_time_all_arrive_in_the_order_of_each_sender() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), |_| {}).await;
    let senders = (0..8_u64).map(|sender| {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                log.append(&[envelope("a", &sender.to_string(), n)]).await.expect("appended");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("ends");
    }
    let all = log.tail(&[], Some(0), 1_000).await.expect("tail");
    assert_eq!(all.len(), 160);
    for sender in 0..8_u64 {
        let of_sender: Vec<_> =
            all.iter().filter(|r| r.event.subject == sender.to_string()).cloned().collect();
        assert_eq!(numbers(&of_sender), (0..20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn retention_removes_what_is_old_and_read_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), |config| config.retention = Duration::ZERO).await;
    let mut reader = log.subscribe("g", &topics(&["read"])).await.expect("subscribed");
    for n in 0..3 {
        log.append(&[envelope("read", "k", n), envelope("unheard", "k", n)])
            .await
            .expect("appended");
    }
    let limit = FetchLimit { events: 2, bytes: usize::MAX };
    assert_eq!(reader.fetch(limit).await.expect("fetched").len(), 2);
    reader.commit().await.expect("committed");
    assert_eq!(log.sweep().await.expect("swept"), 5, "two that were read, three nobody reads");
    assert_eq!(numbers(&log.tail(&[], Some(0), 10).await.expect("tail")), [2]);
    // A place is never given twice.
    log.forget("g").await.expect("forgotten");
    assert_eq!(log.sweep().await.expect("swept"), 1);
    log.append(&[envelope("read", "k", 9)]).await.expect("appended");
    assert_eq!(log.tail(&[], Some(0), 10).await.expect("tail")[0].position, 7);
}

#[tokio::test]
async fn a_full_log_refuses_events_until_groups_have_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(folder.path(), |config| config.max_bytes = 100 * 1024).await;
    let mut reader = log.subscribe("g", &topics(&["a"])).await.expect("subscribed");
    let mut appended = 0_usize;
    let error = loop {
        let events: Vec<_> = (0..20).map(|n| envelope("a", "k", n)).collect();
        match log.append(&events).await {
            Ok(()) => appended += events.len(),
            Err(error) => break error,
        }
        assert!(appended < 10_000, "never full");
    };
    assert_eq!(error.code, "events.unavailable");
    assert_eq!(log.sweep().await.expect("swept"), 0, "nothing unread is removed");
    let limit = FetchLimit { events: 10_000, bytes: usize::MAX };
    assert_eq!(reader.fetch(limit).await.expect("fetched").len(), appended);
    reader.commit().await.expect("committed");
    assert!(log.sweep().await.expect("swept") > 0);
    log.append(&[envelope("a", "k", 1)]).await.expect("there is room again");
}

#[tokio::test]
async fn the_file_is_the_owners_and_a_newer_format_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path(), |_| {}).await);
    let path = folder.path().join("bus.db");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Connection::open(&path).expect("opened").execute_batch("PRAGMA user_version = 9").expect("set");
    let error = Log::open(LogConfig::new(path)).await.expect_err("refused");
    assert_eq!(error.code, "events.unavailable");
}
