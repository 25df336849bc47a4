//! A request's body that can be sent again.
//!
//! What the first try reads is kept while it goes by, up to a limit, so that another try gets it
//! from the start and then goes on reading where the first one stopped (the design is linkerd's:
//! linkerd/http/retry/src/replay.rs). Nothing is read that a try has not asked for.
//!
//! A try that is given up may be dropped later than the next one begins: a connection lets go of
//! its request when it gets to it. So the next try takes the body over, and the one before ends
//! with an error if it still reads.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use airhost_core::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

/// Smaller pieces are copied together: a piece keeps all of the buffer that it is a part of.
const SMALL: usize = 1_024;

/// The body of a request, from which each try takes its own.
#[derive(Debug)]
pub struct Replay {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// In memory, and can be sent as often as one likes.
    Whole(Bytes),
    /// Too large from the start: for one try only.
    Once(Option<Body>),
    Stream(Arc<Mutex<State>>),
}

impl Replay {
    /// linkerd's limit, and this host's where nothing else is said: 64 KiB.
    pub const LIMIT: usize = 64 << 10;

    /// A body that can be sent again as long as no more than `limit` bytes of it were read.
    #[must_use]
    pub fn new(body: Body, limit: usize) -> Self {
        let small = |size: u64| size <= limit as u64;
        let source = match body {
            Body::Empty => Source::Whole(Bytes::new()),
            Body::Bytes(bytes) if small(bytes.len() as u64) => Source::Whole(bytes),
            Body::Bytes(bytes) => Source::Once(Some(Body::Bytes(bytes))),
            Body::Stream(stream) if !small(stream.size_hint().lower()) => {
                Source::Once(Some(Body::Stream(stream)))
            }
            Body::Stream(stream) if stream.is_end_stream() => Source::Whole(Bytes::new()),
            Body::Stream(stream) => Source::Stream(Arc::new(Mutex::new(State {
                rest: Some(Body::Stream(stream)),
                kept: Some(Kept { left: limit, ..Kept::default() }),
                tries: 0,
                last: false,
                reader: None,
            }))),
        };
        Self { source }
    }

    /// The body for the next try, from its start; none when it cannot be had again: too much of it
    /// was read, or reading it has failed. The try before, if it still reads, fails.
    #[must_use]
    pub fn body(&mut self) -> Option<Body> {
        match &mut self.source {
            Source::Whole(bytes) => Some(bytes.clone().into()),
            Source::Once(body) => body.take(),
            Source::Stream(state) => {
                let mut now = state.lock();
                let from_start = now.tries == 0 || now.kept.is_some();
                if !from_start {
                    return None;
                }
                now.tries += 1;
                if let Some(kept) = &mut now.kept {
                    kept.close_tail();
                }
                let mine = now.tries;
                let before = now.reader.take();
                drop(now);
                if let Some(before) = before {
                    before.wake();
                }
                let state = Arc::clone(state);
                Some(Body::stream(Try { state, mine, next: Next::Kept(0) }))
            }
        }
    }

    /// Whether there would be a body for one more try by now.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match &self.source {
            Source::Whole(_) => true,
            Source::Once(body) => body.is_some(),
            Source::Stream(state) => state.lock().kept.is_some(),
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // There will be no other try: nothing needs to be kept for it.
        if let Source::Stream(state) = &self.source {
            state.lock().last = true;
        }
    }
}

/// What all tries share.
struct State {
    /// What was not read yet; none after its end or an error.
    rest: Option<Body>,
    /// What was read; none when it was too much, or when reading has failed.
    kept: Option<Kept>,
    /// Tries so far; the last one reads.
    tries: u32,
    /// Whether no other try can follow.
    last: bool,
    /// Who waits for the rest.
    reader: Option<Waker>,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Bytes>,
    /// Small pieces, until a large one or a new try follows.
    tail: BytesMut,
    trailers: Option<HeaderMap>,
    /// Bytes that may still be kept.
    left: usize,
}

impl Kept {
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
    }

    /// False when it is too much.
    fn add(&mut self, data: &Bytes) -> bool {
        let Some(left) = self.left.checked_sub(data.len()) else { return false };
        self.left = left;
        if data.len() < SMALL {
            self.tail.extend_from_slice(data);
        } else {
            self.close_tail();
            self.pieces.push(data.clone());
        }
        true
    }
}

impl State {
    /// Reads on, for the last try.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.last {
            self.kept = None;
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(rest).poll_frame(cx) else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.reader = None;
        match &frame {
            None => self.rest = None,
            Some(Err(_)) => {
                self.rest = None;
                self.kept = None;
            }
            Some(Ok(frame)) => {
                if let Some(kept) = &mut self.kept {
                    let fits = match (frame.data_ref(), frame.trailers_ref()) {
                        (Some(data), _) => kept.add(data),
                        (None, Some(trailers)) => {
                            kept.trailers = Some(trailers.clone());
                            true
                        }
                        (None, None) => true,
                    };
                    if !fits {
                        self.kept = None;
                    }
                }
            }
        }
        Poll::Ready(frame)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in a body is nobody's business.
        f.debug_struct("State").field("tries", &self.tries).finish_non_exhaustive()
    }
}

/// Where a try is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// At this piece of what was read before it began.
    Kept(usize),
    /// At the trailers that were read before.
    Trailers,
    /// At what nobody has read yet.
    Rest,
}

/// The body of one try.
struct Try {
    state: Arc<Mutex<State>>,
    mine: u32,
    next: Next,
}

impl HttpBody for Try {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut state = this.state.lock();
        if state.tries != this.mine {
            return Poll::Ready(Some(Err(BodyError::Cancelled)));
        }
        if let Next::Kept(at) = this.next {
            // Nothing is thrown away before this try has read it: it is the only one that reads.
            if let Some(piece) = state.kept.as_ref().and_then(|kept| kept.pieces.get(at)) {
                this.next = Next::Kept(at + 1);
                return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
            }
            this.next = Next::Trailers;
        }
        if this.next == Next::Trailers {
            this.next = Next::Rest;
            if let Some(trailers) = state.kept.as_ref().and_then(|kept| kept.trailers.clone()) {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        }
        state.read(cx)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        let over = state.rest.as_ref().is_none_or(HttpBody::is_end_stream);
        let (pieces, trailers) = ahead(&state, self.next);
        self.mine == state.tries && over && pieces == 0 && !trailers
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.state.lock();
        if self.mine != state.tries {
            return SizeHint::default();
        }
        let kept = ahead(&state, self.next).0 as u64;
        let rest = state.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(kept.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(kept)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// Bytes of what was read before that a try has still before it, and whether trailers are.
fn ahead(state: &State, next: Next) -> (usize, bool) {
    let Some(kept) = &state.kept else { return (0, false) };
    match next {
        Next::Kept(at) => {
            let pieces = kept.pieces.get(at..).unwrap_or_default();
            (pieces.iter().map(Bytes::len).sum(), kept.trailers.is_some())
        }
        Next::Trailers => (0, kept.trailers.is_some()),
        Next::Rest => (0, false),
    }
}

#[cfg(test)]
mod tests;
