use std::time::Duration;

use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn pool(connections: Option<u32>, pending: Option<u32>, requests: Option<u32>) -> PoolLimits {
    PoolLimits { connections, pending, requests, ..PoolLimits::default() }
}

fn limits(connections: Option<u32>, pending: Option<u32>, requests: Option<u32>) -> Arc<Limits> {
    Limits::new(&pool(connections, pending, requests), None)
}

fn soon() -> Deadline {
    Deadline::after(10 * SECOND)
}

async fn enter(limits: &Arc<Limits>) -> Result<Permit, Refused> {
    limits.acquire(Transport::InProcess, soon()).await
}

/// Lets all tasks go as far as they can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_limits_calls_are_counted_and_nothing_else() {
    let limits = limits(None, None, None);
    let mut permits = Vec::new();
    for transport in [Transport::InProcess, Transport::Http1, Transport::Http2] {
        for _ in 0..100 {
            permits.push(limits.acquire(transport, soon()).await.unwrap());
        }
    }
    assert_eq!(limits.status().requests, 300);
    assert_eq!(limits.connections.load(SeqCst), 200);
    permits.clear();
    let LimitsStatus { requests, pending, overflows, .. } = limits.status();
    assert_eq!((requests, pending, overflows), (0, 0, 0));
    assert_eq!(limits.connections.load(SeqCst), 0);
}

/// The table of the module.
#[tokio::test(start_paused = true)]
async fn limits_mean_what_the_transport_makes_of_them() {
    for (transport, connections, requests, expected) in [
        (Transport::InProcess, Some(2), None, Err(Refused::Deadline)),
        (Transport::Http1, Some(2), None, Err(Refused::Deadline)),
        (Transport::Http2, Some(2), None, Ok(())),
        (Transport::InProcess, None, Some(2), Err(Refused::Overflow)),
        (Transport::Http1, None, Some(2), Err(Refused::Overflow)),
        (Transport::Http2, None, Some(2), Err(Refused::Overflow)),
        (Transport::InProcess, Some(2), Some(2), Err(Refused::Deadline)),
        (Transport::InProcess, Some(3), Some(2), Err(Refused::Overflow)),
        (Transport::InProcess, Some(3), Some(3), Ok(())),
    ] {
        let limits = limits(connections, None, requests);
        let _two = (
            limits.acquire(transport, soon()).await.unwrap(),
            limits.acquire(transport, soon()).await.unwrap(),
        );
        let began = Instant::now();
        let third = limits.acquire(transport, soon()).await.map(drop);
        assert_eq!(third, expected, "{transport:?} {connections:?} {requests:?}");
        let waited = if expected == Err(Refused::Deadline) { 10 * SECOND } else { Duration::ZERO };
        assert_eq!(began.elapsed(), waited);
        assert_eq!(limits.status().requests, 2);
        assert_eq!(limits.status().pending, 0);
        assert_eq!(limits.status().overflows, u64::from(expected == Err(Refused::Overflow)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_came_first_goes_first_and_the_queue_is_bounded() {
    let limits = limits(Some(1), Some(3), None);
    let held = enter(&limits).await.unwrap();
    let order: Arc<Mutex<Vec<u32>>> = Arc::default();
    let mut tasks = Vec::new();
    for nth in 0..3 {
        let (limits, order) = (Arc::clone(&limits), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let permit = enter(&limits).await.unwrap();
            order.lock().push(nth);
            tokio::task::yield_now().await;
            drop(permit);
        }));
        settle().await;
    }
    assert_eq!(limits.status().pending, 3);
    let began = Instant::now();
    assert_eq!(enter(&limits).await.map(drop), Err(Refused::Overflow));
    assert_eq!(began.elapsed(), Duration::ZERO, "refused at once");
    assert_eq!(limits.status().overflows, 1);
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), [0, 1, 2]);
    assert_eq!((limits.status().requests, limits.status().pending), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_go_past_those_who_wait() {
    let limits = limits(Some(1), None, None);
    let held = enter(&limits).await.unwrap();
    let mut first = Box::pin(enter(&limits));
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(held);
    // The place is the first one's, whether or not it has looked.
    let mut second = Box::pin(enter(&limits));
    assert!(futures_util::poll!(&mut second).is_pending());
    let permit = first.await.unwrap();
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(permit);
    drop(second.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_leaves_its_place() {
    let limits = limits(Some(1), Some(2), None);
    let held = enter(&limits).await.unwrap();
    let (mut first, mut second) = (Box::pin(enter(&limits)), Box::pin(enter(&limits)));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(limits.status().pending, 1);
    let mut third = Box::pin(enter(&limits));
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(held);
    // It was given the place and is dropped before it knows.
    drop(second);
    drop(third.await.unwrap());
    assert_eq!(limits.connections.load(SeqCst), 0);
    assert_eq!((limits.status().requests, limits.status().pending), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_its_deadline_and_no_longer() {
    let limits = limits(Some(1), None, None);
    let held = enter(&limits).await.unwrap();
    let began = Instant::now();
    let late = limits.acquire(Transport::InProcess, Deadline::after(3 * SECOND)).await;
    assert_eq!(late.map(drop), Err(Refused::Deadline));
    assert_eq!(began.elapsed(), 3 * SECOND);
    let over = limits.acquire(Transport::InProcess, Deadline::after(Duration::ZERO)).await;
    assert_eq!(over.map(drop), Err(Refused::Deadline));
    assert_eq!(limits.status().pending, 0);
    drop(held);
    assert!(enter(&limits).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn limits_change_while_calls_are_under_way() {
    let limits = limits(None, None, None);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(enter(&limits).await.unwrap());
    }
    limits.configure(&pool(Some(3), Some(1), None), None);
    let mut waits = Box::pin(enter(&limits));
    assert!(futures_util::poll!(&mut waits).is_pending());
    assert_eq!(enter(&limits).await.map(drop), Err(Refused::Overflow));
    held.truncate(3);
    assert!(futures_util::poll!(&mut waits).is_pending(), "three are three");
    // A limit that is raised lets those go who wait.
    limits.configure(&pool(Some(4), Some(1), None), None);
    let permit = waits.await.unwrap();
    let mut waits = Box::pin(enter(&limits));
    assert!(futures_util::poll!(&mut waits).is_pending());
    limits.configure(&pool(None, None, Some(4)), None);
    assert_eq!(waits.await.map(drop), Err(Refused::Overflow), "and now requests are limited");
    drop((held, permit));
    assert_eq!(limits.connections.load(SeqCst), 0);
    assert_eq!(limits.status().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_whatever_the_policy_says() {
    let limits = limits(Some(1), Some(u32::MAX), None);
    let _held = enter(&limits).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..MOST_WAITING {
        let mut waits = Box::pin(enter(&limits));
        assert!(futures_util::poll!(&mut waits).is_pending());
        waiting.push(waits);
    }
    assert_eq!(enter(&limits).await.map(drop), Err(Refused::Overflow));
}

#[tokio::test(start_paused = true)]
async fn retries_have_a_limit() {
    let retries = PoolLimits { retries: Some(2), ..PoolLimits::default() };
    let limits = Limits::new(&retries, None);
    let (first, second) = (limits.retry().unwrap(), limits.retry().unwrap());
    assert_eq!(limits.retry().map(drop), Err(Refused::Overflow));
    drop(first);
    let third = limits.retry().unwrap();
    assert_eq!((limits.status().retries, limits.status().overflows), (2, 1));
    drop((second, third));
    let unlimited = Limits::new(&PoolLimits::default(), None);
    let many: Vec<_> = (0..1_000).map(|_| unlimited.retry().unwrap()).collect();
    assert_eq!(unlimited.status().retries, 1_000);
    drop(many);
}

/// Envoy: test/common/upstream/resource_manager_impl_test.cc.
#[tokio::test(start_paused = true)]
async fn a_budget_follows_the_calls_under_way() {
    for (percent, least, calls, expected) in [
        (20.0, 3, 0, 3),
        (20.0, 3, 15, 3),
        (20.0, 3, 19, 3),
        (20.0, 3, 20, 4),
        (20.0, 3, 100, 20),
        (0.0, 0, 100, 0),
        (50.0, 0, 3, 1),
        (100.0, 5, 7, 7),
    ] {
        // It takes the place of the limit.
        let pool = PoolLimits { retries: Some(1), ..pool(Some(50), None, None) };
        let limits = Limits::new(&pool, Some(RetryBudget { percent, least }));
        // Those that wait count too.
        let mut waits: Vec<_> = Vec::new();
        for _ in 0..calls {
            let mut call = Box::pin(enter(&limits));
            match futures_util::poll!(&mut call) {
                std::task::Poll::Ready(permit) => waits.push((None, Some(permit.unwrap()))),
                std::task::Poll::Pending => waits.push((Some(call), None)),
            }
        }
        let mut retries = Vec::new();
        while let Ok(retry) = limits.retry() {
            retries.push(retry);
        }
        assert_eq!(retries.len(), expected, "{percent} % of {calls}, {least} at least");
        drop(waits);
    }
}

#[tokio::test]
async fn under_load_no_place_is_lost_or_given_twice() {
    use std::sync::atomic::AtomicI64;
    let limits = limits(Some(3), None, None);
    let (inside, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let mut threads = Vec::new();
    for seed in 0..4_u64 {
        let limits = Arc::clone(&limits);
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
        threads.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(async {
                let calls = (0..8_u64).map(|call| {
                    let (limits, inside, most) = (&limits, &inside, &most);
                    async move {
                        for nth in 0..300_u64 {
                            let wait = limits.acquire(Transport::Http1, soon());
                            if (seed + call + nth).is_multiple_of(7) {
                                // Gives up at once, if it has to wait.
                                let mut wait = Box::pin(wait);
                                drop(futures_util::poll!(&mut wait));
                                continue;
                            }
                            let permit = wait.await.unwrap();
                            let now = inside.fetch_add(1, SeqCst) + 1;
                            most.fetch_max(now, SeqCst);
                            tokio::task::yield_now().await;
                            inside.fetch_sub(1, SeqCst);
                            drop(permit);
                        }
                    }
                });
                futures_util::future::join_all(calls).await;
            });
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(most.load(SeqCst), 3);
    assert_eq!(limits.connections.load(SeqCst), 0);
    assert_eq!((limits.status().requests, limits.status().pending), (0, 0));
    assert!(limits.queue.lock().waiting.is_empty());
}
