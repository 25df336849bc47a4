use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
};

use parking_lot::Mutex;
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// A sink that keeps what it gets.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn start(config: Config) -> (Logs, Kept, Arc<Metrics>) {
    let (kept, metrics) = (Kept::default(), Arc::new(Metrics::new()));
    (Logs::start(config, kept.clone(), Arc::clone(&metrics)), kept, metrics)
}

struct Guest {
    service: ServiceName,
    correlation: CorrelationId,
    trace: TraceContext,
    tenant: Tenant,
}

impl Guest {
    fn new() -> Self {
        Self {
            service: "auth-service".parse().unwrap(),
            correlation: CorrelationId::accept("req-1").unwrap(),
            trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
                .unwrap(),
            tenant: Tenant::new("t1"),
        }
    }

    fn line<'a>(&'a self, message: &'a str, fields: &'a [(String, String)]) -> GuestLine<'a> {
        GuestLine {
            level: Level::Info,
            service: &self.service,
            revision: "abc",
            correlation: &self.correlation,
            trace: &self.trace,
            tenant: Some(&self.tenant),
            message,
            fields,
        }
    }
}

const WAIT: Duration = Duration::from_secs(10);

#[test]
fn a_guests_line_is_one_json_object_with_what_the_host_knows() {
    let (logs, kept, _) = start(Config { node: "n1".to_owned(), ..Config::default() });
    let guest = Guest::new();
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields = [
        field("count", "3"),
        field("text", "\"a\\nb\""),
        field("not-json", "a\"b"),
        field("spaced", "1\n"),
        field("access_token", "\"s3cret\""),
        field("password", "hunter2"),
        field("request", r#"{"headers":{"cookie":"s3cret"}}"#),
        field("max_tokens", "5"),
    ];
    assert!(logs.guest_line(&guest.line("hello\n\u{1}\"Bearer s3cret\"", &fields)));
    assert!(logs.flush(WAIT));
    assert_eq!(kept.text().lines().count(), 1);
    assert!(!kept.text().contains("s3cret") && !kept.text().contains("hunter2"));
    let line = &kept.lines()[0];
    let time = line["time"].as_str().unwrap();
    assert_eq!((time.len(), time.ends_with('Z')), ("2026-01-02T03:04:05.678901Z".len(), true));
    time.parse::<jiff::Timestamp>().unwrap();
    for (name, value) in [
        ("level", "info"),
        ("service", "auth-service"),
        ("revision", "abc"),
        ("node", "n1"),
        ("correlation_id", "req-1"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("span_id", "00f067aa0ba902b7"),
        ("tenant", "t1"),
        ("message", "hello\n\u{1}\"Bearer [redacted]\""),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    let fields = &line["fields"];
    assert_eq!(fields["count"], 3);
    assert_eq!(fields["text"], "a\nb");
    assert_eq!(fields["not-json"], "a\"b");
    assert_eq!(fields["spaced"], 1);
    assert_eq!(fields["request"]["headers"]["cookie"], redact::REDACTED);
    assert_eq!(fields["max_tokens"], 5);
}

#[test]
fn a_line_over_8_kib_is_cut_and_says_so() {
    let (logs, kept, _) = start(Config::default());
    let guest = Guest::new();
    let long = "ä".repeat(MAX_GUEST_LINE);
    assert!(logs.guest_line(&guest.line(&long, &[("a".to_owned(), "1".to_owned())])));
    assert!(logs.flush(WAIT));
    let line = &kept.lines()[0];
    assert_eq!(line["message"].as_str().unwrap().len(), MAX_GUEST_LINE);
    assert_eq!(line["truncated"], true);
    assert!(line.get("fields").is_none());
}

#[test]
fn events_of_the_host_carry_what_the_spans_around_them_say() {
    let (logs, kept, _) = start(Config::default());
    let subscriber = tracing_subscriber::registry().with(logs.layer());
    tracing::subscriber::with_default(subscriber, || {
        let outer = tracing::info_span!("call", service = "a", correlation_id = %"c1", shard = 4);
        let _outer = outer.enter();
        let inner = tracing::info_span!("inner", tenant = "t1", late = tracing::field::Empty);
        inner.record("late", 2.5);
        let _inner = inner.enter();
        let error = io::Error::other(io::Error::other("the cause"));
        tracing::warn!(attempt = 2, secret = "x", error = &error as &dyn std::error::Error, "oh");
        tracing::debug!("not wanted");
    });
    tracing::subscriber::with_default(tracing_subscriber::registry().with(logs.layer()), || {
        tracing::info!("alone");
    });
    assert!(logs.flush(WAIT));
    let lines = kept.lines();
    assert_eq!(lines.len(), 2);
    let line = &lines[0];
    assert_eq!(line["level"], "warn");
    assert_eq!(line["message"], "oh");
    assert_eq!((&line["service"], &line["correlation_id"]), (&"a".into(), &"c1".into()));
    assert_eq!(line["tenant"], "t1");
    assert!(line["target"].as_str().unwrap().contains("log::tests"));
    assert_eq!(line["fields"]["attempt"], 2);
    assert_eq!(line["fields"]["shard"], 4);
    assert_eq!(line["fields"]["late"], 2.5);
    assert_eq!(line["fields"]["secret"], redact::REDACTED);
    assert_eq!(line["fields"]["error"], "the cause");
    assert_eq!(lines[1]["service"], HOST);
}

#[test]
fn levels_are_a_services_own() {
    let (logs, _, _) = start(Config::default());
    let guest = Guest::new();
    let debug = GuestLine { level: Level::Debug, ..guest.line("x", &[]) };
    assert!(!logs.guest_line(&debug));
    logs.set_level(&guest.service, Some(Level::Debug));
    assert_eq!(logs.level("auth-service"), Level::Debug);
    assert_eq!(logs.level("user-service"), Level::Info);
    assert!(logs.guest_line(&debug));
    logs.set_level(&guest.service, None);
    assert!(!logs.guest_line(&debug));
    assert_eq!(logs.recent("auth-service").len(), 1);
}

/// A sink that does not return before it may.
struct Gate {
    entered: Sender<()>,
    open: Receiver<()>,
    kept: Kept,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Both fail once the test has let go, which opens the gate for good.
        let _entered = self.entered.send(());
        let _open = self.open.recv();
        self.kept.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_sink_costs_lines_and_not_time() {
    let (entered, has_entered) = channel();
    let (opener, open) = channel();
    let (kept, metrics) = (Kept::default(), Arc::new(Metrics::new()));
    let gate = Gate { entered, open, kept: kept.clone() };
    let config = Config { queue_bytes: 4 << 10, ..Config::default() };
    let logs = Logs::start(config, gate, Arc::clone(&metrics));
    let guest = Guest::new();
    assert!(logs.guest_line(&guest.line("first", &[])));
    has_entered.recv_timeout(WAIT).unwrap();
    let taken = (0..100).filter(|_| logs.guest_line(&guest.line("more", &[]))).count();
    assert!((5..40).contains(&taken), "{taken}");
    assert_eq!(metrics.log_lines_dropped.get(), 100 - taken as u64);
    assert_eq!(logs.recent("auth-service").len(), 101, "the ring has them all");
    drop(opener);
    drop(has_entered);
    assert!(logs.flush(WAIT));
    drop(logs);
    let told = || kept.lines().iter().find(|line| line["service"] == HOST).cloned();
    let deadline = std::time::SystemTime::now() + WAIT;
    while told().is_none() && std::time::SystemTime::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(told().unwrap()["fields"]["count"], 100 - taken);
    assert_eq!(kept.lines().iter().filter(|line| line["message"] == "more").count(), taken);
}

#[tokio::test]
async fn a_follower_gets_recent_lines_and_new_ones_without_a_gap() {
    let (logs, _, _) = start(Config { ring_bytes: 2 << 10, ..Config::default() });
    let guest = Guest::new();
    for index in 0..100 {
        logs.guest_line(&guest.line(&format!("{index}"), &[]));
    }
    let recent = logs.recent("auth-service");
    assert!(recent.iter().map(|line| line.len()).sum::<usize>() <= 2 << 10);
    assert!(!recent.is_empty() && recent.len() < 20);
    let mut follow = logs.follow("auth-service");
    logs.guest_line(&guest.line("100", &[]));
    for index in 100 - recent.len()..=100 {
        let Some(Followed::Line(line)) = follow.next().await else { panic!("a line") };
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], index.to_string());
    }
    for _ in 0..2000 {
        logs.guest_line(&guest.line("x", &[]));
    }
    let missed = follow.next().await;
    assert!(matches!(missed, Some(Followed::Missed(count)) if count > 900), "{missed:?}");
}

#[test]
fn people_get_a_line_they_can_read() {
    let line = concat!(
        r#"{"time":"2026-01-02T03:04:05.678901Z","level":"warn","service":"a","node":"n","#,
        r#""correlation_id":"c","message":"two\nlines","fields":{"n":1,"t":"x y","u":"v"}}"#
    );
    let text = "03:04:05.678  warn a  two\u{fffd}lines  n=1  t=\"x y\"  u=v  [c]";
    assert_eq!(render_human(line, false), text);
    assert!(render_human(line, true).contains("\x1b[33m warn\x1b[0m"));
    assert_eq!(render_human("not json", true), "not json");
}
