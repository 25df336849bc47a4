//! What a call occupies until the end of its answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use airhost_core::{Body, BodyError, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::destination::{Permit, Picked};

/// A body that streams, with what the call occupies.
struct Held {
    body: Body,
    _occupied: (Picked, Permit),
}

/// Lets go of the endpoint and the place within the limits when the answer is complete: at once,
/// unless it streams.
pub(super) fn hold(response: Response, picked: Picked, permit: Permit) -> Response {
    match response.body() {
        Body::Empty | Body::Bytes(_) => response,
        Body::Stream(_) => {
            response.map(|body| Body::stream(Held { body, _occupied: (picked, permit) }))
        }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
