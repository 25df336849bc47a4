use airhost_core::codes;
use airhost_telemetry::metrics::{Destination, Edge, Metrics, Reporter, Security, Side};
use http_body_util::{BodyExt, StreamBody};

use super::*;

struct Counted {
    metrics: Metrics,
    edge: Arc<EdgeMetrics>,
}

impl Counted {
    fn new() -> Self {
        let metrics = Metrics::new();
        let edge = metrics.edge(&Edge {
            reporter: Reporter::Source,
            source: Side::named("a"),
            destination: Side::named("b"),
            service: Destination::default(),
            security: Security::Unknown,
        });
        Self { metrics, edge }
    }

    /// What was counted: calls by status, gRPC status and flag, then bytes and messages.
    fn get(&self) -> Vec<String> {
        let page = self.metrics.render();
        let value = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
        let label = |line: &str, name: &str| {
            let after = line.split(&format!("{name}=\"")).nth(1).unwrap();
            after.split('"').next().unwrap().to_owned()
        };
        let calls = page.lines().filter(|line| line.starts_with("istio_requests_total"));
        let calls = calls.map(|line| {
            let labels = ["response_code", "grpc_response_status", "response_flags"];
            let labels = labels.map(|name| label(line, name));
            format!("{} {}", labels.join(" "), value(line))
        });
        let sums = page.lines().filter(|line| {
            let sum = ["istio_request_bytes_sum", "istio_response_bytes_sum"];
            let messages = ["istio_request_messages_total", "istio_response_messages_total"];
            sum.iter().chain(&messages).any(|name| line.starts_with(name))
        });
        calls.chain(sums.map(value)).collect()
    }
}

fn request(kind: &str, body: Body) -> Request {
    http::Request::post("/").header("content-type", kind).body(body).unwrap()
}

fn stream(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> Body {
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

fn pieces(pieces: &[&'static [u8]]) -> Body {
    stream(pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))).collect())
}

#[test]
fn what_is_in_memory_is_counted_at_once() {
    let counted = Counted::new();
    let mut request = request("application/json", Body::from("12345".to_owned()));
    let recording = Recording::begin(&counted.edge, &mut request);
    let response = recording.end(Ok(Response::new(Body::from("123".to_owned()))), None).unwrap();
    assert!(matches!(response.body(), Body::Bytes(_)), "the body is moved as it is");
    assert_eq!(counted.get(), ["200  - 1", "5", "3"]);
}

#[tokio::test]
async fn what_streams_is_counted_when_it_is_over() {
    let counted = Counted::new();
    let mut request = request("text/plain", pieces(&[b"12", b"345"]));
    let recording = Recording::begin(&counted.edge, &mut request);
    request.into_body().collect(100).await.unwrap();
    let response = recording.end(Ok(Response::new(pieces(&[b"1", b"23", b"4567"]))), None).unwrap();
    assert!(counted.get().is_empty());
    assert_eq!(&response.into_body().collect(100).await.unwrap()[..], b"1234567");
    assert_eq!(counted.get(), ["200  - 1", "5", "7"]);
}

#[tokio::test]
async fn grpc_has_messages_and_a_status_in_trailers() {
    let counted = Counted::new();
    let mut request =
        request("application/grpc+proto", pieces(&[b"\0\0\0\0\x02ab\0\0", b"\0\0\0"]));
    let recording = Recording::begin(&counted.edge, &mut request);
    request.into_body().collect(100).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "14".parse().unwrap());
    let answer = stream(vec![
        Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\x01a"))),
        Ok(Frame::trailers(trailers)),
    ]);
    let mut body = recording.end(Ok(Response::new(answer)), None).unwrap().into_body();
    while body.frame().await.is_some() {}
    assert_eq!(counted.get(), ["200 14 - 1", "12", "6", "2", "1"]);
}

#[test]
fn grpc_without_messages_has_its_status_in_the_head() {
    for (status, label) in [("7", "7"), ("99", "2"), ("nonsense", "")] {
        let counted = Counted::new();
        let mut request = request("application/grpc", Body::Empty);
        let recording = Recording::begin(&counted.edge, &mut request);
        let mut response = Response::new(Body::Empty);
        response.headers_mut().insert(GRPC_STATUS, status.parse().unwrap());
        let _response = recording.end(Ok(response), None).unwrap();
        assert_eq!(counted.get()[0], format!("200 {label} - 1"));
    }
}

#[tokio::test]
async fn a_call_that_does_not_end_well_says_why() {
    let begin = |counted: &Counted| {
        Recording::begin(&counted.edge, &mut request("text/plain", Body::Empty))
    };
    let counted = Counted::new();
    let error = begin(&counted).end(Err(codes::CALL_OVERLOADED.error("full")), None);
    assert!(error.is_err());
    assert_eq!(counted.get()[0], "503  UO 1");

    let counted = Counted::new();
    drop(begin(&counted));
    assert_eq!(counted.get()[0], "0  DC 1");

    let counted = Counted::new();
    let mut body =
        begin(&counted).end(Ok(Response::new(pieces(&[b"a", b"b"]))), None).unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(counted.get(), ["200  DC 1", "0", "1"]);

    for (error, flag) in [
        (BodyError::Deadline, "UT"),
        (BodyError::Cancelled, "DC"),
        (BodyError::Truncated("gone".into()), "UC"),
    ] {
        let counted = Counted::new();
        let answer = stream(vec![Ok(Frame::data(Bytes::from_static(b"a"))), Err(error)]);
        let body = begin(&counted).end(Ok(Response::new(answer)), None).unwrap().into_body();
        assert!(body.collect(100).await.is_err());
        assert_eq!(counted.get()[0], format!("200  {flag} 1"));
    }
}

#[test]
fn a_reason_that_is_told_stays() {
    let counted = Counted::new();
    let recording = Recording::begin(&counted.edge, &mut request("text/plain", Body::Empty));
    let mut response = Response::new(pieces(&[b"a"]));
    crate::outcome::flag(&mut response, ResponseFlag::DelayInjected);
    drop(recording.end(Ok(response), None));
    assert_eq!(counted.get()[0], "200  DI 1");
}

#[test]
fn messages_are_told_apart_wherever_they_are_cut() {
    let stream = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\x01\0";
    let mut whole = stream.to_vec();
    whole.extend([7; 256]);
    whole.extend(b"\0\0\0");
    for size in 1..whole.len() {
        let mut messages = Messages::default();
        let count: u64 = whole.chunks(size).map(|piece| messages.add(piece)).sum();
        assert_eq!(count, 3, "in pieces of {size}");
    }
}
