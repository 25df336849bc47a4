use super::*;

fn traces(max_bytes: usize) -> Arc<Traces> {
    Traces::new(Config { max_bytes, enabled: true })
}

#[tokio::test(start_paused = true)]
async fn spans_are_found_and_drawn_as_a_tree() {
    let traces = traces(1 << 20);
    let root = TraceContext::generate();
    let id = CorrelationId::generate();
    let gateway: ServiceName = "api-gateway".parse().unwrap();
    let mut server = traces.child(Kind::Server, "GET /users", &root, &id).service(&gateway);
    server.set("status", 200_i64);
    tokio::time::advance(Duration::from_millis(2)).await;
    let nested = server.context().child();
    let parent = server.context().span_id;
    let client = traces.span(Kind::Client, "user-service", &nested, parent, &id);
    tokio::time::advance(Duration::from_micros(1500)).await;
    client.end(Status::Error("call.overloaded".into()));
    drop(traces.child(Kind::Sql, "select".to_owned(), &server.context(), &id));
    server.end(Status::Http(200));

    let spans = traces.by_correlation(id.as_str());
    assert_eq!(spans.len(), 3);
    assert_eq!(traces.by_trace(&root.trace_id).len(), 3);
    assert!(traces.by_correlation("other").is_empty());

    let tree = Tree::new(spans.clone());
    let json = serde_json::to_value(&tree).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["name"], "GET /users");
    assert_eq!(json[0]["duration_micros"], 3500);
    assert_eq!(json[0]["attributes"][0][1], 200);
    let children = json[0]["children"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    let client = children.iter().find(|child| child["kind"] == "client").unwrap();
    assert_eq!(client["status"]["error"], "call.overloaded");
    assert_eq!(client["duration_micros"], 1500);
    assert!(children.iter().any(|child| child["status"] == "cancelled"));

    let drawn = tree.to_string();
    let lines: Vec<_> = drawn.lines().collect();
    assert!(lines[0].contains("3.500 ms  api-gateway  server GET /users  200  status=200"));
    assert!(drawn.contains("1.500 ms    airhost  client user-service  error call.overloaded"));

    let text = serde_json::to_string(&spans).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Span>>(&text).unwrap(), spans);
}

#[test]
fn the_ring_is_bounded_by_bytes_and_drops_the_oldest() {
    let traces = traces(64 << 10);
    let root = TraceContext::generate();
    let id = CorrelationId::generate();
    for index in 0..1000_i64 {
        let mut span = traces.child(Kind::Internal, "x", &root, &id);
        span.set("index", index);
        span.end(Status::Ok);
    }
    let shard = &traces.shards[shard_of(&root.trace_id)];
    assert!(shard.lock().bytes <= traces.shard_bytes);
    let spans = traces.by_trace(&root.trace_id);
    assert!(!spans.is_empty() && spans.len() < 100, "{}", spans.len());
    assert_eq!(traces.evicted(), 1000 - spans.len() as u64);
    assert!(spans.iter().any(|span| span.attributes[0].1 == Value::Int(999)));
    let left: usize = shard.lock().spans.iter().map(Span::bytes).sum();
    assert_eq!(left, shard.lock().bytes);
}

#[test]
fn what_is_not_sampled_costs_no_span() {
    let traces = traces(1 << 20);
    let id = CorrelationId::generate();
    let unsampled = TraceContext { sampled: false, ..TraceContext::generate() };
    let span = traces.child(Kind::Server, "x", &unsampled, &id);
    assert_eq!(span.context(), unsampled);
    drop(span);
    traces.enable(false);
    drop(traces.child(Kind::Server, "x", &TraceContext::generate(), &id));
    assert!(traces.by_correlation(id.as_str()).is_empty());
}

#[test]
fn a_tree_takes_orphans_doubles_cycles_and_long_chains() {
    let id = CorrelationId::generate();
    let span = |own: u64, parent: u64, start: u64| Span {
        trace_id: [1; 16],
        span_id: own.to_be_bytes(),
        parent_id: parent.to_be_bytes(),
        correlation: id.clone(),
        kind: Kind::Internal,
        name: "x".into(),
        service: None,
        start_micros: start,
        duration_micros: 1,
        status: Status::Ok,
        attributes: Vec::new(),
    };
    let roots = |spans| serde_json::to_value(Tree::new(spans)).unwrap().as_array().unwrap().len();
    assert_eq!(roots(vec![]), 0);
    assert_eq!(roots(vec![span(1, 0, 0), span(1, 0, 0)]), 1);
    assert_eq!(roots(vec![span(1, 99, 0), span(2, 98, 1)]), 2);
    assert_eq!(roots(vec![span(1, 2, 0), span(2, 1, 1)]), 1);
    assert_eq!(roots(vec![span(1, 1, 0)]), 1);
    let chain = (1..=100).map(|own| span(own, own - 1, own)).collect();
    assert_eq!(Tree::new(chain).to_string().lines().count(), 100);
}
