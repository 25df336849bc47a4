use std::collections::BTreeMap;

use super::*;

/// Reads a page back: samples by name and labels. Panics on what the format does not allow.
pub(super) fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut typed = std::collections::BTreeSet::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(typed.insert(family.clone()), "{family} is there twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&family), "{series} is not in {family}");
            let number = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(series.to_owned(), number).is_none(), "{series} twice");
        }
    }
    assert!(page.is_empty() || page.ends_with('\n'));
    samples
}

pub(super) fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

#[test]
fn requests_are_counted_and_read_back() {
    let metrics = Metrics::new();
    let service = metrics.service(&name("a"));
    for (method, status, millis) in [
        (Method::GET, 200, 1),
        (Method::GET, 200, 40),
        (Method::POST, 503, 3),
        (Method::from_bytes(b"PURGE").unwrap(), 200, 3),
        (Method::from_bytes(b"EVIL\x21").unwrap(), 999, 90_000),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        service.http.record(&method, status, Duration::from_millis(millis));
    }
    let samples = parse(&metrics.render());
    for (series, value) in [
        (r#"http_requests_total{service="a",method="GET",status="200"}"#, 2.0),
        (r#"http_requests_total{service="a",method="POST",status="503"}"#, 1.0),
        (r#"http_requests_total{service="a",method="OTHER",status="200"}"#, 1.0),
        (r#"http_requests_total{service="a",method="OTHER",status="other"}"#, 1.0),
        (r#"http_request_duration_seconds_bucket{service="a",le="0.0005"}"#, 0.0),
        (r#"http_request_duration_seconds_bucket{service="a",le="0.001"}"#, 1.0),
        (r#"http_request_duration_seconds_bucket{service="a",le="30"}"#, 4.0),
        (r#"http_request_duration_seconds_bucket{service="a",le="+Inf"}"#, 5.0),
        (r#"http_request_duration_seconds_count{service="a"}"#, 5.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    let sum = samples[r#"http_request_duration_seconds_sum{service="a"}"#];
    assert!((sum - 90.047).abs() < 1e-9, "{sum}");
    assert_eq!(service.http.count(500..600), 1);
}

#[test]
fn every_family_of_a_service_is_there() {
    let metrics = Metrics::new();
    let service = metrics.service(&name("a"));
    service.guest.instances_busy.add(3);
    service.guest.instances_busy.add(-1);
    service.guest.memory_peak.raise(10);
    service.guest.memory_peak.raise(7);
    service.guest.cpu_nanos.add(1_500_000_000);
    service.guest.trap("guest.trap");
    service.guest.trap("made.up");
    service.guest.log_lines_dropped.add(4);
    service.outbox.lag_millis.set(2500);
    service.deploys.record(DeployResult::RolledBack);
    service.database.busy.set(2);
    service.database.max.set(5);
    let samples = parse(&metrics.render_service(&name("a")));
    for (series, value) in [
        (r#"airhost_guest_instances_busy{service="a"}"#, 2.0),
        (r#"airhost_guest_memory_peak_bytes{service="a"}"#, 10.0),
        (r#"airhost_guest_cpu_seconds_total{service="a"}"#, 1.5),
        (r#"airhost_guest_traps_total{service="a",code="guest.trap"}"#, 1.0),
        (r#"airhost_guest_traps_total{service="a",code="other"}"#, 1.0),
        (r#"airhost_guest_log_lines_dropped_total{service="a"}"#, 4.0),
        (r#"airhost_outbox_lag_seconds{service="a"}"#, 2.5),
        (r#"airhost_deploys_total{service="a",result="rolled-back"}"#, 1.0),
        (r#"db_pool_connections{service="a",state="busy"}"#, 2.0),
        (r#"db_pool_connections_max{service="a"}"#, 5.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn the_process_tells_of_itself() {
    let samples = parse(&Metrics::new().render());
    for family in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
        "airhost_log_lines_dropped_total",
    ] {
        assert!(samples.contains_key(family), "{family}");
    }
    assert!(samples["process_resident_memory_bytes"] > 1e6);
}

#[test]
fn quantiles_are_interpolated_and_windows_subtract() {
    let histogram = Histogram::new(&SECONDS);
    assert_eq!(histogram.snapshot().quantile(0.95), None);
    for _ in 0..100 {
        histogram.record(Duration::from_millis(150));
    }
    let before = histogram.snapshot();
    let p95 = before.quantile(0.95).unwrap();
    assert!(p95 > Duration::from_millis(190) && p95 <= Duration::from_millis(200), "{p95:?}");
    for _ in 0..10 {
        histogram.record(Duration::from_secs(2));
    }
    let window = histogram.snapshot().since(&before);
    assert_eq!(window.count(), 10);
    assert!(window.quantile(0.5).unwrap() > Duration::from_secs(1));
    histogram.record(Duration::from_secs(3600));
    assert_eq!(histogram.snapshot().quantile(1.0), Some(Duration::from_secs(30)));
}

#[test]
fn threads_lose_nothing() {
    let metrics = Metrics::new();
    let service = metrics.service(&name("a"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    service.http.record(&Method::GET, StatusCode::OK, Duration::from_micros(700));
                }
            });
        }
    });
    assert_eq!(service.http.count(200..300), 80_000);
    assert_eq!(service.http.duration().snapshot().count(), 80_000);
}

#[test]
fn who_registers_is_asked_for_as_long_as_it_is_there() {
    struct Fixed;
    impl Collect for Fixed {
        fn collect(&self, page: &mut Page) {
            page.family("airhost_made_up_total", Kind::Counter, "Made up.");
            page.sample(&[("name", "a\"\\\n")], 7);
        }
    }
    let metrics = Metrics::new();
    let fixed = Arc::new(Fixed);
    metrics.register(&fixed);
    let series = r#"airhost_made_up_total{name="a\"\\\n"}"#;
    assert_eq!(parse(&metrics.render()).get(series), Some(&7.0));
    let open = metrics.render_as(Format::OpenMetrics);
    assert!(open.contains("# TYPE airhost_made_up counter\n"));
    assert!(open.contains(series) && open.ends_with("\n# EOF\n"));
    drop(fixed);
    assert_eq!(parse(&metrics.render()).get(series), None);
}
