//! Bodies, whole and in pieces.

use std::io;

use super::{Cx, FromRequest, IntoReply, Reply, Request};
use crate::{
    Error, Result, bindings::pyairtable::service::http::Field, imports, openapi::Operation,
};

/// The whole body as bytes, at most the service's body limit and 8 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

const MAX_BYTES: u64 = 8 << 20;

impl FromRequest for Bytes {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        cx.read_body(MAX_BYTES).map(Self)
    }

    fn describe(op: &mut Operation) {
        op.raw_request("application/octet-stream");
    }
}

/// A body in pieces: of the request as an argument of a handler, or of an answer. What is not
/// read is not taken from the sender.
#[derive(Debug)]
pub struct Body(Source);

#[derive(Debug)]
enum Source {
    Whole(io::Cursor<Vec<u8>>),
    Chunks(imports::http::BodyReader),
}

impl Body {
    pub(super) fn new(body: imports::http::BodyIn) -> Self {
        Self(match body {
            imports::http::BodyIn::None => Source::Whole(io::Cursor::default()),
            imports::http::BodyIn::Bytes(bytes) => Source::Whole(io::Cursor::new(bytes)),
            imports::http::BodyIn::Chunks(reader) => Source::Chunks(reader),
        })
    }

    /// The next piece: up to `max` bytes (at most 1 MiB), none at the end.
    ///
    /// # Errors
    /// `body.truncated`, `body.too-large`, `cancelled.caller`, `deadline.exceeded`.
    pub fn chunk(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        let chunk = match &mut self.0 {
            Source::Whole(cursor) => {
                let mut chunk = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(cursor, u64::from(max)), &mut chunk)
                    .map_err(|_| Error::internal("reading from memory failed"))?;
                chunk
            }
            Source::Chunks(reader) => reader.read(max)?,
        };
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Trailer fields, after the end.
    #[must_use]
    pub fn trailers(&self) -> Vec<Field> {
        match &self.0 {
            Source::Whole(_) => Vec::new(),
            Source::Chunks(reader) => reader.trailers(),
        }
    }
}

impl io::Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::Whole(cursor) => cursor.read(buffer),
            Source::Chunks(reader) => {
                let max = u32::try_from(buffer.len().min(1 << 20)).unwrap_or(1 << 20);
                let chunk = reader.read(max).map_err(|e| io::Error::other(Error::from(e)))?;
                buffer[..chunk.len()].copy_from_slice(&chunk);
                Ok(chunk.len())
            }
        }
    }
}

impl FromRequest for Body {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        cx.take_body()?;
        Ok(Self::new(cx.request.0.body()))
    }

    fn describe(op: &mut Operation) {
        op.raw_request("application/octet-stream");
    }
}

impl FromRequest for Request {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        Ok(cx.request.clone())
    }
}

/// The way to answer in pieces: an argument of a handler that returns [`Streamed`].
///
/// ```no_run
/// # use sdk::{Result, http::{Responder, Streamed}};
/// fn export(responder: Responder) -> Result<Streamed> {
///     let mut body = responder.start(200, &[("content-type", "application/x-ndjson")])?;
///     for n in 0..1000 {
///         body.write(format!("{{\"n\":{n}}}\n").as_bytes())?;
///     }
///     body.finish()
/// }
/// ```
#[derive(Debug)]
pub struct Responder(imports::http::Responder);

impl Responder {
    pub(crate) fn new(responder: imports::http::Responder) -> Self {
        Self(responder)
    }

    /// Sends status and headers.
    ///
    /// # Errors
    /// `response.started`, `response.invalid`.
    pub fn start(self, status: u16, headers: &[(&str, &str)]) -> Result<BodyWriter> {
        let headers: Vec<Field> =
            headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Ok(BodyWriter(self.0.start(status, &headers)?))
    }
}

impl FromRequest for Responder {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        cx.responder
            .take()
            .ok_or_else(|| Error::internal("two arguments of the handler take the responder"))
    }
}

/// A body being sent. Dropped without [`finish`](Self::finish) it resets the stream, so that a
/// half-written answer is never taken for a whole one.
#[derive(Debug)]
pub struct BodyWriter(imports::http::BodyWriter);

impl BodyWriter {
    pub(super) fn new(writer: imports::http::BodyWriter) -> Self {
        Self(writer)
    }

    /// Sends a piece; waits for a slow reader.
    ///
    /// # Errors
    /// `cancelled.caller` once the client has left, `guest.output-limit`.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        Ok(self.0.write(chunk)?)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(self) -> Result<Streamed> {
        self.finish_with(&[])
    }

    /// Ends the body with trailer fields.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish_with(self, trailers: &[Field]) -> Result<Streamed> {
        self.0.finish(trailers)?;
        Ok(Streamed(()))
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        self.0.write(chunk).map_err(|e| io::Error::other(Error::from(e)))?;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The proof that an answer was sent in pieces.
#[derive(Debug)]
pub struct Streamed(());

impl IntoReply for Streamed {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply::Streamed)
    }

    fn describe(op: &mut Operation) {
        op.raw_response(200, "application/octet-stream");
    }
}
