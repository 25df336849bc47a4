use std::path::Path;

use super::*;
use crate::testing::kv_conformance;

async fn open(config: MemoryConfig) -> Memory {
    Memory::open(config).await.expect("opens")
}

fn value(size: usize) -> Bytes {
    Bytes::from(vec![b'x'; size])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    kv_conformance(|| async {
        let store: Arc<dyn KeyValue> = Arc::new(open(MemoryConfig::default()).await);
        store
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expired_keys_are_swept_without_being_asked_for() {
    let clock = Clock::simulated(1_000_000);
    let store = open(MemoryConfig { clock, ..MemoryConfig::default() }).await;
    for n in 0..1_000 {
        let ttl = Some(Duration::from_millis(1_500));
        store.set(&format!("k{n}"), value(100), ttl).await.expect("sets");
    }
    store.set("kept", value(1), None).await.expect("sets");
    let full = store.bytes();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(store.bytes(), full);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(store.bytes() < 1_000, "{}", store.bytes());
    assert_eq!(store.scan("", None, 10).await, Ok(vec!["kept".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn buckets_refill_with_time() {
    let clock = Clock::simulated(1_000_000_000);
    let store = open(MemoryConfig { clock, ..MemoryConfig::default() }).await;
    for algorithm in
        [Algorithm::TokenBucket, Algorithm::Gcra, Algorithm::SlidingWindow, Algorithm::FixedWindow]
    {
        let bucket = Bucket {
            key: format!("{algorithm:?}"),
            algorithm,
            capacity: 4,
            refill: 2,
            period: Duration::from_secs(1),
            cost: 2,
        };
        let buckets = [bucket];
        let mut admitted = 0;
        let mut waited = Duration::ZERO;
        while waited < Duration::from_secs(10) {
            let verdict = store.take(&buckets).await.expect("takes")[0];
            if verdict.allowed {
                admitted += 2;
            } else {
                assert!(!verdict.retry_after.is_zero());
                waited += verdict.retry_after;
                tokio::time::sleep(verdict.retry_after).await;
            }
        }
        let expected = match algorithm {
            // The burst, and two a second.
            Algorithm::TokenBucket | Algorithm::Gcra => 22..=26,
            // Four in each window; the sliding one counts a part of them against the next.
            Algorithm::SlidingWindow => 20..=48,
            Algorithm::FixedWindow => 40..=48,
        };
        assert!(expected.contains(&admitted), "{algorithm:?}: {admitted}");
    }
}

#[tokio::test]
async fn a_full_store_forgets_what_is_least_needed() {
    let store = open(MemoryConfig { bytes: 100_000, ..MemoryConfig::default() }).await;
    let hour = Duration::from_secs(3_600);
    store.push("queue", vec![value(10_000)]).await.expect("pushes");
    for n in 0..30 {
        store.set(&format!("unending{n:02}"), value(1_000), None).await.expect("sets");
        let ttl = Some(hour * (n + 1));
        store.set(&format!("ending{n:02}"), value(1_000), ttl).await.expect("sets");
    }
    // Used again, so not the least recently used any more.
    store.get("unending00").await.expect("reads").expect("is there");
    store.set("large", value(30_000), None).await.expect("sets");
    assert!(store.bytes() <= 100_000);
    assert_eq!(store.get("ending00").await, Ok(None), "expires first");
    assert!(store.get("ending29").await.expect("reads").is_some(), "expires last");
    assert!(store.get("unending01").await.expect("reads").is_some());
    store.set("larger", value(55_000), None).await.expect("sets");
    assert_eq!(store.scan("ending", None, 100).await, Ok(vec![]), "before those without an end");
    assert_eq!(store.get("unending02").await, Ok(None), "least recently used");
    assert!(store.get("unending01").await.expect("reads").is_some(), "used lately");
    // Queues are never forgotten, and what fits nowhere is refused and changes nothing.
    let before = store.scan("", None, 100).await.expect("scans");
    let refused = store.set("huge", value(99_000), None).await.expect_err("full");
    assert!(codes::KV_FULL.is(&refused));
    assert_eq!(store.scan("", None, 100).await.expect("scans"), before);
    assert_eq!(store.range("queue", 0, 10).await.map(|values| values.len()), Ok(1));
    let both = vec![
        Mutation::Set { key: "a".to_owned(), value: value(1), ttl: None },
        Mutation::Set { key: "b".to_owned(), value: value(99_000), ttl: None },
    ];
    let refused = store.atomic(&[], both).await.expect_err("full");
    assert!(codes::KV_FULL.is(&refused));
    assert_eq!(store.get("a").await, Ok(None), "all or nothing");
}

#[tokio::test]
async fn the_size_is_that_of_what_is_there() {
    let store = open(MemoryConfig::default()).await;
    for round in 0..3 {
        store.set("v", value(1_000 * (round + 1)), None).await.expect("sets");
        store.push("l", vec![value(500), value(70)]).await.expect("pushes");
        store.pop("l", 1).await.expect("pops");
        store.increment("c", 1, Some(Duration::from_secs(60))).await.expect("adds");
    }
    for key in ["v", "l", "c"] {
        assert_eq!(store.delete(key).await, Ok(true));
    }
    assert_eq!(store.bytes(), 0);
}

#[tokio::test]
async fn a_restart_finds_what_was_saved() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state/kv.snapshot");
    let config = MemoryConfig { snapshot: Some(path.clone()), ..MemoryConfig::default() };
    let store = open(config.clone()).await;
    let version = store.set("v", value(3), None).await.expect("sets");
    let brief = Some(Duration::from_millis(1));
    store.set("gone", value(3), brief).await.expect("sets");
    store.set("ttl", value(3), Some(Duration::from_secs(100))).await.expect("sets");
    store.increment("c", -5, None).await.expect("adds");
    store.push("l", vec![value(1), value(0)]).await.expect("pushes");
    let mut buckets = Vec::new();
    for algorithm in
        [Algorithm::TokenBucket, Algorithm::Gcra, Algorithm::SlidingWindow, Algorithm::FixedWindow]
    {
        buckets.push(Bucket {
            key: format!("{algorithm:?}"),
            algorithm,
            capacity: 10,
            refill: 1,
            period: Duration::from_secs(300 * 24 * 3_600),
            cost: 4,
        });
    }
    store.take(&buckets).await.expect("takes");
    store.close().await.expect("closes");
    assert!(codes::KV_UNAVAILABLE.is(&store.get("v").await.expect_err("closed")));
    drop(store);
    let mode =
        |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().expect("a folder")), 0o700);

    tokio::time::sleep(Duration::from_millis(5)).await;
    let store = open(config.clone()).await;
    let entry = store.get("v").await.expect("reads").expect("is there");
    assert_eq!((entry.value, entry.version), (value(3), version));
    assert_eq!(store.get("gone").await, Ok(None));
    let ttl = store.get("ttl").await.expect("reads").expect("is there").expires_in;
    assert!(ttl.is_some_and(|left| left > Duration::from_secs(50)), "{ttl:?}");
    assert_eq!(store.increment("c", 0, None).await, Ok(-5));
    assert_eq!(store.range("l", 0, 5).await, Ok(vec![value(1), value(0)]));
    for verdict in store.take(&buckets).await.expect("takes") {
        assert_eq!((verdict.allowed, verdict.remaining), (true, 2));
    }
    assert!(store.set("v", value(1), None).await.expect("sets") > version);
    store.save().await.expect("saves");
    drop(store);

    // Damaged anywhere, it is set aside and the store begins empty.
    let whole = std::fs::read(&path).expect("reads");
    for damaged in [&whole[..whole.len() - 1], b"", b"AHKV", &[&whole[..], b"x"].concat()] {
        std::fs::write(&path, damaged).expect("writes");
        let store = open(config.clone()).await;
        assert_eq!(store.bytes(), 0);
        store.close().await.expect("closes");
        assert!(!path.exists(), "nothing has changed, so nothing is saved");
        let aside = folder.path().join("state/kv.snapshot.damaged");
        assert_eq!(std::fs::read(&aside).expect("set aside"), damaged);
    }
    let mut flipped = whole.clone();
    for at in (0..whole.len()).step_by(7) {
        flipped[at] ^= 1;
        std::fs::write(&path, &flipped).expect("writes");
        assert_eq!(open(config.clone()).await.bytes(), 0, "bit {at}");
        flipped[at] ^= 1;
    }
}

#[tokio::test]
async fn a_clock_set_back_brings_nothing_back() {
    let clock = Clock::simulated(10_000_000);
    let store = open(MemoryConfig { clock, ..MemoryConfig::default() }).await;
    store.set("k", value(1), Some(Duration::from_secs(1))).await.expect("sets");
    // As if the clock had shown this moment before.
    store.inner.latest.store(20_000_000, Ordering::Release);
    assert_eq!(store.get("k").await, Ok(None));
}
