//! The listener, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use airhost_core::{Body, BodyError, Response, codes};
use airhost_mesh::{MinRate, PortSettings};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use support::{Server, Service, http1, http2, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::Empty).unwrap()
}

async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    let bytes = within(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A body that gives what is sent into the channel.
fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    (sender, Body::stream(StreamBody::new(stream.boxed())))
}

#[tokio::test]
async fn both_versions_of_http_share_a_port() {
    let server = Server::start(Service::echo()).await;
    let request = Request::post("/e").header("host", "h").body(Body::from("one")).unwrap();
    let response = within(http1(&server).await.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"].len(), 36);
    assert_eq!(text(response).await, "one");
    assert_eq!(server.logged().await, "POST /e 200 - in=3 out=3");

    let request = Request::post("http://h/e")
        .header("x-correlation-id", "mine")
        .body(Body::from("two"))
        .unwrap();
    let response = within(http2(&server).await.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["x-correlation-id"], "mine");
    assert_eq!(text(response).await, "two");
    assert_eq!(server.logged().await, "POST /e 200 - in=3 out=3");
}

#[tokio::test]
async fn the_call_carries_what_the_host_knows_and_no_claims() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let service = Service::by(move |call| {
        sender
            .send((
                call.request.headers().clone(),
                call.context.clone(),
                call.request.uri().clone(),
            ))
            .unwrap();
        async { Ok(Response::new(Body::Empty)) }
    });
    let server = Server::with(
        service,
        |config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()],
        PortSettings::default(),
    )
    .await;
    let request = Request::get("/a%2Fb?x=1")
        .header("host", "api.example.com")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-client-cert", "URI=spiffe://evil")
        .header("x-airhost-tenant", "evil")
        .header("x-user-id", "evil")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("authorization", "Bearer t")
        .body(Body::Empty)
        .unwrap();
    within(http1(&server).await.send_request(request)).await.unwrap();
    let (headers, context, uri) = within(seen.recv()).await.unwrap();
    for gone in ["x-forwarded-client-cert", "x-airhost-tenant", "x-user-id", "x-hop", "connection"]
    {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_eq!(headers["authorization"], "Bearer t");
    assert_eq!(context.trace.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(context.client_ip.unwrap().to_string(), "203.0.113.9");
    assert!(context.principal.is_none() && context.depth == 0);
    assert!(context.deadline.remaining() <= Duration::from_secs(10));
    assert_eq!(uri.to_string(), "https://api.example.com/a%2Fb?x=1");
}

#[tokio::test]
async fn small_bodies_come_whole_and_large_ones_stream() {
    let service = Service::by(|call| async move {
        let kind = match call.request.body() {
            Body::Empty => "none",
            Body::Bytes(_) => "bytes",
            Body::Stream(_) => "stream",
        };
        Ok(Response::new(Body::from(kind)))
    });
    let settings = PortSettings { inline_body: 10, body: 100, ..PortSettings::default() };
    let server = Server::with(service, |_| {}, settings).await;
    let mut client = http1(&server).await;
    for (size, expected) in [(0, "none"), (10, "bytes"), (11, "stream")] {
        let request =
            Request::post("/").header("host", "h").body(Body::from(vec![b'x'; size])).unwrap();
        assert_eq!(text(within(client.send_request(request)).await.unwrap()).await, expected);
        client.ready().await.unwrap();
    }
    let request =
        Request::post("/v0/app/T").header("host", "h").body(Body::from(vec![b'x'; 101])).unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text(response).await.contains("REQUEST_TOO_LARGE"));
}

#[tokio::test]
async fn a_body_without_length_is_cut_off_at_the_limit() {
    let service = Service::by(|call| async move {
        let error = call.request.into_body().collect(1 << 20).await.unwrap_err();
        Err(error.into())
    });
    let settings = PortSettings { body: 100, ..PortSettings::default() };
    let server = Server::with(service, |_| {}, settings).await;
    let (sender, body) = channel();
    let request = Request::post("/").header("host", "h").body(body).unwrap();
    let mut client = http1(&server).await;
    let answer = client.send_request(request);
    for _ in 0..2 {
        sender.send(Ok(Frame::data(Bytes::from(vec![b'x'; 60])))).await.unwrap();
    }
    assert_eq!(within(answer).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let server = Server::start(Service::echo()).await;
    let mut client = http2(&server).await;
    let (sender, body) = channel();
    let request = Request::post("http://h/").body(body).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    sender.send(Ok(Frame::data(Bytes::from_static(b"ping")))).await.unwrap();
    let mut response = within(answer).await.unwrap().unwrap();
    let frame = within(response.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "ping");
    sender.send(Ok(Frame::data(Bytes::from_static(b"pong")))).await.unwrap();
    let frame = within(response.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "pong");
    drop(sender);
    let rest = within(response.into_body().collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
}

#[tokio::test]
async fn a_slow_reader_stops_the_producer() {
    let produced = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&produced);
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 2000;
    let service = Service::by(move |_| {
        let count = Arc::clone(&count);
        let stream = futures_util::stream::iter(0..PIECES).map(move |_| {
            count.fetch_add(1, SeqCst);
            Ok(Frame::data(Bytes::from(vec![0; PIECE])))
        });
        async { Ok(Response::new(Body::stream(StreamBody::new(stream)))) }
    });
    let server = Server::start(service).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    within(stream.read_exact(&mut first)).await.unwrap();
    // The kernel's buffers fill up, and then nothing more is produced.
    let mut last = 0;
    within(async {
        loop {
            tokio::time::sleep(Duration::from_millis(40)).await;
            let now = produced.load(SeqCst);
            if now == last && now > 0 {
                break;
            }
            last = now;
        }
    })
    .await;
    assert!(last < PIECES / 2, "{last} pieces were produced for a reader that took one byte");
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() > PIECE * PIECES);
    assert_eq!(produced.load(SeqCst), PIECES);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_work() {
    for version in [1, 2] {
        let (started, dropped) =
            (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        struct Gone(Arc<tokio::sync::Notify>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let (begin, end) = (Arc::clone(&started), Arc::clone(&dropped));
        let service = Service::by(move |_| {
            let (begin, gone) = (Arc::clone(&begin), Gone(Arc::clone(&end)));
            async move {
                begin.notify_one();
                std::future::pending::<()>().await;
                drop(gone);
                Ok(Response::new(Body::Empty))
            }
        });
        let server = Server::start(service).await;
        if version == 1 {
            let mut client = http1(&server).await;
            let answer = tokio::spawn(async move { client.send_request(get("/slow")).await });
            within(started.notified()).await;
            answer.abort();
        } else {
            let mut client = http2(&server).await;
            let answer = tokio::spawn(client.send_request(get("http://h/slow")));
            within(started.notified()).await;
            answer.abort();
        }
        within(dropped.notified()).await;
        assert_eq!(server.logged().await, "GET /slow 0 DC in=0 out=0");
    }
}

#[tokio::test]
async fn errors_are_answered_in_the_shape_of_the_surface() {
    let service = Service::by(|_| async {
        Err(codes::CALL_OVERLOADED.error("full").retry_after(Duration::from_secs(2)))
    });
    let server = Server::start(service).await;
    let mut client = http1(&server).await;
    let response = within(client.send_request(get("/api/v1/users"))).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(response.headers()["x-envoy-overloaded"], "true");
    assert!(text(response).await.contains("call.overloaded"));
    assert!(server.logged().await.starts_with("GET /api/v1/users 503 UO"));
    client.ready().await.unwrap();
    let response = within(client.send_request(get("/v0/app1/T"))).await.unwrap();
    assert!(text(response).await.contains("\"type\":\"SERVICE_UNAVAILABLE\""));
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = Server::start(Service::text("twelve bytes")).await;
    let answer = server.raw("HEAD / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 12\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(server.logged().await, "HEAD / 200 - in=0 out=0");
}

#[tokio::test]
async fn a_wrong_length_does_not_break_the_connection() {
    let service = Service::by(|_| async {
        let response =
            http::Response::builder().header("content-length", "1000").body(Body::from("short"));
        Ok(response.unwrap())
    });
    let server = Server::start(service).await;
    let answer = server.raw("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("short"), "{answer}");
}

#[tokio::test]
async fn expect_continue_waits_for_the_reader() {
    let (go, went) = oneshot::channel::<()>();
    let went = Arc::new(tokio::sync::Mutex::new(Some(went)));
    let service = Service::by(move |call| {
        let went = Arc::clone(&went);
        async move {
            went.lock().await.take().unwrap().await.unwrap();
            let body = call.request.into_body().collect(100).await?;
            Ok(Response::new(Body::from(body)))
        }
    });
    let server = Server::start(service).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 256];
    let early = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut buffer)).await;
    assert!(early.is_err(), "nobody has read the body yet");
    go.send(()).unwrap();
    let size = within(stream.read(&mut buffer)).await.unwrap();
    assert!(buffer[..size].starts_with(b"HTTP/1.1 100 Continue\r\n"));
    stream.write_all(b"hi").await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("hi"), "{answer}");
}

#[tokio::test]
async fn absolute_targets_are_for_hosts_that_are_served() {
    let service = Service::by(|call| async move {
        let host = call.request.headers()["host"].to_str().unwrap().to_owned();
        Ok(Response::new(Body::from(format!("{host} {}", call.request.uri()))))
    });
    let adjust = |config: &mut airhost_mesh::ListenerConfig| {
        config.absolute_hosts = vec!["content.airtable.com".to_owned()];
    };
    let server = Server::with(service, adjust, PortSettings::default()).await;
    let cases = [
        (
            "POST http://content.airtable.com/v0/a/r/f/uploadAttachment HTTP/1.1\r\nhost: x",
            200,
            "content.airtable.com /v0/a/r/f/uploadAttachment",
        ),
        ("GET http://127.0.0.1:9/a?b HTTP/1.1\r\nhost: x", 200, "127.0.0.1:9 /a?b"),
        ("GET http://evil.example/ HTTP/1.1\r\nhost: evil.example", 421, "request.misdirected"),
        (
            "CONNECT content.airtable.com:443 HTTP/1.1\r\nhost: content.airtable.com:443",
            421,
            "request.misdirected",
        ),
        ("GET /x HTTP/1.1\r\naccept: */*", 400, "request.invalid"),
        ("GET /x HTTP/1.1\r\nhost: a\r\nhost: b", 400, "request.invalid"),
    ];
    for (request, status, expected) in cases {
        let answer = server.raw(&format!("{request}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(expected), "{request}: {answer}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_harmless() {
    let server = Server::with(
        Service::text("ok"),
        |config| config.head_fields = 10,
        PortSettings::default(),
    )
    .await;
    let many = "x: y\r\n".repeat(20);
    let long = "a".repeat(25 << 10);
    let huge = "b".repeat(200 << 10);
    let cases = [
        ("\x16\x03\x01\x02\x00\x01\x00".to_owned(), ""),
        ("GET\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET / HTTP/1.1\r\nhost: h\r\nbad header\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (format!("GET / HTTP/1.1\r\nhost: h\r\n{many}\r\n"), "HTTP/1.1 431"),
        (format!("GET /{long} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"), "HTTP/1.1 414"),
        (format!("GET / HTTP/1.1\r\nhost: h\r\nx: {huge}\r\n\r\n"), ""),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nnonsense".to_owned(), ""),
    ];
    for (request, expected) in cases {
        let mut stream = server.connect().await;
        // The server may close before it has read everything.
        let _sent = stream.write_all(request.as_bytes()).await;
        let _end = stream.shutdown().await;
        let mut answer = Vec::new();
        let _read = within(stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(expected), "{:?}: {answer}", &request[..20.min(request.len())]);
    }
    let answer = server.raw("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_closes_the_rest() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let release = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&release);
    let service = Service::by(move |call| {
        let (begun, wait) = (begun.clone(), Arc::clone(&wait));
        async move {
            if call.request.uri().path() == "/slow" {
                begun.send(()).unwrap();
                wait.notified().await;
            }
            Ok(Response::new(Body::from("done")))
        }
    });
    let server = Arc::new(Server::start(service).await);
    let mut idle = http1(&server).await;
    assert_eq!(text(within(idle.send_request(get("/"))).await.unwrap()).await, "done");
    let mut busy1 = http1(&server).await;
    let mut busy2 = http2(&server).await;
    let first = tokio::spawn(async move { busy1.send_request(get("/slow")).await.unwrap() });
    let second =
        tokio::spawn(async move { busy2.send_request(get("http://h/slow")).await.unwrap() });
    within(begins.recv()).await.unwrap();
    within(begins.recv()).await.unwrap();
    let draining = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.listener.drain(support::PATIENCE).await }
    });
    // The idle connection is closed, and new ones are not taken.
    within(async {
        while !idle.is_closed() {
            tokio::task::yield_now().await
        }
    })
    .await;
    within(async {
        while tokio::net::TcpStream::connect(server.address()).await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(!draining.is_finished());
    release.notify_waiters();
    let first = within(first).await.unwrap();
    assert_eq!(first.headers()["connection"], "close");
    assert_eq!(text(first).await, "done");
    assert_eq!(text(within(second).await.unwrap()).await, "done");
    assert_eq!(within(draining).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_drain_cuts_what_outlasts_it() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let service = Service::by(move |_| {
        begun.send(()).unwrap();
        std::future::pending()
    });
    let server = Server::start(service).await;
    let mut client = http1(&server).await;
    let answer = tokio::spawn(async move { client.send_request(get("/")).await });
    within(begins.recv()).await.unwrap();
    assert_eq!(within(server.listener.drain(Duration::from_millis(30))).await.cut, 1);
    assert!(within(answer).await.unwrap().is_err());
    assert_eq!(server.logged().await, "GET / 0 DC in=0 out=0");
}

fn impatient(config: &mut airhost_mesh::ListenerConfig) {
    config.header_timeout = Duration::from_millis(80);
    config.idle_timeout = Duration::from_millis(160);
    config.min_rate = MinRate { bytes_per_second: 1000, patience: Duration::from_millis(80) };
}

#[tokio::test]
async fn slow_heads_are_cut_off() {
    let server = Server::with(Service::text("ok"), impatient, PortSettings::default()).await;
    for begin in ["", "GET / HT"] {
        let mut stream = server.connect().await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _end = within(stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty());
    }
    within(async {
        while server.listener.connections() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let server = Server::with(Service::text("ok"), impatient, PortSettings::default()).await;
    let mut client = http1(&server).await;
    within(client.send_request(get("/"))).await.unwrap();
    within(async {
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_drips_is_answered_408() {
    let server = Server::with(Service::echo(), impatient, PortSettings::default()).await;
    let answer = server.raw("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body.too-slow"), "{answer}");
    assert_eq!(server.logged().await.split(" out").next().unwrap(), "POST /x 408 DC in=3");
}

#[tokio::test]
async fn a_response_that_nobody_takes_is_given_up() {
    let service = Service::by(|_| async {
        let stream =
            futures_util::stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![0; 64 << 10]))));
        Ok(Response::new(Body::stream(StreamBody::new(stream))))
    });
    let server = Server::with(service, impatient, PortSettings::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut client = http2(&server).await;
    let _untaken = within(client.send_request(get("http://h/big"))).await.unwrap();
    for _ in 0..2 {
        assert!(server.logged().await.starts_with("GET /big 200 DC"));
    }
}

#[tokio::test]
async fn connections_are_capped() {
    let server =
        Server::with(Service::text("ok"), |config| config.connections = 1, PortSettings::default())
            .await;
    let first = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let early =
        tokio::time::timeout(Duration::from_millis(50), second.read_to_string(&mut answer)).await;
    assert!(early.is_err() && answer.is_empty());
    drop(first);
    within(second.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
}
