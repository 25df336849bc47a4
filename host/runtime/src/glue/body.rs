//! Bodies in pieces: readers and writers with back-pressure.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use airhost_core::{Body, BodyError, BodyReader as Reader, codes};
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use wasmtime::component::Resource;

use super::{Answer, fields};
use crate::{
    bindings::imports::pyairtable::service::http::{BodyIn, HostBodyReader, HostBodyWriter},
    state::State,
};

/// Most bytes that a guest is given at once.
const MAX_READ: u32 = 1 << 20;
/// Pieces that wait between a writing guest and the connection: one that is sent, and one that is
/// there when it is done.
const WRITES_AHEAD: usize = 2;

/// A body that a guest reads.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct BodyReader {
    reader: Reader,
    /// Bytes that may still come.
    left: u64,
    limit: u64,
    /// Why it cannot be read at all.
    failed: Option<airhost_core::Error>,
}

impl BodyReader {
    fn new(body: Body, limit: u64) -> Self {
        Self { reader: body.reader(), left: limit, limit, failed: None }
    }

    /// A body that answers every read with this error.
    pub(crate) fn failed(error: airhost_core::Error) -> Self {
        Self { failed: Some(error), ..Self::new(Body::Empty, 0) }
    }
}

/// A body that a guest writes.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct BodyWriter {
    /// None once it has ended.
    pieces: Option<mpsc::Sender<Piece>>,
    /// Bytes that may still be written.
    left: u64,
}

enum Piece {
    Data(Bytes),
    End(Option<http::HeaderMap>),
}

/// A body as a guest's variant: small ones whole.
pub(crate) async fn body_in(state: &mut State, body: Body, limit: u64) -> Answer<BodyIn> {
    let inline = state.service.limits.inline_body.min(limit);
    let known = http_body::Body::size_hint(&body).exact();
    if known.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLarge { limit }.into());
    }
    Ok(match body {
        Body::Empty => BodyIn::None,
        Body::Stream(_) if known == Some(0) => BodyIn::None,
        body if known.is_some_and(|length| length <= inline) => {
            BodyIn::Bytes(into_vec(body.collect(inline).await?))
        }
        body => BodyIn::Chunks(state.push(BodyReader::new(body, limit))?),
    })
}

/// The bytes as a vector, without a copy where nothing else refers to them.
pub(crate) fn into_vec(bytes: Bytes) -> Vec<u8> {
    Vec::from(bytes)
}

/// A body that is fed by a writer, and the writer; at most `limit` bytes.
pub(crate) fn pipe(limit: u64) -> (BodyWriter, PipedBody) {
    let (sender, receiver) = mpsc::channel(WRITES_AHEAD);
    (BodyWriter { pieces: Some(sender), left: limit }, PipedBody { pieces: receiver, ended: false })
}

/// A body whose pieces come from a [`BodyWriter`]. It ends well only if the writer says so.
pub(crate) struct PipedBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl http_body::Body for PipedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.pieces.poll_recv(context)) {
            Some(Piece::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Piece::End(trailers)) => {
                self.ended = true;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            None => {
                self.ended = true;
                Poll::Ready(Some(Err(BodyError::Truncated(
                    "the writer was dropped before it finished".into(),
                ))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl HostBodyReader for State {
    async fn read(&mut self, this: Resource<BodyReader>, max: u32) -> Answer<Vec<u8>> {
        let body = self.table.get_mut(&this)?;
        if let Some(error) = &body.failed {
            return Err(error.clone().into());
        }
        let piece = body.reader.read(max.clamp(1, MAX_READ) as usize).await?;
        let size = piece.len() as u64;
        if size > body.left {
            return Err(BodyError::TooLarge { limit: body.limit }.into());
        }
        body.left -= size;
        Ok(into_vec(piece))
    }

    fn trailers(&mut self, this: Resource<BodyReader>) -> wasmtime::Result<Vec<fields::Field>> {
        Ok(self.table.get(&this)?.reader.trailers().map(fields::to_fields).unwrap_or_default())
    }

    fn drop(&mut self, this: Resource<BodyReader>) -> wasmtime::Result<()> {
        self.delete(this)?;
        Ok(())
    }
}

impl HostBodyWriter for State {
    async fn write(&mut self, this: Resource<BodyWriter>, chunk: Vec<u8>) -> Answer<()> {
        let writer = self.table.get_mut(&this)?;
        let Some(pieces) = &writer.pieces else {
            return Err(codes::RESPONSE_STARTED.error("the body has ended").into());
        };
        if chunk.is_empty() {
            return Ok(());
        }
        let size = chunk.len() as u64;
        if size > writer.left {
            // Dropping the sender without an end resets the stream.
            writer.pieces = None;
            return Err(codes::GUEST_OUTPUT
                .error("the body is larger than limits.stream-output")
                .into());
        }
        if pieces.send(Piece::Data(Bytes::from(chunk))).await.is_err() {
            writer.pieces = None;
            return Err(codes::CANCELLED_CALLER.error("the receiver of the body has gone").into());
        }
        writer.left -= size;
        Ok(())
    }

    async fn finish(
        &mut self,
        this: Resource<BodyWriter>,
        trailers: Vec<fields::Field>,
    ) -> Answer<()> {
        let trailers =
            if trailers.is_empty() { None } else { Some(fields::response_fields(trailers)?) };
        let writer = self.table.get_mut(&this)?;
        let Some(pieces) = writer.pieces.take() else {
            return Err(codes::RESPONSE_STARTED.error("the body has ended").into());
        };
        if pieces.send(Piece::End(trailers)).await.is_err() {
            return Err(codes::CANCELLED_CALLER.error("the receiver of the body has gone").into());
        }
        Ok(())
    }

    fn drop(&mut self, this: Resource<BodyWriter>) -> wasmtime::Result<()> {
        self.delete(this)?;
        Ok(())
    }
}
