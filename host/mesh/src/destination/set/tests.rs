use airhost_policy::traffic::{LoadBalancer, Outlier};
use http::StatusCode;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn specs(count: usize) -> Vec<EndpointSpec> {
    (0..count).map(|nth| EndpointSpec::local("n", &format!("{nth:02}"))).collect()
}

fn error() -> TryResult {
    TryResult::Answered(StatusCode::INTERNAL_SERVER_ERROR)
}

fn detecting(percent: u32) -> Balancing {
    let outlier = Outlier { most_ejected_percent: percent, ..Outlier::default() };
    Balancing { outlier: Some(outlier), ..Balancing::default() }
}

type Told = Arc<Mutex<Vec<(String, EndpointEvent)>>>;

fn observed(balancing: Balancing, count: usize) -> (EndpointSet, Told) {
    let told = Told::default();
    let into = Arc::clone(&told);
    let observe: Observe = Arc::new(move |endpoint, event| {
        into.lock().push((endpoint.spec().id.to_string(), event));
    });
    let set = EndpointSet::new(balancing, 0, Some(observe));
    set.update(specs(count));
    (set, told)
}

/// The endpoints by their place among the ids.
fn endpoints(set: &EndpointSet) -> Vec<Arc<Endpoint>> {
    let members = set.members.lock();
    let mut all: Vec<_> =
        members.members.iter().map(|member| Arc::clone(&member.endpoint)).collect();
    all.sort_by(|a, b| a.spec().id.cmp(&b.spec().id));
    all
}

fn ejected(set: &EndpointSet) -> Vec<usize> {
    let status = set.status();
    let all = status.endpoints.iter().enumerate();
    all.filter(|(_, endpoint)| endpoint.ejected_since.is_some()).map(|(nth, _)| nth).collect()
}

fn fail(set: &EndpointSet, nth: usize, times: usize) {
    let endpoint = &endpoints(set)[nth];
    for _ in 0..times {
        set.report(endpoint, error());
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_told() {
    let (set, told) = observed(detecting(50), 2);
    fail(&set, 0, 5);
    fail(&set, 1, 5);
    assert!(set.set_health("n/01", false));
    assert!(set.set_health("n/01", false));
    assert!(!set.set_health("n/02", true));
    tokio::time::advance(30 * SECOND).await;
    set.sweep();
    let cause = Cause::ServerErrors;
    let expected = [
        ("n/00", EndpointEvent::Ejected { cause, duration: 30 * SECOND }),
        ("n/01", EndpointEvent::EjectionRefused { cause }),
        ("n/01", EndpointEvent::Health(false)),
        ("n/00", EndpointEvent::Returned),
    ];
    assert_eq!(*told.lock(), expected.map(|(id, event)| (id.to_owned(), event)));
}

#[tokio::test(start_paused = true)]
async fn health_keeps_endpoints_out() {
    let set = EndpointSet::new(Balancing::default(), 0, None);
    set.update(specs(2));
    let mut random = StdRng::seed_from_u64(1);
    set.set_health("n/00", false);
    for _ in 0..50 {
        let picked = set.pick(None, &Tried::default(), &mut random).unwrap();
        assert_eq!(&*picked.spec().id, "n/01");
    }
    set.set_health("n/01", false);
    assert!(set.pick(None, &Tried::default(), &mut random).is_none());
    // What is said of its labels does not make it well.
    let relabelled = specs(2).into_iter().map(|spec| EndpointSpec { weight: 5, ..spec });
    set.update(relabelled);
    assert!(set.pick(None, &Tried::default(), &mut random).is_none());
    set.set_health("n/00", true);
    let picked = set.pick(None, &Tried::default(), &mut random).unwrap();
    assert_eq!((&*picked.spec().id, picked.weight()), ("n/00", 5));
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_stay_keep_what_is_known_of_them() {
    let set = EndpointSet::new(detecting(100), 0, None);
    set.update(specs(3));
    fail(&set, 0, 5);
    fail(&set, 1, 3);
    let held = Picked::new(Arc::clone(&endpoints(&set)[2]), 0);
    let mut next = specs(4);
    for spec in &mut next {
        spec.labels.insert("track".to_owned(), "stable".to_owned());
    }
    // Twice the same id: the first counts.
    next.push(EndpointSpec { weight: 9, ..next[0].clone() });
    set.update(next);
    let status = set.status().endpoints;
    assert_eq!(status.len(), 4);
    assert!(status[0].ejected_since.is_some());
    assert_eq!((status[0].spec.weight, status[0].spec.labels.len()), (1, 1));
    assert_eq!(status[1].consecutive, [0, 3, 0]);
    assert_eq!(status[2].active, 1);
    drop(held);
    assert_eq!(set.status().endpoints[2].active, 0);
    // At another address it is another one.
    set.update([EndpointSpec::remote("n", "00", "10.0.0.1:1".parse().unwrap())]);
    let status = set.status().endpoints;
    assert_eq!((status.len(), status[0].ejections), (1, 0));
    assert!(status[0].ejected_since.is_none());
}

#[tokio::test(start_paused = true)]
async fn late_news_of_an_endpoint_that_left_is_ignored() {
    let set = EndpointSet::new(detecting(100), 0, None);
    set.update(specs(2));
    let old = Arc::clone(&endpoints(&set)[0]);
    set.update(specs(2).split_off(1));
    set.update(specs(2));
    for _ in 0..5 {
        set.report(&old, error());
    }
    assert_eq!(ejected(&set), [0; 0]);
    assert_eq!(set.status().ejections, EjectionCounts::default());
}

#[tokio::test(start_paused = true)]
async fn ejections_end_with_the_policy_and_go_on_under_another_one() {
    let (set, told) = observed(detecting(100), 2);
    fail(&set, 0, 5);
    let longer = Outlier {
        base_ejection: 60 * SECOND,
        interval: SECOND,
        most_ejected_percent: 100,
        ..Outlier::default()
    };
    tokio::time::advance(5 * SECOND).await;
    set.configure(Balancing { outlier: Some(longer.clone()), ..Balancing::default() });
    tokio::time::advance(54 * SECOND).await;
    assert_eq!(ejected(&set), [0]);
    tokio::time::advance(SECOND).await;
    assert_eq!(ejected(&set), [0; 0]);
    fail(&set, 1, 5);
    assert_eq!(ejected(&set), [1]);
    // Another balancer is no reason to let it back.
    let balancing = Balancing {
        outlier: Some(longer),
        load_balancer: LoadBalancer::RoundRobin,
        ..Balancing::default()
    };
    set.configure(balancing);
    assert_eq!(ejected(&set), [1]);
    set.configure(Balancing::default());
    assert_eq!(ejected(&set), [0; 0]);
    assert_eq!(told.lock().last().unwrap(), &("n/01".to_owned(), EndpointEvent::Returned));
    let mut random = StdRng::seed_from_u64(1);
    let picked: HashSet<_> = (0..50)
        .map(|_| set.pick(None, &Tried::default(), &mut random).unwrap().spec().id.clone())
        .collect();
    assert_eq!(picked.len(), 2);
    // Without a detection nothing is counted.
    fail(&set, 1, 50);
    assert_eq!(set.status().endpoints[1].consecutive, [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn counting_begins_anew_with_another_detection() {
    let set = EndpointSet::new(detecting(100), 0, None);
    set.update(specs(2));
    fail(&set, 0, 4);
    let outlier =
        Outlier { server_errors: Some(3), most_ejected_percent: 100, ..Outlier::default() };
    set.configure(Balancing { outlier: Some(outlier), ..Balancing::default() });
    fail(&set, 0, 2);
    assert_eq!(ejected(&set), [0; 0]);
    fail(&set, 0, 1);
    assert_eq!(ejected(&set), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_pick_finds_out_that_a_time_is_over() {
    let set = EndpointSet::new(detecting(100), 0, None);
    set.update(specs(1));
    let mut random = StdRng::seed_from_u64(1);
    fail(&set, 0, 5);
    assert!(set.pick(None, &Tried::default(), &mut random).is_none());
    tokio::time::advance(29 * SECOND).await;
    assert!(set.pick(None, &Tried::default(), &mut random).is_none());
    tokio::time::advance(SECOND).await;
    assert!(set.pick(None, &Tried::default(), &mut random).is_some());
}

#[tokio::test(start_paused = true)]
async fn times_beyond_the_clock_do_no_harm() {
    let outlier = Outlier {
        base_ejection: Duration::MAX,
        longest_ejection: Duration::MAX,
        interval: Duration::ZERO,
        most_ejected_percent: 100,
        ..Outlier::default()
    };
    let balancing = Balancing { outlier: Some(outlier.clone()), ..Balancing::default() };
    let set = EndpointSet::new(balancing, 0, None);
    set.update(specs(2));
    fail(&set, 0, 5);
    tokio::time::advance(1_000_000 * SECOND).await;
    assert_eq!(ejected(&set), [0]);
    let outlier = Outlier { interval: Duration::MAX, ..outlier };
    set.configure(Balancing { outlier: Some(outlier), ..Balancing::default() });
    tokio::time::advance(1_000_000 * SECOND).await;
    assert_eq!(ejected(&set), [0]);
}

#[tokio::test]
async fn picks_and_changes_at_once_lose_nothing() {
    let set = Arc::new(EndpointSet::new(detecting(50), 0, None));
    set.update(specs(8));
    let mut tasks = Vec::new();
    for seed in 0..4 {
        let set = Arc::clone(&set);
        tasks.push(std::thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(seed);
            for nth in 0..5_000_usize {
                let picked = set.pick(None, &Tried::default(), &mut random).unwrap();
                let answer =
                    if nth.is_multiple_of(3) { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
                set.report(&picked, TryResult::Answered(answer));
                if seed == 0 && nth.is_multiple_of(50) {
                    set.update(specs(6 + nth / 50 % 3));
                }
            }
        }));
    }
    for task in tasks {
        task.join().unwrap();
    }
    set.update(specs(8));
    let status = set.status();
    assert!(status.endpoints.iter().all(|endpoint| endpoint.active == 0), "{status:?}");
}

/// One thing that happens to a destination.
#[derive(Clone, Debug)]
enum Event {
    Report(usize, TryResult),
    Wait(u64),
    Size(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let result = prop_oneof![
        6 => Just(error()),
        3 => Just(TryResult::TimedOut),
        2 => Just(TryResult::Unconnected),
        1 => Just(TryResult::Answered(StatusCode::OK)),
    ];
    prop_oneof![
        20 => (0..24_usize, result).prop_map(|(nth, result)| Event::Report(nth, result)),
        2 => (0..40_000_u64).prop_map(Event::Wait),
        1 => (1..24_usize).prop_map(Event::Size),
    ]
}

fn outlier() -> impl Strategy<Value = Outlier> {
    (0..=120_u32, 1..4_u32, 0..4_u32, any::<bool>(), 1..30_u32).prop_map(
        |(percent, server, gateway, split, interval)| Outlier {
            server_errors: Some(server),
            gateway_errors: Some(gateway).filter(|gateway| *gateway > 0),
            local_failures: split.then_some(2),
            split,
            interval: interval * SECOND,
            most_ejected_percent: percent,
            ..Outlier::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Property (g) of the mesh's semantics: whatever happens, no ejection goes above the percent.
    #[test]
    fn never_more_are_put_out_than_the_percent(
        outlier in outlier(),
        size in 1..24_usize,
        events in proptest::collection::vec(event(), 1..250),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let percent = outlier.most_ejected_percent.min(100) as usize;
            let (set, told) = observed(
                Balancing { outlier: Some(outlier), ..Balancing::default() },
                size,
            );
            let mut size = size;
            for event in events {
                match event {
                    Event::Report(nth, result) => {
                        let endpoint = Arc::clone(&endpoints(&set)[nth % size]);
                        let before = told.lock().len();
                        set.report(&endpoint, result);
                        let put_out = told.lock()[before..]
                            .iter()
                            .any(|(_, event)| matches!(event, EndpointEvent::Ejected { .. }));
                        if put_out {
                            let out = ejected(&set).len();
                            assert!(100 * out <= percent * size, "{out} of {size}");
                        }
                    }
                    Event::Wait(millis) => {
                        tokio::time::advance(Duration::from_millis(millis)).await;
                    }
                    Event::Size(count) => {
                        size = count;
                        set.update(specs(count));
                    }
                }
            }
            // And nobody stays out for ever.
            tokio::time::advance(Duration::from_secs(400)).await;
            assert_eq!(ejected(&set), [0; 0]);
        });
    }
}
