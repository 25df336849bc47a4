use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn airtable() -> Arc<Pacer> {
    let pause = Some(Duration::from_secs(30));
    Pacer::new(vec![
        Limit { rate: 5, per: SECOND, pause_after_429: pause },
        Limit { rate: 12, per: SECOND, pause_after_429: None },
    ])
}

fn keys(base: &str, token: &str) -> Vec<Key> {
    vec![(0, base.into()), (1, token.into())]
}

fn long() -> Deadline {
    Deadline::after(Duration::from_secs(3600))
}

/// No window of `per` has more than `rate` of the times.
fn assert_paced(times: &mut [Instant], rate: usize, per: Duration) {
    times.sort_unstable();
    for window in times.windows(rate + 1) {
        let span = window[rate] - window[0];
        assert!(span >= per, "{} calls in {span:?}", rate + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_window_ever_has_more_than_its_limit() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let pacer = airtable();
        let log: Arc<Mutex<Vec<(usize, usize, Instant)>>> = Arc::default();
        let mut tasks = Vec::new();
        for _ in 0..200 {
            let (base, token) = (random.random_range(0..4), random.random_range(0..2));
            let priority =
                [Priority::Low, Priority::Normal, Priority::High][random.random_range(0..3)];
            let tenant = format!("t{}", random.random_range(0..3));
            let gives_up = random.random_bool(0.1);
            let (pacer, log) = (Arc::clone(&pacer), Arc::clone(&log));
            tasks.push(tokio::spawn(async move {
                let keys = keys(&format!("app{base}"), &format!("pat{token}"));
                let wait = pacer.acquire(keys, &tenant, priority, long());
                if gives_up {
                    // Leaves the queue; nothing may be lost or doubled by it.
                    let _left = tokio::time::timeout(Duration::from_millis(300), wait).await;
                    return 0;
                }
                drop(wait.await.unwrap());
                log.lock().push((base, token, Instant::now()));
                1
            }));
            tokio::time::advance(Duration::from_millis(random.next_u64() % 40)).await;
        }
        let mut went = 0;
        let mut stayed = 0;
        for task in tasks {
            match task.await.unwrap() {
                0 => stayed += 1,
                _ => went += 1,
            }
        }
        assert_eq!(went + stayed, 200);
        let log = log.lock();
        assert_eq!(log.len(), went);
        for base in 0..4 {
            let mut times: Vec<_> =
                log.iter().filter(|call| call.0 == base).map(|call| call.2).collect();
            assert_paced(&mut times, 5, SECOND);
        }
        for token in 0..2 {
            let mut times: Vec<_> =
                log.iter().filter(|call| call.1 == token).map(|call| call.2).collect();
            assert_paced(&mut times, 12, SECOND);
        }
        assert_eq!(pacer.state.lock().waiting, 0);
        assert!(pacer.state.lock().lanes.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_used_and_not_only_kept() {
    let pacer = airtable();
    let began = Instant::now();
    for _ in 0..50 {
        drop(pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await.unwrap());
    }
    let took = began.elapsed();
    assert!(took >= 9 * SECOND && took < 10 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns() {
    let pacer = airtable();
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut tasks = Vec::new();
    let calls = std::iter::repeat_n("greedy", 30).chain(std::iter::repeat_n("modest", 5));
    for tenant in calls {
        let (pacer, order) = (Arc::clone(&pacer), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            drop(
                pacer.acquire(keys("app", "pat"), tenant, Priority::Normal, long()).await.unwrap(),
            );
            order.lock().push(tenant.to_owned());
        }));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    // Five go at once; from then on the two take turns.
    let last_modest = order.lock().iter().rposition(|tenant| tenant == "modest").unwrap();
    assert!(last_modest <= 5 + 10, "{:?}", order.lock());
}

#[tokio::test(start_paused = true)]
async fn higher_priority_goes_first_and_lower_is_not_forgotten() {
    let pacer = Pacer::new(vec![Limit { rate: 1, per: SECOND, pause_after_429: None }]);
    let key = || vec![(0, Box::from("h"))];
    drop(pacer.acquire(key(), "t", Priority::Normal, long()).await.unwrap());
    let order: Arc<Mutex<Vec<Priority>>> = Arc::default();
    let mut tasks = Vec::new();
    let calls = [Priority::Low; 2].into_iter().chain([Priority::High; 20]);
    for priority in calls {
        let (pacer, order) = (Arc::clone(&pacer), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            drop(pacer.acquire(key(), "t", priority, long()).await.unwrap());
            order.lock().push(priority);
        }));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock();
    let first_low = order.iter().position(|priority| *priority == Priority::Low).unwrap();
    assert!((5..=8).contains(&first_low), "{order:?}");
    assert_eq!(order.iter().filter(|priority| **priority == Priority::Low).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_go_in_time_is_told_at_once_and_when() {
    let pacer = airtable();
    for _ in 0..5 {
        drop(pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await.unwrap());
    }
    let began = Instant::now();
    let soon = Deadline::after(Duration::from_millis(500));
    let paced = pacer.acquire(keys("app", "pat"), "t", Priority::Normal, soon).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(paced.retry_after, SECOND + MARGIN);
    // Another base is free.
    drop(pacer.acquire(keys("app2", "pat"), "t", Priority::Normal, soon).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_the_deadline() {
    let pacer = airtable();
    let paced = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for tenant in 0..30 {
        let (pacer, paced) = (Arc::clone(&pacer), Arc::clone(&paced));
        tasks.push(tokio::spawn(async move {
            let deadline = Deadline::after(Duration::from_millis(2500));
            let tenant = format!("t{tenant}");
            if pacer.acquire(keys("app", "pat"), &tenant, Priority::Normal, deadline).await.is_err()
            {
                paced.fetch_add(1, SeqCst);
            }
            assert!(Instant::now() <= deadline.instant() + Duration::from_millis(1));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(paced.load(SeqCst), 15, "three rounds of five fit");
    assert_eq!(pacer.state.lock().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn after_429_the_key_rests() {
    let pacer = airtable();
    drop(pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await.unwrap());
    pacer.refused(&keys("app", "pat"), None);
    let began = Instant::now();
    drop(pacer.acquire(keys("other", "pat"), "t", Priority::Normal, long()).await.unwrap());
    assert_eq!(began.elapsed(), Duration::ZERO, "another base goes on");
    let short = Deadline::after(10 * SECOND);
    let paced = pacer.acquire(keys("app", "pat"), "t", Priority::Normal, short).await.unwrap_err();
    assert_eq!(paced.retry_after, 30 * SECOND);
    pacer.refused(&keys("app", "pat"), Some(40 * SECOND));
    drop(pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await.unwrap());
    assert_eq!(began.elapsed(), 40 * SECOND);
}

#[test]
fn large_rates_keep_short_logs() {
    let limit =
        Limit { rate: 100_000, per: Duration::from_secs(100), pause_after_429: None }.shortened();
    assert!(limit.rate <= MAX_LOG);
    assert!(f64::from(limit.rate) / limit.per.as_secs_f64() > 990.0);
    assert!(f64::from(limit.rate) / limit.per.as_secs_f64() <= 1000.0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_arrive_late_are_a_second_apart_there_too() {
    let pacer = airtable();
    let arrived: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let mut random = StdRng::seed_from_u64(7);
    let mut tasks = Vec::new();
    for _ in 0..60 {
        let (pacer, arrived) = (Arc::clone(&pacer), Arc::clone(&arrived));
        let there = Duration::from_millis(random.random_range(0..300));
        let back = Duration::from_millis(random.random_range(0..150));
        tasks.push(tokio::spawn(async move {
            let turn = pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await;
            tokio::time::sleep(there).await;
            arrived.lock().push(Instant::now());
            tokio::time::sleep(back).await;
            drop(turn.unwrap());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_paced(&mut arrived.lock(), 5, SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_does_not_hold_the_others_up() {
    let pacer = airtable();
    let began = Instant::now();
    let mut under_way = Vec::new();
    for _ in 0..6 {
        under_way.push(pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await);
    }
    assert_eq!(began.elapsed(), ARRIVAL + SECOND + MARGIN);
    // Answered now, they had arrived before all the same.
    under_way.clear();
    for _ in 0..4 {
        drop(pacer.acquire(keys("app", "pat"), "t", Priority::Normal, long()).await.unwrap());
    }
    assert_eq!(began.elapsed(), ARRIVAL + SECOND + MARGIN);
}
