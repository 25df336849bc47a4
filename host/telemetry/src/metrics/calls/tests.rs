use super::super::{
    Metrics,
    tests::{name, parse},
};
use super::*;

fn side(workload: &str) -> Side {
    Side {
        workload: workload.into(),
        namespace: "pyairtable".into(),
        principal: format!("spiffe://cluster.local/ns/pyairtable/sa/{workload}").into(),
        version: "0123abcd".into(),
    }
}

fn edge(reporter: Reporter) -> Edge {
    Edge {
        reporter,
        source: Side { version: "".into(), ..side("a") },
        destination: side("b"),
        service: Destination {
            host: "b.pyairtable.svc.cluster.local".into(),
            name: "b".into(),
            namespace: "pyairtable".into(),
        },
        security: Security::MutualTls,
    }
}

fn seen(status: u16) -> Seen {
    Seen {
        protocol: Protocol::Http,
        status,
        grpc_status: None,
        flag: ResponseFlag::None,
        duration: Duration::from_millis(3),
        request_bytes: 0,
        response_bytes: 2_000,
        request_messages: 0,
        response_messages: 0,
    }
}

#[test]
fn a_call_has_the_labels_that_istio_gives_it() {
    let metrics = Metrics::of_cluster("c1");
    let handle = metrics.edge(&edge(Reporter::Destination));
    assert!(Arc::ptr_eq(&handle, &metrics.edge(&edge(Reporter::Destination))));
    handle.record(&Seen { flag: ResponseFlag::Overflow, ..seen(503) });
    let labels = concat!(
        r#"reporter="destination",source_workload="a",source_workload_namespace="pyairtable","#,
        r#"source_principal="spiffe://cluster.local/ns/pyairtable/sa/a",source_app="a","#,
        r#"source_version="unknown",source_canonical_service="a","#,
        r#"source_canonical_revision="latest",source_cluster="c1",destination_workload="b","#,
        r#"destination_workload_namespace="pyairtable","#,
        r#"destination_principal="spiffe://cluster.local/ns/pyairtable/sa/b","#,
        r#"destination_app="b",destination_version="0123abcd",destination_canonical_service="b","#,
        r#"destination_canonical_revision="0123abcd",destination_cluster="c1","#,
        r#"destination_service="b.pyairtable.svc.cluster.local",destination_service_name="b","#,
        r#"destination_service_namespace="pyairtable",connection_security_policy="mutual_tls","#,
        r#"request_protocol="http",response_code="503",grpc_response_status="","#,
        r#"response_flags="UO""#,
    );
    let samples = parse(&metrics.render());
    for (series, value) in [
        (format!("istio_requests_total{{{labels}}}"), 1.0),
        (format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"1\"}}"), 0.0),
        (format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"5\"}}"), 1.0),
        (format!("istio_request_duration_milliseconds_sum{{{labels}}}"), 3.0),
        (format!("istio_request_bytes_bucket{{{labels},le=\"1\"}}"), 1.0),
        (format!("istio_response_bytes_bucket{{{labels},le=\"1000\"}}"), 0.0),
        (format!("istio_response_bytes_bucket{{{labels},le=\"10000\"}}"), 1.0),
        (format!("istio_response_bytes_sum{{{labels}}}"), 2000.0),
        (format!("istio_response_bytes_count{{{labels}}}"), 1.0),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
    assert!(!metrics.render().contains("messages"));
}

#[test]
fn what_is_not_known_is_said_to_be_unknown() {
    let metrics = Metrics::new();
    let unknown = Edge {
        reporter: Reporter::Source,
        source: Side::default(),
        destination: Side::default(),
        service: Destination::default(),
        security: Security::Unknown,
    };
    metrics.edge(&unknown).record(&seen(200));
    let page = metrics.render();
    let line = page.lines().find(|line| line.starts_with("istio_requests_total")).unwrap();
    assert_eq!(line.matches("=\"unknown\"").count(), 8 + 8 + 3 + 1, "{line}");
}

#[test]
fn grpc_calls_count_messages_and_their_own_status() {
    let metrics = Metrics::new();
    let call = Seen {
        protocol: Protocol::Grpc,
        grpc_status: Some(14),
        request_messages: 2,
        response_messages: 3,
        ..seen(200)
    };
    metrics.edge(&edge(Reporter::Source)).record(&call);
    metrics.edge(&edge(Reporter::Source)).record(&call);
    let samples = parse(&metrics.render());
    let of = |family: &str| {
        let mut found = samples.iter().filter(|(series, _)| series.starts_with(family));
        let (series, value) = found.next().unwrap();
        assert!(found.next().is_none());
        assert!(series.contains(r#"request_protocol="grpc",response_code="200""#), "{series}");
        assert!(series.contains(r#"grpc_response_status="14""#), "{series}");
        *value
    };
    assert_eq!(of("istio_requests_total"), 2.0);
    assert_eq!(of("istio_request_messages_total"), 4.0);
    assert_eq!(of("istio_response_messages_total"), 6.0);
}

#[test]
fn calls_are_on_the_page_of_who_reports_them() {
    let metrics = Metrics::new();
    metrics.edge(&edge(Reporter::Source)).record(&seen(200));
    let reported = |service: &str| parse(&metrics.render_service(&name(service))).len();
    assert!(reported("a") > 0);
    assert_eq!(reported("b"), 0);
    metrics.edge(&edge(Reporter::Destination)).record(&seen(200));
    assert!(reported("b") > 0);
}

#[test]
fn the_number_of_edges_is_bounded() {
    let metrics = Metrics::new();
    let mut held = Vec::new();
    for index in 0..MAX_EDGES + 10 {
        let edge = Edge { destination: side(&format!("x\"\\\n{index}")), ..edge(Reporter::Source) };
        let handle = metrics.edge(&edge);
        if index == 0 || index >= MAX_EDGES {
            handle.record(&seen(200));
        }
        held.push(handle);
    }
    assert_eq!(metrics.edges.edges.read().len(), MAX_EDGES + 1);
    let page = metrics.render();
    let samples = parse(&page);
    assert!(page.contains(r#"destination_workload="x\"\\\n0""#));
    let mut shared = samples.iter().filter(|(series, _)| {
        series.starts_with("istio_requests_total") && series.contains(r#"_workload="other""#)
    });
    assert_eq!(shared.next().unwrap().1, &10.0);
    // What nobody holds or uses makes room.
    held.clear();
    let _one_more = metrics.edge(&edge(Reporter::Source));
    assert_eq!(metrics.edges.edges.read().len(), 3);
}

#[test]
fn the_number_of_series_of_an_edge_is_bounded() {
    let metrics = Metrics::new();
    let handle = metrics.edge(&edge(Reporter::Source));
    for status in 100..600 {
        handle.record(&seen(status));
    }
    assert_eq!(handle.series.load().len(), MAX_SERIES_OF_EDGE + 1);
    let samples = parse(&metrics.render());
    let total: f64 = samples
        .iter()
        .filter(|(series, _)| series.starts_with("istio_requests_total"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(total, 500.0);
}

#[tokio::test(start_paused = true)]
async fn a_series_without_calls_for_ten_minutes_is_dropped_and_comes_back() {
    let metrics = Metrics::new();
    let handle = metrics.edge(&edge(Reporter::Source));
    let count = |status: u16| {
        let samples = parse(&metrics.render());
        let code = format!("response_code=\"{status}\"");
        let mut of = samples.iter().filter(|(series, _)| {
            series.starts_with("istio_requests_total") && series.contains(&code)
        });
        of.next().map(|(_, value)| *value)
    };
    handle.record(&seen(200));
    handle.record(&seen(404));
    assert_eq!((count(200), count(404)), (Some(1.0), Some(1.0)));
    tokio::time::advance(Duration::from_secs(599)).await;
    handle.record(&seen(200));
    assert_eq!((count(200), count(404)), (Some(2.0), Some(1.0)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((count(200), count(404)), (Some(2.0), None));
    assert_eq!(metrics.edges.series.load(Relaxed), 1);
    handle.record(&seen(404));
    assert_eq!(count(404), Some(1.0));
    tokio::time::advance(IDLE).await;
    assert_eq!((count(200), count(404)), (None, None));
    // The handle is held, so that its calls are still counted.
    handle.record(&seen(200));
    assert_eq!(count(200), Some(1.0));
    drop(handle);
    tokio::time::advance(IDLE).await;
    assert_eq!(count(200), None);
    assert!(metrics.edges.edges.read().is_empty());
}

#[test]
fn threads_lose_no_call() {
    let metrics = Metrics::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let handle = metrics.edge(&edge(Reporter::Source));
                for index in 0..10_000_u16 {
                    handle.record(&seen(200 + index % 5));
                }
            });
        }
    });
    let samples = parse(&metrics.render());
    let requests = samples.iter().filter(|(series, _)| series.starts_with("istio_requests_total"));
    assert_eq!(requests.map(|(_, count)| count).sum::<f64>(), 80_000.0);
}

/// Says what one call costs: `cargo test --release -p airhost-telemetry one_call -- --nocapture`.
#[test]
fn the_cost_of_recording_one_call() {
    let metrics = Metrics::new();
    let handle = metrics.edge(&edge(Reporter::Source));
    let began = Instant::now();
    let calls = 200_000;
    for _ in 0..calls {
        handle.record(std::hint::black_box(&seen(200)));
    }
    let each = began.elapsed().as_nanos() / calls;
    assert_eq!(handle.series.load()[0].duration.count(), calls as u64);
    println!("recording one call costs {each} ns");
}
