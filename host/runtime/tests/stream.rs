//! Bodies in pieces, both ways, and what the host moves by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use airhost_core::{Body, BodyError, Dispatch, Response};
use bytes::Bytes;
use http_body::Frame;
use support::{Host, call};

const PIECE: usize = 256 * 1024;

/// A body of so many bytes that counts what was taken of it.
struct Source {
    piece: Bytes,
    left: u64,
    taken: Arc<AtomicU64>,
}

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let size = self.left.min(self.piece.len() as u64);
        self.left -= size;
        self.taken.fetch_add(size, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.piece.slice(..size as usize)))))
    }
}

fn source(size: u64) -> (Body, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    (Body::stream(Source { piece: vec![7; PIECE].into(), left: size, taken: taken.clone() }), taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_goes_through_64_mib() {
    const SIZE: u64 = 1 << 30;
    let host = Host::new();
    host.deploy_with("stream", "stream", |deployment| {
        deployment.limits.body = SIZE;
        deployment.limits.stream_output = SIZE;
        deployment.limits.memory = 64 << 20;
        deployment.limits.cpu = Duration::from_secs(20);
        deployment.limits.wall = Duration::from_secs(120);
    })
    .await;
    let (body, taken) = source(SIZE);
    let mut asked = call("stream", "PUT", "/through", body);
    asked.context.deadline = airhost_core::Deadline::after(Duration::from_secs(120));
    let response = host.runtime.dispatch(asked).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-kind"]),
        (200, &"through".parse::<http::HeaderValue>().unwrap())
    );
    // Nobody reads yet: what was taken is what fits between the two ends.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(taken.load(Ordering::Relaxed) < 8 << 20, "{taken:?}");
    let mut reader = response.into_body().reader();
    let mut total = 0;
    loop {
        let piece = reader.read(1 << 20).await.unwrap();
        if piece.is_empty() {
            break;
        }
        assert_eq!((piece[0], piece[piece.len() - 1]), (7, 7));
        total += piece.len() as u64;
    }
    assert_eq!(total, SIZE);
    assert_eq!(reader.trailers().unwrap()["x-end"], "yes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_breaks_off() {
    let host = Host::new();
    host.deploy_with("stream", "stream", |deployment| deployment.limits.body = 1 << 20).await;
    let (body, taken) = source(16 << 20);
    let error = host.send(call("stream", "PUT", "/through", body)).await.unwrap_err();
    assert_eq!(error.code, "body.truncated");
    assert!(taken.load(Ordering::Relaxed) < 3 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_streamed_answer_is_whole() {
    let host = Host::new();
    host.deploy("stream", "stream").await;
    let answer = host.get("stream", "/small").await;
    assert_eq!((answer.status, answer.text()), (201, "small"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_writes_the_body_of_its_call() {
    let host = Host::new();
    host.deploy("stream", "stream").await;
    host.native("target-service", |call| async move {
        assert_eq!(call.request.method(), "PUT");
        let body = call.request.into_body().collect(u64::MAX).await?;
        Ok(Response::new(Body::from(body.len().to_string())))
    });
    let answer = host.get("stream", "/upload").await;
    assert_eq!((answer.status, answer.text()), (200, "1000000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_request_is_moved_after_the_instance_is_gone() {
    let host = Host::new();
    host.deploy_with("stream", "stream", |deployment| deployment.limits.body = 1 << 30).await;
    let runtime = Arc::downgrade(&host.runtime);
    host.native("target-service", move |call| {
        let runtime = runtime.clone();
        async move {
            assert_eq!(call.request.uri(), "http://target-service/there?q=1");
            assert_eq!(call.request.headers()["x-sent"], "1");
            assert_eq!(call.context.depth, 1);
            let runtime = runtime.upgrade().unwrap();
            assert_eq!(runtime.status().services[0].pools[0].in_flight, 0, "the instance is gone");
            // The body comes back as it goes in, without being read in between.
            let mut response = Response::new(call.request.into_body());
            *response.status_mut() = http::StatusCode::ACCEPTED;
            Ok(response)
        }
    });
    let (body, _) = source(32 << 20);
    let answer = host.send(call("stream", "POST", "/proxy", body)).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (202, 32 << 20));
    assert_eq!(answer.headers["x-proxied"], "yes");
}
