use airhost_core::{Body, Error};

use super::*;

#[test]
fn errors_say_whose_fault_they_are() {
    let open = codes::CALL_UNREACHABLE.error("open").with("flag", "CB");
    let cases: [(Error, Option<TryResult>); 13] = [
        (codes::CALL_UNREACHABLE.error("refused"), Some(TryResult::Unconnected)),
        (codes::CALL_UNKNOWN_HOST.error("none"), Some(TryResult::Unconnected)),
        (codes::GUEST_NO_REVISION.error("none"), Some(TryResult::Unconnected)),
        (codes::CANCELLED_SHUTDOWN.error("down"), Some(TryResult::Unconnected)),
        (codes::CALL_RESET.error("reset"), Some(TryResult::Reset)),
        (codes::GUEST_TRAP.error("trap"), Some(TryResult::Reset)),
        (codes::GUEST_CPU.error("cpu"), Some(TryResult::Reset)),
        (codes::DEADLINE_EXCEEDED.error("late"), Some(TryResult::TimedOut)),
        // A breaker, a full queue, a caller that left, a policy: not the endpoint's doing.
        (open, None),
        (codes::CALL_OVERLOADED.error("full"), None),
        (codes::CANCELLED_CALLER.error("left"), None),
        (codes::CALL_DENIED.error("no"), None),
        (codes::BODY_TRUNCATED.error("short"), None),
    ];
    for (error, expected) in cases {
        let text = error.to_string();
        assert_eq!(TryResult::of(&Err(error)), expected, "{text}");
    }
}

#[test]
fn answers_of_grpc_are_seen_as_what_they_stand_for() {
    for (grpc, expected) in [
        (None, 200),
        (Some("0"), 200),
        (Some("2"), 500),
        (Some("4"), 504),
        (Some("5"), 404),
        (Some("13"), 500),
        (Some("14"), 503),
        (Some("99"), 500),
        (Some("soon"), 200),
    ] {
        let mut response = Response::new(Body::Empty);
        if let Some(grpc) = grpc {
            response.headers_mut().insert("grpc-status", grpc.parse().unwrap());
        }
        let expected = TryResult::Answered(StatusCode::from_u16(expected).unwrap());
        assert_eq!(TryResult::of(&Ok(response)), Some(expected), "{grpc:?}");
    }
}

#[test]
fn what_the_host_answers_for_a_guest_is_a_reset() {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.extensions_mut().insert(GuestFailure);
    assert_eq!(TryResult::of(&Ok(response)), Some(TryResult::Reset));
}

/// A sweep that is late must do what all those it missed would have done, for any grid.
#[tokio::test(start_paused = true)]
async fn one_late_sweep_is_as_good_as_many() {
    let began = Instant::now();
    for interval in [1_u64, 7, 10, 45] {
        for (put_out_at, multiplier) in [(0_u64, 0_u32), (3, 1), (10, 2), (12, 4)] {
            let end = 700;
            let settings =
                Outlier { interval: Duration::from_secs(interval), ..Outlier::default() };
            let at = |seconds| began + Duration::from_secs(seconds);
            let run = |times: &mut dyn Iterator<Item = u64>| {
                let detector = Detector::new(settings.clone(), began, false);
                let mut ejection = Ejection { multiplier, ..Ejection::default() };
                let counters = Counters::default();
                let mut swept = detector.sweep(at(put_out_at));
                if let Some(sweep) = swept.take() {
                    sweep.visit(&mut ejection, &counters);
                }
                detector.eject(&mut ejection, at(put_out_at));
                for seconds in times {
                    if let Some(sweep) = detector.sweep(at(seconds)) {
                        sweep.visit(&mut ejection, &counters);
                    }
                }
                (ejection.since, ejection.returned, ejection.multiplier)
            };
            for end in [30, 60, 100, 200, end] {
                let often = run(&mut (put_out_at + 1..=end));
                let once = run(&mut std::iter::once(end));
                assert_eq!(often, once, "every {interval} s, {multiplier}, until {end}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_due_while_all_is_well() {
    let detector = Detector::new(Outlier::default(), Instant::now(), false);
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(!detector.is_due());
    let (mut ejection, counters) = (Ejection::default(), Counters::default());
    detector.eject(&mut ejection, Instant::now());
    assert!(detector.is_due());
    detector.sweep(Instant::now()).unwrap().visit(&mut ejection, &counters);
    assert!(!detector.is_due(), "not before the next tick");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(detector.is_due());
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(detector.sweep(Instant::now()).unwrap().visit(&mut ejection, &counters));
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(!detector.is_due(), "it is forgiven");
}
