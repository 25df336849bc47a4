//! Large bodies in pieces, so that one client's download does not hold up a thread.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use airhost_core::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Most bytes that are handed to the connection at once. Writing them is one system call, which
/// nothing interrupts.
const PIECE: usize = 64 << 10;

/// Bytes that are handed on without a break while both sides are quick. What waits for the thread
/// goes first then: about 100 µs.
const TURN: usize = 256 << 10;

/// A body that is handed on in pieces and with breaks.
pub(crate) struct Pieces {
    body: Body,
    /// What is left of a large frame.
    rest: Bytes,
    /// Bytes handed on since the last break.
    turn: usize,
}

impl Pieces {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new(), turn: 0 }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            let Poll::Ready(Some(Ok(frame))) = polled else {
                self.turn = 0;
                return polled;
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let size = PIECE.min(self.rest.len());
        self.turn += size;
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        // The upper bound first: the lower one may not exceed it.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What is handed on until the end; none is a break.
    fn polled(body: Body) -> Vec<Option<Bytes>> {
        let mut pieces = Pieces::new(body);
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        loop {
            let left = pieces.size_hint().exact().unwrap();
            match Pin::new(&mut pieces).poll_frame(&mut context) {
                Poll::Ready(Some(frame)) => {
                    let piece = frame.unwrap().into_data().unwrap();
                    let now = pieces.size_hint().exact().unwrap();
                    assert_eq!(left - now, piece.len() as u64, "the size hint is of what is left");
                    assert_eq!(pieces.is_end_stream(), now == 0);
                    all.push(Some(piece));
                }
                Poll::Ready(None) => return all,
                Poll::Pending => all.push(None),
            }
        }
    }

    #[test]
    fn a_large_body_comes_in_pieces_with_breaks() {
        let whole: Vec<u8> = (0..TURN * 2 + PIECE + 1).map(|n| (n % 251) as u8).collect();
        let all = polled(Body::from(Bytes::from(whole.clone())));
        let sizes: Vec<usize> =
            all.iter().map(|piece| piece.as_ref().map_or(0, Bytes::len)).collect();
        let turn = [PIECE, PIECE, PIECE, PIECE, 0];
        assert_eq!(sizes, [&turn[..], &turn[..], &[PIECE, 1]].concat());
        assert_eq!(all.into_iter().flatten().flatten().collect::<Vec<u8>>(), whole);
    }

    #[test]
    fn a_small_body_is_handed_on_as_it_is() {
        let body = Bytes::from_static(b"small");
        let all = polled(Body::from(body.clone()));
        assert_eq!(all.len(), 1);
        let piece = all[0].clone().unwrap();
        assert_eq!(piece.as_ptr(), body.as_ptr(), "nothing is copied");
    }
}
