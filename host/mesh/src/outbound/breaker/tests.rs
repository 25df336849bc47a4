use std::collections::BTreeSet;

use airhost_core::Body;
use http::StatusCode;

use super::*;

const KEY: &str = "api.example.com";
const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Arc<CircuitBreakerSettings> {
    Arc::default()
}

fn admit(breakers: &Arc<Breakers<&'static str>>) -> Result<Pass<&'static str>, Duration> {
    breakers.admit(KEY, &settings())
}

fn fail(breakers: &Arc<Breakers<&'static str>>, times: usize) {
    for _ in 0..times {
        admit(breakers).unwrap().record(Verdict::Failure);
    }
}

fn only(breakers: &Arc<Breakers<&'static str>>) -> BreakerStatus<&'static str> {
    let mut list = breakers.list();
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_it_for_thirty_seconds() {
    let breakers = Breakers::new(None);
    fail(&breakers, 4);
    admit(&breakers).unwrap().record(Verdict::Success);
    fail(&breakers, 4);
    assert!(breakers.open_for(&KEY).is_none());
    fail(&breakers, 1);
    assert_eq!(breakers.open_for(&KEY), Some(30 * SECOND));
    assert!(breakers.admit("other", &settings()).is_ok());
    tokio::time::advance(29 * SECOND).await;
    assert_eq!(admit(&breakers).unwrap_err(), SECOND);
    tokio::time::advance(SECOND).await;
    // One trial, and only one.
    let trial = admit(&breakers).unwrap();
    assert!(admit(&breakers).is_err());
    trial.record(Verdict::Success);
    assert!(breakers.list().is_empty(), "a healthy key is forgotten");
}

#[tokio::test(start_paused = true)]
async fn each_key_has_the_settings_it_is_asked_with() {
    let breakers = Breakers::new(None);
    let quick = Arc::new(CircuitBreakerSettings {
        threshold: 2,
        recovery: 3 * SECOND,
        trials: 2,
        ..CircuitBreakerSettings::default()
    });
    for _ in 0..2 {
        breakers.admit("quick", &quick).unwrap().record(Verdict::Failure);
    }
    fail(&breakers, 2);
    assert_eq!(breakers.open_for(&"quick"), Some(3 * SECOND));
    assert!(breakers.open_for(&KEY).is_none());
    tokio::time::advance(3 * SECOND).await;
    let trials =
        [breakers.admit("quick", &quick).unwrap(), breakers.admit("quick", &quick).unwrap()];
    assert_eq!(breakers.admit("quick", &quick).unwrap_err(), SECOND);
    let status = breakers.list().into_iter().find(|status| status.key == "quick").unwrap();
    assert_eq!((status.state, status.trials), (BreakerState::HalfOpen, 2));
    drop(trials);
    // A policy that was changed holds for the next call: two failures were enough for it.
    breakers.admit(KEY, &quick).unwrap().record(Verdict::Failure);
    assert_eq!(breakers.open_for(&KEY), Some(3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_opens_it_again() {
    let breakers = Breakers::new(None);
    fail(&breakers, 5);
    tokio::time::advance(30 * SECOND).await;
    admit(&breakers).unwrap().record(Verdict::Failure);
    assert_eq!(breakers.open_for(&KEY), Some(30 * SECOND));
    assert_eq!(only(&breakers).failures, 6);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_dropped_leaves_the_place_to_the_next() {
    let breakers = Breakers::new(None);
    fail(&breakers, 5);
    tokio::time::advance(30 * SECOND).await;
    drop(admit(&breakers).unwrap());
    admit(&breakers).unwrap().record(Verdict::Success);
    assert!(breakers.open_for(&KEY).is_none());
}

#[tokio::test(start_paused = true)]
async fn late_answers_of_old_calls_change_nothing() {
    let breakers = Breakers::new(None);
    let old: Vec<_> = (0..3).map(|_| admit(&breakers).unwrap()).collect();
    fail(&breakers, 5);
    for pass in old {
        pass.record(Verdict::Success);
    }
    assert!(breakers.open_for(&KEY).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_trial_of_an_earlier_time_says_nothing_now() {
    let breakers = Breakers::new(None);
    let two = Arc::new(CircuitBreakerSettings { trials: 2, ..CircuitBreakerSettings::default() });
    let admit = || breakers.admit(KEY, &two);
    fail(&breakers, 5);
    tokio::time::advance(30 * SECOND).await;
    let (first, slow) = (admit().unwrap(), admit().unwrap());
    let slower = {
        first.record(Verdict::Failure);
        slow
    };
    tokio::time::advance(30 * SECOND).await;
    let again = admit().unwrap();
    // Neither does it close the breaker, nor does it free a place.
    drop(slower);
    assert_eq!((only(&breakers).state, only(&breakers).trials), (BreakerState::HalfOpen, 1));
    again.record(Verdict::Success);
    // The same with a breaker that was forgotten in between.
    for _ in 0..2 {
        fail(&breakers, 5);
        tokio::time::advance(30 * SECOND).await;
        let (good, late) = (admit().unwrap(), admit().unwrap());
        good.record(Verdict::Success);
        assert!(breakers.list().is_empty());
        fail(&breakers, 5);
        tokio::time::advance(30 * SECOND).await;
        let trial = admit().unwrap();
        late.record(Verdict::Failure);
        assert_eq!(only(&breakers).state, BreakerState::HalfOpen);
        trial.record(Verdict::Success);
    }
}

#[tokio::test(start_paused = true)]
async fn states_are_listed() {
    let breakers = Breakers::new(None);
    fail(&breakers, 3);
    tokio::time::advance(2 * SECOND).await;
    let status = |state, since, failures, trials, open_for| BreakerStatus {
        key: KEY,
        state,
        since: since * SECOND,
        failures,
        trials,
        open_for: open_for * SECOND,
    };
    assert_eq!(only(&breakers), status(BreakerState::Closed, 2, 3, 0, 0));
    fail(&breakers, 2);
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(only(&breakers), status(BreakerState::Open, 10, 5, 0, 20));
    tokio::time::advance(50 * SECOND).await;
    assert_eq!(only(&breakers), status(BreakerState::Open, 60, 5, 0, 0));
    let trial = admit(&breakers).unwrap();
    tokio::time::advance(SECOND).await;
    assert_eq!(only(&breakers), status(BreakerState::HalfOpen, 1, 5, 1, 0));
    drop(trial);
}

#[tokio::test(start_paused = true)]
async fn transitions_are_told_once_each() {
    use BreakerState::{Closed, HalfOpen, Open};
    let told: Arc<Mutex<Vec<(&str, Transition)>>> = Arc::default();
    let into = Arc::clone(&told);
    let breakers = Breakers::new(Some(Arc::new(move |key: &&'static str, transition| {
        into.lock().push((*key, transition));
    })));
    fail(&breakers, 5);
    assert!(admit(&breakers).is_err());
    tokio::time::advance(30 * SECOND).await;
    let trial = admit(&breakers).unwrap();
    assert!(admit(&breakers).is_err());
    trial.record(Verdict::Failure);
    tokio::time::advance(30 * SECOND).await;
    drop(admit(&breakers).unwrap());
    admit(&breakers).unwrap().record(Verdict::Success);
    let expected = [
        (Closed, Open, 5),
        (Open, HalfOpen, 5),
        (HalfOpen, Open, 6),
        (Open, HalfOpen, 6),
        (HalfOpen, Open, 6),
        (Open, HalfOpen, 6),
        (HalfOpen, Closed, 0),
    ];
    let expected = expected.map(|(from, to, failures)| (KEY, Transition { from, to, failures }));
    assert_eq!(*told.lock(), expected);
}

#[test]
fn failures_are_what_the_settings_say() {
    let status = |status: u16| -> Result<Response> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(response)
    };
    let none =
        Failures { connect: false, timeout: false, server_error: false, statuses: BTreeSet::new() };
    let listed = BTreeSet::from([StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY]);
    let (connect, timeout, server_error, listed) = (
        Failures { connect: true, ..none.clone() },
        Failures { timeout: true, ..none.clone() },
        Failures { server_error: true, ..none.clone() },
        Failures { statuses: listed, ..none.clone() },
    );
    let open = || codes::CALL_UNREACHABLE.error("open").with("flag", "CB");
    use Verdict::{Failure, Success, Unknown};
    let guest_failed = || {
        let mut response = status(500);
        if let Ok(response) = &mut response {
            response.extensions_mut().insert(GuestFailure);
        }
        response
    };
    // By connect, timeout, 5xx, the list of 429 and 502, and nothing.
    for (result, expected) in [
        (status(200), [Success; 5]),
        (status(404), [Success; 5]),
        (status(429), [Success, Success, Success, Failure, Success]),
        (status(500), [Success, Success, Failure, Success, Success]),
        (status(502), [Success, Success, Failure, Failure, Success]),
        (
            Err(codes::CALL_UNREACHABLE.error("refused")),
            [Failure, Unknown, Unknown, Unknown, Unknown],
        ),
        (
            Err(codes::CALL_UNKNOWN_HOST.error("none")),
            [Failure, Unknown, Unknown, Unknown, Unknown],
        ),
        (Err(codes::CALL_RESET.error("reset")), [Failure, Unknown, Unknown, Unknown, Unknown]),
        (
            Err(codes::DEADLINE_EXCEEDED.error("late")),
            [Unknown, Failure, Unknown, Unknown, Unknown],
        ),
        (Err(codes::CANCELLED_CALLER.error("left")), [Unknown; 5]),
        (Err(codes::CALL_OVERLOADED.error("full")), [Unknown; 5]),
        (Err(open()), [Unknown; 5]),
        (guest_failed(), [Failure, Success, Failure, Success, Success]),
    ] {
        let verdicts = [&connect, &timeout, &server_error, &listed, &none]
            .map(|failures| Verdict::of(&result, failures));
        assert_eq!(verdicts, expected, "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_open_ones_are_kept() {
    let breakers: Arc<Breakers<u32>> = Breakers::new(None);
    let at_once =
        Arc::new(CircuitBreakerSettings { threshold: 1, ..CircuitBreakerSettings::default() });
    let most = MAX_KEYS as u32;
    for key in 0..most {
        let settings = if key % 2 == 0 { &at_once } else { &settings() };
        breakers.admit(key, settings).unwrap().record(Verdict::Failure);
    }
    breakers.admit(most, &at_once).unwrap().record(Verdict::Failure);
    assert_eq!(breakers.list().len(), MAX_KEYS / 2 + 1);
    assert!(breakers.open_for(&0).is_some() && breakers.open_for(&most).is_some());
    for key in most..most + MAX_KEYS as u32 {
        if let Ok(pass) = breakers.admit(key, &at_once) {
            pass.record(Verdict::Failure);
        }
    }
    assert_eq!(breakers.list().len(), MAX_KEYS);
    // When their time is over, they make room.
    tokio::time::advance(31 * SECOND).await;
    breakers.admit(u32::MAX, &at_once).unwrap().record(Verdict::Failure);
    assert_eq!(breakers.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_beyond_the_clock_does_no_harm() {
    let breakers = Breakers::new(None);
    let for_ever = Arc::new(CircuitBreakerSettings {
        threshold: 1,
        recovery: Duration::MAX,
        ..CircuitBreakerSettings::default()
    });
    breakers.admit(KEY, &for_ever).unwrap().record(Verdict::Failure);
    assert!(breakers.open_for(&KEY).unwrap() > Duration::from_secs(1_000_000));
}
