//! The suite of `kv`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use airhost_core::codes;
use bytes::Bytes;

use super::{kv_model, sql::assert_code};
use crate::kv::{Algorithm, Bucket, KeyValue, Mutation};

/// Runs the whole suite; `factory` opens a new, empty store each time it is called. The store's
/// clock must run: some cases wait up to two seconds for a key to expire.
///
/// # Panics
/// When the engine does not do what the contract says.
pub async fn kv_conformance<F, D>(factory: F)
where
    F: Fn() -> D,
    D: Future<Output = Arc<dyn KeyValue>>,
{
    values_and_versions(&*factory().await).await;
    counters(&*factory().await).await;
    keys_expire(&*factory().await).await;
    lists(&*factory().await).await;
    atomic_is_all_or_nothing(&*factory().await).await;
    kinds_are_kept_apart(&*factory().await).await;
    limits_of_the_contract(&*factory().await).await;
    scan_is_in_order(&*factory().await).await;
    take_is_all_or_nothing(&*factory().await).await;
    refund_gives_back(&*factory().await).await;
    concurrent_takers_are_never_over_admitted(factory().await).await;
    concurrent_writers_lose_nothing(factory().await).await;
    for seed in 1..=8 {
        kv_model::compare(&*factory().await, seed).await;
    }
}

fn bytes(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

pub(super) const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::TokenBucket, Algorithm::Gcra, Algorithm::SlidingWindow, Algorithm::FixedWindow];

/// A bucket of a long period: 1 unit comes back an hour, which no test lasts.
pub(super) fn bucket(key: &str, algorithm: Algorithm, capacity: u64, cost: u64) -> Bucket {
    // Windows end when the clock says: a period of a year has no end in this test but once.
    let period = Duration::from_secs(360 * 24 * 3_600);
    Bucket { key: key.to_owned(), algorithm, capacity, refill: 1, period, cost }
}

async fn values_and_versions(kv: &dyn KeyValue) {
    assert_eq!(kv.get("a").await, Ok(None));
    let first = kv.set("a", bytes("1"), None).await.expect("sets");
    let entry = kv.get("a").await.expect("reads").expect("is there");
    assert_eq!((entry.value, entry.version, entry.expires_in), (bytes("1"), first, None));
    let second = kv.set("a", bytes("2"), HOUR).await.expect("sets");
    assert_ne!(first, second);
    let entry = kv.get("a").await.expect("reads").expect("is there");
    let left = entry.expires_in.expect("expires");
    assert!(left <= Duration::from_secs(3_600) && left > Duration::from_secs(3_500), "{left:?}");
    let stale = kv.compare_and_set("a", Some(first), bytes("3"), None).await;
    assert_code(stale, &codes::KV_CAS_MISMATCH, "stale");
    let absent = kv.compare_and_set("a", None, bytes("3"), None).await;
    assert_code(absent, &codes::KV_CAS_MISMATCH, "absent");
    let third = kv.compare_and_set("a", Some(second), bytes("3"), None).await.expect("sets");
    assert_ne!(third, second);
    assert!(kv.compare_and_set("b", None, bytes("b"), None).await.is_ok());
    let keys = ["b", "none", "a"].map(str::to_owned);
    let many = kv.get_many(&keys).await.expect("reads");
    let values: Vec<_> = many.into_iter().map(|entry| entry.map(|entry| entry.value)).collect();
    assert_eq!(values, [Some(bytes("b")), None, Some(bytes("3"))]);
    assert_eq!(kv.delete("a").await, Ok(true));
    assert_eq!(kv.delete("a").await, Ok(false));
    // A key that was deleted does not come back to an old version.
    let again = kv.set("a", bytes("4"), None).await.expect("sets");
    assert!(![first, second, third].contains(&again));
}

async fn counters(kv: &dyn KeyValue) {
    assert_eq!(kv.increment("c", 5, None).await, Ok(5));
    assert_eq!(kv.increment("c", -7, HOUR).await, Ok(-2));
    assert_eq!(kv.increment("c", 0, None).await, Ok(-2));
    assert_eq!(kv.increment("c", i64::MIN + 2, None).await, Ok(i64::MIN));
    assert_code(kv.increment("c", -1, None).await, &codes::KV_OVERFLOW, "overflow");
    assert_eq!(kv.increment("c", 0, None).await, Ok(i64::MIN));
}

async fn keys_expire(kv: &dyn KeyValue) {
    let brief = Some(Duration::from_millis(40));
    kv.set("value", bytes("v"), brief).await.expect("sets");
    kv.increment("counter", 1, brief).await.expect("adds");
    // Only a new counter is given the time to live.
    kv.increment("counter", 1, HOUR).await.expect("adds");
    kv.push("list", vec![bytes("x")]).await.expect("pushes");
    assert_eq!(kv.expire("list", brief).await, Ok(true));
    assert_eq!(kv.expire("none", brief).await, Ok(false));
    kv.set("kept", bytes("k"), brief).await.expect("sets");
    assert_eq!(kv.expire("kept", None).await, Ok(true));
    kv.set("renewed", bytes("r"), brief).await.expect("sets");
    kv.set("renewed", bytes("r"), None).await.expect("sets");
    for _ in 0..200 {
        if kv.scan("", None, 10).await.expect("scans").len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(kv.scan("", None, 10).await.expect("scans"), ["kept", "renewed"]);
    assert_eq!(kv.get("value").await, Ok(None));
    assert_eq!(kv.delete("value").await, Ok(false));
    assert_eq!(kv.expire("value", None).await, Ok(false));
    assert_eq!(kv.increment("counter", 1, None).await, Ok(1));
    assert_eq!(kv.range("list", 0, 10).await, Ok(vec![]));
    assert!(kv.compare_and_set("value", None, bytes("new"), None).await.is_ok());
}

async fn lists(kv: &dyn KeyValue) {
    let all = |values: &[&str]| values.iter().map(|value| bytes(value)).collect::<Vec<_>>();
    assert_eq!(kv.push("l", all(&["1", "2", "3"])).await, Ok(3));
    assert_eq!(kv.push("l", all(&["4"])).await, Ok(4));
    assert_eq!(kv.range("l", 1, 2).await, Ok(all(&["2", "3"])));
    assert_eq!(kv.range("l", 9, 2).await, Ok(vec![]));
    assert_eq!(kv.pop("l", 3).await, Ok(all(&["1", "2", "3"])));
    assert_eq!(kv.pop("l", 3).await, Ok(all(&["4"])));
    assert_eq!(kv.pop("l", 3).await, Ok(vec![]));
    // An empty list is no key.
    assert_eq!(kv.scan("", None, 10).await, Ok(vec![]));
    assert_eq!(kv.push("l", all(&["5"])).await, Ok(1));
    for _ in 0..99 {
        kv.push("long", vec![bytes("x"); 1_000]).await.expect("pushes");
    }
    assert_eq!(kv.push("long", vec![bytes("x"); 1_000]).await, Ok(100_000));
    assert_code(kv.push("long", vec![bytes("x")]).await, &codes::KV_FULL, "100 001");
    assert_eq!(kv.range("long", 99_999, 10).await.map(|values| values.len()), Ok(1));
}

async fn atomic_is_all_or_nothing(kv: &dyn KeyValue) {
    let set = |key: &str, value: &str| Mutation::Set {
        key: key.to_owned(),
        value: bytes(value),
        ttl: None,
    };
    let add = |key: &str, delta| Mutation::Add { key: key.to_owned(), delta, ttl: None };
    let version = kv.set("a", bytes("1"), None).await.expect("sets");
    kv.increment("max", i64::MAX, None).await.expect("adds");
    let absent = ("b".to_owned(), None);
    let fresh = ("a".to_owned(), Some(version));
    for (checks, mutations, code) in [
        (vec![("a".to_owned(), None)], vec![set("b", "x")], &codes::KV_CAS_MISMATCH),
        (
            vec![fresh.clone(), ("b".to_owned(), Some(1))],
            vec![set("b", "x")],
            &codes::KV_CAS_MISMATCH,
        ),
        (vec![], vec![set("a", "x"), set("b", "x"), add("max", 1)], &codes::KV_OVERFLOW),
        (vec![], vec![set("b", "x"), add("a", 1)], &codes::KV_TYPE),
        (vec![], vec![set("b", "x"), add("b", 1)], &codes::KV_TYPE),
    ] {
        assert_code(kv.atomic(&checks, mutations).await, code, code.code);
        assert_eq!(kv.get("a").await.expect("reads").map(|entry| entry.version), Some(version));
        assert_eq!(kv.get("b").await, Ok(None));
    }
    let delete = Mutation::Delete { key: "a".to_owned() };
    let mutations = vec![set("b", "x"), add("n", 2), add("n", 3), delete, set("b", "y")];
    assert_eq!(kv.atomic(&[fresh, absent], mutations).await, Ok(()));
    assert_eq!(kv.get("a").await, Ok(None));
    assert_eq!(kv.get("b").await.expect("reads").map(|entry| entry.value), Some(bytes("y")));
    assert_eq!(kv.increment("n", 0, None).await, Ok(5));
}

async fn kinds_are_kept_apart(kv: &dyn KeyValue) {
    kv.set("value", bytes("v"), None).await.expect("sets");
    kv.increment("counter", 1, None).await.expect("adds");
    kv.push("list", vec![bytes("x")]).await.expect("pushes");
    let limit = bucket("limit", Algorithm::Gcra, 5, 1);
    kv.take(std::slice::from_ref(&limit)).await.expect("takes");
    for key in ["value", "counter", "list", "limit"] {
        let value = matches!(key, "value");
        assert_eq!(kv.get(key).await.is_ok(), value, "get {key}");
        assert_eq!(kv.set(key, bytes("v"), None).await.is_ok(), value, "set {key}");
        assert_eq!(kv.increment(key, 1, None).await.is_ok(), key == "counter", "increment {key}");
        assert_eq!(kv.push(key, vec![bytes("x")]).await.is_ok(), key == "list", "push {key}");
        assert_eq!(kv.range(key, 0, 1).await.is_ok(), key == "list", "range {key}");
        let take = kv.take(&[Bucket { key: key.to_owned(), ..limit.clone() }]).await;
        assert_eq!(take.is_ok(), key == "limit", "take {key}");
    }
    let other = Bucket { algorithm: Algorithm::FixedWindow, ..limit };
    assert_code(kv.take(&[other]).await, &codes::KV_TYPE, "another algorithm");
    for key in ["value", "counter", "list", "limit"] {
        assert_eq!(kv.delete(key).await, Ok(true), "delete {key}");
    }
}

async fn limits_of_the_contract(kv: &dyn KeyValue) {
    assert_code(kv.get("").await, &codes::KV_KEY, "no key");
    assert_code(kv.get(&"k".repeat(2_000)).await, &codes::KV_KEY, "long key");
    let mebibyte = Bytes::from(vec![0; 1 << 20]);
    assert!(kv.set("a", mebibyte, None).await.is_ok());
    let more = Bytes::from(vec![0; (1 << 20) + 1]);
    assert_code(kv.set("a", more.clone(), None).await, &codes::KV_VALUE_TOO_LARGE, "set");
    assert_code(kv.push("l", vec![more]).await, &codes::KV_VALUE_TOO_LARGE, "push");
    for ttl in [Duration::ZERO, Duration::from_secs(400 * 24 * 3_600)] {
        let set = kv.set("a", bytes("x"), Some(ttl)).await;
        assert_code(set, &codes::KV_LIMIT, "time to live");
    }
    let keys = vec!["k".to_owned(); 101];
    assert_code(kv.get_many(&keys).await, &codes::KV_LIMIT, "101 keys");
    assert_code(kv.pop("l", 1_001).await, &codes::KV_LIMIT, "pop 1 001");
    assert_code(kv.range("l", 0, 1_001).await, &codes::KV_LIMIT, "range 1 001");
    assert_code(kv.scan("", None, 1_001).await, &codes::KV_LIMIT, "scan 1 001");
    let many = vec![Mutation::Delete { key: "x".to_owned() }; 51];
    assert_code(kv.atomic(&[], many).await, &codes::KV_LIMIT, "51 writes");
    let good = bucket("b", Algorithm::TokenBucket, 5, 1);
    let many = vec![good.clone(); 17];
    assert_code(kv.take(&many).await, &codes::KV_LIMIT, "17 buckets");
    for wrong in [
        Bucket { capacity: 0, cost: 0, ..good.clone() },
        Bucket { refill: 0, ..good.clone() },
        Bucket { period: Duration::ZERO, ..good.clone() },
        Bucket { cost: 6, ..good },
    ] {
        assert_code(kv.take(&[wrong]).await, &codes::KV_LIMIT, "a bucket");
    }
}

async fn scan_is_in_order(kv: &dyn KeyValue) {
    for n in 0..250 {
        kv.set(&format!("p/{n:03}"), bytes("x"), None).await.expect("sets");
    }
    kv.set("o", bytes("x"), None).await.expect("sets");
    kv.set("q", bytes("x"), None).await.expect("sets");
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = kv.scan("p/", after.as_deref(), 100).await.expect("scans");
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page);
    }
    let all: Vec<String> = (0..250).map(|n| format!("p/{n:03}")).collect();
    assert_eq!(seen, all);
    assert_eq!(kv.scan("p/01", None, 1_000).await.map(|keys| keys.len()), Ok(10));
    assert_eq!(kv.scan("p/", Some("a"), 1).await, Ok(vec!["p/000".to_owned()]));
    assert_eq!(kv.scan("p/", Some("z"), 1).await, Ok(vec![]));
}

async fn take_is_all_or_nothing(kv: &dyn KeyValue) {
    for algorithm in ALGORITHMS {
        let name = format!("{algorithm:?}");
        let wide = bucket(&format!("wide {name}"), algorithm, 10, 3);
        let narrow = bucket(&format!("narrow {name}"), algorithm, 5, 3);
        let both = [wide.clone(), narrow.clone()];
        let verdicts = kv.take(&both).await.expect("takes");
        assert!(verdicts.iter().all(|verdict| verdict.allowed && verdict.retry_after.is_zero()));
        assert_eq!(verdicts.iter().map(|verdict| verdict.remaining).collect::<Vec<_>>(), [7, 2]);
        assert!(verdicts.iter().all(|verdict| !verdict.reset.is_zero()), "{verdicts:?}");
        // The second has no room, so the first is not charged.
        let verdicts = kv.take(&both).await.expect("takes");
        assert_eq!(
            verdicts.iter().map(|verdict| verdict.allowed).collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(verdicts.iter().map(|verdict| verdict.remaining).collect::<Vec<_>>(), [7, 2]);
        assert!(!verdicts[1].retry_after.is_zero(), "{name}");
        // Peeking takes nothing.
        let peek = Bucket { cost: 0, ..narrow.clone() };
        for _ in 0..2 {
            let verdicts = kv.take(std::slice::from_ref(&peek)).await.expect("peeks");
            assert_eq!((verdicts[0].allowed, verdicts[0].remaining), (true, 2), "{name}");
        }
        // The same bucket twice is charged twice, or not at all.
        let once = Bucket { cost: 4, ..wide.clone() };
        let verdicts = kv.take(&[once.clone(), once.clone()]).await.expect("takes");
        assert!(!verdicts.iter().all(|verdict| verdict.allowed), "{name} {verdicts:?}");
        let half = Bucket { cost: 3, ..wide.clone() };
        let verdicts = kv.take(&[half.clone(), half]).await.expect("takes");
        assert_eq!(
            verdicts.iter().map(|verdict| verdict.remaining).collect::<Vec<_>>(),
            [4, 1],
            "{name}"
        );
    }
}

async fn refund_gives_back(kv: &dyn KeyValue) {
    for algorithm in ALGORITHMS {
        let key = format!("{algorithm:?}");
        let taken = bucket(&key, algorithm, 10, 8);
        kv.take(std::slice::from_ref(&taken)).await.expect("takes");
        kv.refund(&key, algorithm, 5).await.expect("refunds");
        let verdicts = kv.take(&[Bucket { cost: 7, ..taken.clone() }]).await.expect("takes");
        assert_eq!((verdicts[0].allowed, verdicts[0].remaining), (true, 0), "{key}");
        kv.refund(&key, algorithm, 1_000).await.expect("refunds");
        let verdicts = kv.take(&[Bucket { cost: 0, ..taken }]).await.expect("peeks");
        assert_eq!(verdicts[0].remaining, 10, "{key}: never more than the capacity");
        assert_eq!(kv.refund("nothing taken", algorithm, 1).await, Ok(()));
    }
}

async fn concurrent_takers_are_never_over_admitted(kv: Arc<dyn KeyValue>) {
    for algorithm in ALGORITHMS {
        let admitted = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for taker in 0..16_u64 {
            let kv = Arc::clone(&kv);
            let admitted = Arc::clone(&admitted);
            tasks.spawn(async move {
                let shared =
                    bucket(&format!("shared {algorithm:?}"), algorithm, 100, 1 + taker % 3);
                let own = bucket(&format!("own {algorithm:?} {taker}"), algorithm, 1_000, 1);
                for _ in 0..40 {
                    // In either order: that they lock one another out would show here.
                    let both = if taker % 2 == 0 {
                        [shared.clone(), own.clone()]
                    } else {
                        [own.clone(), shared.clone()]
                    };
                    let verdicts = kv.take(&both).await.expect("takes");
                    if verdicts.iter().all(|verdict| verdict.allowed) {
                        admitted.fetch_add(shared.cost, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no panic");
        }
        assert_eq!(admitted.load(Ordering::Relaxed), 100, "{algorithm:?}");
    }
}

async fn concurrent_writers_lose_nothing(kv: Arc<dyn KeyValue>) {
    kv.set("sum", bytes("0"), None).await.expect("sets");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let kv = Arc::clone(&kv);
        tasks.spawn(async move {
            let mut done = 0;
            while done < 50 {
                let entry = kv.get("sum").await.expect("reads").expect("is there");
                let sum: u64 = str::from_utf8(&entry.value).expect("text").parse().expect("number");
                let next = bytes(&(sum + 1).to_string());
                if kv.compare_and_set("sum", Some(entry.version), next, None).await.is_ok() {
                    done += 1;
                }
                kv.increment("count", 1, None).await.expect("adds");
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    let sum = kv.get("sum").await.expect("reads").expect("is there");
    assert_eq!(sum.value, bytes("400"));
    assert!(kv.increment("count", 0, None).await.expect("adds") >= 400);
}
