//! Copies of requests that go elsewhere (`mirror`): nobody waits for them and nobody reads their
//! answers.
//!
//! The copy of a body is made of what the request itself reads, and leaves when that is complete;
//! nothing is read for the copy's sake. A body that is too large, or is not read to its end, is
//! not copied, and that is counted.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use airhost_core::{Body, BodyError, Call, Deadline, Dispatch, Request};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, oneshot};

/// Bytes of a body that are copied at most.
const MOST_BYTES: usize = 64 << 10;
/// Copies under way at most, those included whose body is not complete yet.
const MOST_UNDER_WAY: usize = 128;

/// Sends copies.
#[derive(Debug)]
pub struct Mirrors {
    slots: Arc<Semaphore>,
    deadline: Duration,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    too_large: AtomicU64,
    too_many: AtomicU64,
    incomplete: AtomicU64,
}

/// What became of the copies so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorCounts {
    /// Copies that were sent.
    pub sent: u64,
    /// Of these, those that were answered, with whatever status, and read to the end.
    pub answered: u64,
    /// Of these, those that were not, in time or at all.
    pub failed: u64,
    /// Not sent: the body was larger than 64 KiB.
    pub too_large: u64,
    /// Not sent: 128 were under way.
    pub too_many: u64,
    /// Not sent: the request's body was not read to its end.
    pub incomplete: u64,
}

/// The call once more, without its body: what is to be changed for the copy is changed in it.
/// What only the original can do, as a switch of protocols, is left out.
#[must_use]
pub fn copy_of(call: &Call) -> Call {
    let mut request = Request::new(Body::Empty);
    *request.method_mut() = call.request.method().clone();
    *request.uri_mut() = call.request.uri().clone();
    *request.version_mut() = call.request.version();
    *request.headers_mut() = call.request.headers().clone();
    Call {
        target: call.target.clone(),
        request,
        context: call.context.clone(),
        attrs: call.attrs.clone(),
        // Its destination has pools of its own.
        pool: None,
    }
}

impl Mirrors {
    /// Mirrors whose copies are given up after so long. They do not end with the caller's own
    /// deadline: it may have its answer long before.
    #[must_use]
    pub fn new(deadline: Duration) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(MOST_UNDER_WAY)),
            deadline,
            counters: Counters::default(),
        })
    }

    /// Has copies of a call sent through `to`, as soon as its body was read. The copies are made
    /// with [`copy_of`]; their deadline is set here, and so are their bodies.
    pub fn send(self: &Arc<Self>, call: &mut Call, copies: Vec<Call>, to: &Arc<dyn Dispatch>) {
        let waiting: Vec<_> = copies.into_iter().filter_map(|copy| self.wait(copy, to)).collect();
        if waiting.is_empty() {
            return;
        }
        let mut copies = Copies { mirrors: Arc::clone(self), waiting };
        match call.request.body_mut() {
            Body::Empty => copies.leave(|| Body::Empty),
            Body::Bytes(bytes) if bytes.len() > MOST_BYTES => copies.skip(Skip::TooLarge),
            Body::Bytes(bytes) => copies.leave(|| bytes.clone().into()),
            Body::Stream(stream) if stream.size_hint().lower() > MOST_BYTES as u64 => {
                copies.skip(Skip::TooLarge);
            }
            body @ Body::Stream(_) => {
                let inner = std::mem::take(body);
                let tee = Tee { inner, copied: BytesMut::new(), trailers: None, copies };
                *body = Body::stream(tee);
            }
        }
    }

    /// What became of the copies so far.
    #[must_use]
    pub fn counts(&self) -> MirrorCounts {
        let Counters { sent, answered, failed, too_large, too_many, incomplete } = &self.counters;
        MirrorCounts {
            sent: sent.load(Relaxed),
            answered: answered.load(Relaxed),
            failed: failed.load(Relaxed),
            too_large: too_large.load(Relaxed),
            too_many: too_many.load(Relaxed),
            incomplete: incomplete.load(Relaxed),
        }
    }

    fn count(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Relaxed);
    }

    /// Has a copy wait for its body, if there is room for one more. It is given up when the sender
    /// is dropped.
    fn wait(self: &Arc<Self>, mut copy: Call, to: &Arc<dyn Dispatch>) -> Option<Leave> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            Self::count(&self.counters.too_many, 1);
            return None;
        };
        let (leave, body) = oneshot::channel();
        let (mirrors, to) = (Arc::clone(self), Arc::clone(to));
        airhost_telemetry::spawn_named("mirror", async move {
            if let Ok(body) = body.await {
                *copy.request.body_mut() = body;
                mirrors.make(copy, to).await;
            }
            drop(slot);
        });
        Some(leave)
    }

    async fn make(self: Arc<Self>, mut copy: Call, to: Arc<dyn Dispatch>) {
        let deadline = Deadline::after(self.deadline);
        copy.context.deadline = deadline;
        let answered = async {
            let Ok(response) = to.dispatch(copy).await else { return false };
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return false;
                }
            }
            true
        };
        let done = tokio::time::timeout_at(deadline.instant(), answered).await.unwrap_or(false);
        Self::count(if done { &self.counters.answered } else { &self.counters.failed }, 1);
    }
}

/// Why copies are not sent.
#[derive(Clone, Copy, Debug)]
enum Skip {
    TooLarge,
    Incomplete,
}

/// Lets a copy leave, with its body.
type Leave = oneshot::Sender<Body>;

/// Copies of one request that have not left yet.
#[derive(Debug)]
struct Copies {
    mirrors: Arc<Mirrors>,
    waiting: Vec<Leave>,
}

impl Copies {
    fn leave(&mut self, body: impl Fn() -> Body) {
        // The copy waits for as long as this is there, unless the node has shut down.
        let sent = self.waiting.drain(..).filter_map(|leave| leave.send(body()).ok()).count();
        Mirrors::count(&self.mirrors.counters.sent, sent);
    }

    fn skip(&mut self, why: Skip) {
        let counters = &self.mirrors.counters;
        let counter = match why {
            Skip::TooLarge => &counters.too_large,
            Skip::Incomplete => &counters.incomplete,
        };
        Mirrors::count(counter, self.waiting.len());
        self.waiting.clear();
    }
}

/// A body that is copied while it is read.
struct Tee {
    inner: Body,
    copied: BytesMut,
    trailers: Option<HeaderMap>,
    copies: Copies,
}

impl Tee {
    fn complete(&mut self) {
        if self.copies.waiting.is_empty() {
            return;
        }
        let data = std::mem::take(&mut self.copied).freeze();
        let trailers = self.trailers.take();
        self.copies.leave(|| match &trailers {
            None => data.clone().into(),
            Some(trailers) => {
                Body::stream(WithTrailers { data: data.clone(), trailers: Some(trailers.clone()) })
            }
        });
    }

    fn seen(&mut self, frame: &Frame<Bytes>) {
        if self.copies.waiting.is_empty() {
            return;
        }
        if let Some(data) = frame.data_ref() {
            if self.copied.len() + data.len() > MOST_BYTES {
                self.copied = BytesMut::new();
                self.copies.skip(Skip::TooLarge);
                return;
            }
            self.copied.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        // Who has a length in mind does not ask for more.
        if self.inner.is_end_stream() {
            self.complete();
        }
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.complete(),
            Poll::Ready(Some(Ok(frame))) => self.seen(frame),
            Poll::Ready(Some(Err(_))) => self.copies.skip(Skip::Incomplete),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        if self.copies.waiting.is_empty() {
            return;
        }
        // One that was empty is not polled at all.
        if self.inner.is_end_stream() {
            self.complete();
        } else {
            self.copies.skip(Skip::Incomplete);
        }
    }
}

/// A copied body that ends with trailers.
struct WithTrailers {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl HttpBody for WithTrailers {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}

#[cfg(test)]
mod tests;
