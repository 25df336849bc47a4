//! Bodies on their way in and out of a connection. Nothing is read ahead: a frame is taken from
//! the socket when the receiver asks for it.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use airhost_core::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{connection::Marks, pieces::Pieces, record::Pending};
use crate::recording::{Counts, Messages};

/// The sender did not keep the least rate.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
pub(crate) struct TooSlow;

/// A request's body.
pub(crate) struct RequestBody {
    incoming: Incoming,
    marks: Arc<Marks>,
    received: Arc<Counts>,
    messages: Messages,
    limit: u64,
    awaited: bool,
}

impl RequestBody {
    pub(crate) fn new(
        incoming: Incoming,
        marks: Arc<Marks>,
        received: Arc<Counts>,
        limit: u64,
    ) -> Self {
        Self { incoming, marks, received, messages: Messages::default(), limit, awaited: false }
    }

    fn await_client(&mut self, waits: bool) {
        if self.awaited != waits {
            self.awaited = waits;
            self.marks.body_awaited(waits);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            self.marks.body_reader.register(cx.waker());
            if self.marks.too_slow.load(Relaxed) {
                return Poll::Ready(Some(Err(BodyError::Truncated(Box::new(TooSlow)))));
            }
            self.await_client(true);
            return Poll::Pending;
        };
        self.await_client(false);
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(BodyError::Truncated(Box::new(error)))),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let this = &mut *self;
                    if this.received.add(data, &mut this.messages) > this.limit {
                        return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
                    }
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.await_client(false);
    }
}

/// A response's body; its end is the end of the request.
pub(crate) struct ResponseBody {
    body: Pieces,
    /// None when the connection becomes something else and is accounted for there.
    pending: Option<Pending>,
    untaken: bool,
}

impl ResponseBody {
    pub(crate) fn new(body: Body, mut pending: Pending) -> Self {
        if body.is_end_stream() {
            pending.complete();
        }
        Self { body: Pieces::new(body), pending: Some(pending), untaken: false }
    }

    /// The empty body of a switch of protocols.
    pub(crate) fn switched() -> Self {
        Self { body: Pieces::new(Body::Empty), pending: None, untaken: false }
    }

    fn hold(&mut self, waits: bool) {
        if let Some(pending) = &self.pending
            && self.untaken != waits
        {
            self.untaken = waits;
            pending.marks().piece_untaken(waits);
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.hold(false);
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let Some(pending) = &mut this.pending else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                pending.frame(frame);
                if this.body.is_end_stream() {
                    pending.complete();
                } else {
                    this.hold(true);
                }
            }
            Poll::Ready(Some(Err(error))) => pending.broken(error),
            Poll::Ready(None) => pending.complete(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.hold(false);
    }
}
