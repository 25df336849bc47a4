use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::{log, metrics::Metrics};

fn record() -> Record {
    let trace = TraceContext::generate();
    let mut record = Record::new(Method::GET, "/users?token=x", CorrelationId::generate(), trace);
    record.service = Some("user-service".parse().unwrap());
    record
}

fn logs(access: Config, level: Level) -> Logs {
    let config = log::Config {
        access,
        level,
        filter: tracing_subscriber::filter::Targets::new()
            .with_default(tracing::Level::from(level)),
        ..log::Config::default()
    };
    Logs::start(config, std::io::sink(), Arc::new(Metrics::new()))
}

fn lines(logs: &Logs) -> Vec<Value> {
    let lines = logs.recent("user-service");
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_leaves_one_line_with_istios_keys_whatever_the_level() {
    let logs = logs(Config::default(), Level::Error);
    let mut access = Access::begin(&logs, record());
    tokio::time::advance(Duration::from_micros(1500)).await;
    let record = &mut access.record;
    record.status = Some(StatusCode::NOT_FOUND);
    record.version = Version::HTTP_2;
    record.bytes_sent = 12;
    record.authority = Some("example.com".into());
    record.user_agent = Some("\"x\"\n".repeat(100).into());
    record.forwarded_for = Some("192.0.2.1, 10.0.0.1".into());
    record.remote = Some("10.0.0.1:9".parse().unwrap());
    record.peer = Some("spiffe://cluster.local/ns/pyairtable/sa/api-gateway".into());
    record.caller = Some("api-gateway".parse().unwrap());
    record.route = Some("users".into());
    record.upstream_time = Some(Duration::from_millis(1));
    record.upstream = Upstream {
        cluster: Some("outbound|8004|v2|user-service.pyairtable.svc.cluster.local".into()),
        host: Some("n1/default".into()),
        route: Some("pyairtable/users canary".into()),
    };
    let id = record.correlation.clone();
    drop(access);
    let lines = lines(&logs);
    assert_eq!(lines.len(), 1);
    for (name, value) in [
        ("level", Value::from("info")),
        ("target", "access".into()),
        ("direction", "inbound".into()),
        ("method", "GET".into()),
        ("path", "/users".into()),
        ("protocol", "HTTP/2".into()),
        ("response_code", 404.into()),
        ("response_flags", "-".into()),
        ("response_code_details", "via_upstream".into()),
        ("duration", 1.5.into()),
        ("upstream_service_time", 1.0.into()),
        ("bytes_received", 0.into()),
        ("bytes_sent", 12.into()),
        ("authority", "example.com".into()),
        ("user_agent", "\"x\"\n".repeat(64).into()),
        ("x_forwarded_for", "192.0.2.1, 10.0.0.1".into()),
        ("request_id", id.as_str().into()),
        ("downstream_remote_address", "10.0.0.1:9".into()),
        ("downstream_peer_uri_san", "spiffe://cluster.local/ns/pyairtable/sa/api-gateway".into()),
        ("upstream_host", "n1/default".into()),
        ("upstream_cluster", "outbound|8004|v2|user-service.pyairtable.svc.cluster.local".into()),
        ("route_name", "pyairtable/users canary".into()),
        ("gateway_route", "users".into()),
        ("caller", "api-gateway".into()),
    ] {
        assert_eq!(lines[0][name], value, "{name}");
    }
    let start: Timestamp = lines[0]["start_time"].as_str().unwrap().parse().unwrap();
    let written: Timestamp = lines[0]["time"].as_str().unwrap().parse().unwrap();
    assert!((written - start).get_microseconds().abs() <= 1_500_000);
}

#[tokio::test]
async fn a_dropped_request_leaves_one_too() {
    let logs = logs(Config::default(), Level::Info);
    let access = Access::begin(&logs, record());
    let task = tokio::spawn(async move {
        let _access = access;
        std::future::pending::<()>().await;
    });
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let lines = lines(&logs);
    assert_eq!(lines[0]["response_code"], 0);
    assert_eq!(lines[0]["response_flags"], "DC");
    assert_eq!(lines[0]["response_code_details"], "downstream_remote_disconnect");
}

#[test]
fn lines_are_written_as_the_switches_say() {
    let off = Config { inbound: Lines::Off, outbound: Lines::Off, sample: 1.0 };
    let failures = Config { inbound: Lines::Failures, ..off };
    let outbound = Config { outbound: Lines::All, ..off };
    let none = ResponseFlag::None;
    for (config, direction, status, flag, expected) in [
        (Config::default(), Direction::Inbound, 200, none, 1),
        (Config::default(), Direction::Outbound, 200, none, 0),
        (off, Direction::Inbound, 500, none, 0),
        (failures, Direction::Inbound, 200, none, 0),
        (failures, Direction::Inbound, 404, none, 0),
        (failures, Direction::Inbound, 500, none, 1),
        (failures, Direction::Inbound, 403, ResponseFlag::PolicyDenied, 1),
        (outbound, Direction::Outbound, 200, none, 1),
        (outbound, Direction::Inbound, 200, none, 0),
        (Config { sample: 0.0, ..Config::default() }, Direction::Inbound, 200, none, 0),
        (Config { sample: 0.0, ..Config::default() }, Direction::Inbound, 503, none, 1),
    ] {
        let logs = logs(config, Level::Info);
        let mut access = Access::begin(&logs, record());
        access.record.direction = direction;
        access.record.status = Some(StatusCode::from_u16(status).unwrap());
        access.record.flag = flag;
        drop(access);
        assert_eq!(lines(&logs).len(), expected, "{config:?} {direction:?} {status} {flag}");
    }
}

#[test]
fn a_share_of_the_traces_is_written() {
    let config = Config { sample: 0.25, ..Config::default() };
    let wanted = |last: u32| {
        let mut trace = TraceContext::generate();
        trace.trace_id[12..].copy_from_slice(&last.to_be_bytes());
        config.samples(&trace)
    };
    let share = (0..1000_u32).filter(|index| wanted(index * (u32::MAX / 1000))).count();
    assert!((249..=251).contains(&share), "{share}");
}
