//! Spans and log lines of guests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::collections::HashMap;

use airhost_core::{Body, TraceContext};
use airhost_runtime::Instances;
use airhost_telemetry::{
    Telemetry,
    trace::{Kind, Span, Status, Tree},
};
use support::{Host, as_tenant, call, config};

fn host() -> (Host, Telemetry) {
    let config = config();
    let telemetry = config.telemetry.clone();
    (Host::with(config), telemetry)
}

fn service(span: &Span) -> &str {
    span.service.as_ref().map_or("", |service| service.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_calls_are_one_tree() {
    let (host, telemetry) = host();
    host.deploy_with("a", "nested", |deployment| deployment.instances = Instances::Fresh).await;
    host.deploy_with("b", "nested", |deployment| deployment.instances = Instances::Warm).await;
    let call = call("a", "GET", "/b/a/b", Body::Empty);
    let (client, correlation) = (call.context.trace, call.context.correlation.clone());
    assert_eq!(host.send(call).await.unwrap().status, 200);

    let spans = telemetry.traces.by_correlation(correlation.as_str());
    assert_eq!(spans, telemetry.traces.by_trace(&client.trace_id));
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "each span has an id of its own");
    let mut served: Vec<_> = spans.iter().filter(|span| span.kind == Kind::Server).collect();
    // The outer one takes longer, and all may begin in one microsecond.
    served.sort_by_key(|span| std::cmp::Reverse(span.duration_micros));
    assert_eq!(served.iter().map(|span| service(span)).collect::<Vec<_>>(), ["a", "b", "a", "b"]);
    assert_eq!(served[0].parent_id, client.span_id);
    for pair in served.windows(2) {
        assert_eq!(pair[1].parent_id, pair[0].span_id);
    }
    for span in &served {
        assert_eq!((span.name.as_ref(), &span.status), ("GET", &Status::Http(200)));
        let facts = serde_json::to_value(&span.attributes).unwrap();
        let instance = if service(span) == "a" { "fresh" } else { "warm" };
        assert_eq!(facts[2], serde_json::json!(["instance", instance]));
    }
    // The second call of `b` came while its first instance was busy.
    let started: Vec<_> = spans.iter().filter(|span| span.kind == Kind::Internal).collect();
    assert_eq!(started.iter().map(|span| service(span)).collect::<Vec<_>>(), ["b", "b"]);
    assert_eq!(Tree::new(spans).to_string().lines().count(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_call_is_below_who_proxies() {
    let (host, telemetry) = host();
    host.deploy("stream", "stream").await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<TraceContext>();
    host.native("target-service", move |call| {
        let tell = tell.clone();
        async move {
            tell.send(call.context.trace).unwrap();
            Ok(airhost_core::Response::new(Body::Empty))
        }
    });
    let call = call("stream", "POST", "/proxy", Body::from("x".to_owned()));
    let correlation = call.context.correlation.clone();
    host.send(call).await.unwrap();
    let spans = telemetry.traces.by_correlation(correlation.as_str());
    let seen = told.try_recv().unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].trace_id, spans[0].span_id), (seen.trace_id, seen.span_id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sampled_leaves_nothing() {
    let (host, telemetry) = host();
    host.deploy("a", "nested").await;
    let mut call = call("a", "GET", "/a", Body::Empty);
    call.context.trace.sampled = false;
    let correlation = call.context.correlation.clone();
    assert_eq!(host.send(call).await.unwrap().status, 200);
    assert!(telemetry.traces.by_correlation(correlation.as_str()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_guest_says_who_wrote_it_in_which_span() {
    let (host, telemetry) = host();
    host.deploy("echo", "echo").await;
    let call = as_tenant(call("echo", "GET", "/print", Body::Empty), "t1");
    let correlation = call.context.correlation.clone();
    assert_eq!(host.send(call).await.unwrap().status, 200);
    let spans = telemetry.traces.by_correlation(correlation.as_str());
    let lines = telemetry.logs.recent("echo");
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let facts = [
        ("info", "stdout", "a line of stdout"),
        ("warn", "stderr", "a line of stderr without its end"),
    ];
    for (line, (level, stream, message)) in lines.iter().zip(facts) {
        assert_eq!((&line["level"], &line["message"]), (&level.into(), &message.into()));
        assert_eq!(line["fields"], serde_json::json!({ "stream": stream }));
        assert_eq!((&line["service"], &line["tenant"]), (&"echo".into(), &"t1".into()));
        assert_eq!(line["correlation_id"], correlation.as_str());
        assert_eq!(line["trace_id"], hex::encode(spans[0].trace_id));
        assert_eq!(line["span_id"], hex::encode(spans[0].span_id));
        assert_eq!(line["revision"].as_str().map(str::len), Some(12));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_over_the_rate_are_counted_and_dropped() {
    let (host, telemetry) = host();
    host.deploy_with("loud", "hostile", |deployment| deployment.limits.log_lines = 20).await;
    host.get("loud", "/log").await;
    let written = telemetry.logs.recent("loud").len();
    assert!((20..2_000).contains(&written), "{written}");
    let first: serde_json::Value = serde_json::from_str(&telemetry.logs.recent("loud")[0]).unwrap();
    assert_eq!((&first["message"], &first["fields"]), (&"line 0".into(), &serde_json::Value::Null));
    let dropped = telemetry.metrics.service(&"loud".parse().unwrap()).guest.log_lines_dropped.get();
    assert!(dropped > 50_000, "{dropped}");
}
