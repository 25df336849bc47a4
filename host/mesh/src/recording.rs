//! What a call moved and how it ended, counted on the edges it went over.
//!
//! A call whose bodies are in memory is counted at once. A body that streams is counted as it
//! moves, and its call when the answer is over, was cut off, or was dropped.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use airhost_core::{Body, BodyError, Request, Response, Result};
use airhost_telemetry::{
    ResponseFlag,
    access::Access,
    metrics::{EdgeMetrics, Protocol, Seen},
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::{
    flags::{details, response_flag},
    outcome::Outcome,
    trail::Trail,
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A call under way over an edge. One that is dropped before it has [ended](Self::end) was left
/// by its caller: status 0, flag `DC`.
#[must_use]
pub(crate) struct Recording {
    edge: Arc<EdgeMetrics>,
    began: Instant,
    protocol: Protocol,
    request: Moved,
    /// The call's line in the access log.
    line: Option<Box<Access>>,
    counted: bool,
}

/// What was moved of a body.
enum Moved {
    /// It was all there.
    Known { bytes: u64, messages: u64 },
    /// It is on its way.
    Streams(Arc<Counts>),
}

/// What has come of a body.
#[derive(Debug)]
pub(crate) struct Counts {
    protocol: Protocol,
    bytes: AtomicU64,
    messages: AtomicU64,
}

impl Counts {
    pub(crate) fn of(protocol: Protocol) -> Self {
        Self { protocol, bytes: AtomicU64::new(0), messages: AtomicU64::new(0) }
    }

    /// Adds a piece; answers how many bytes there are now.
    pub(crate) fn add(&self, piece: &[u8], messages: &mut Messages) -> u64 {
        if self.protocol == Protocol::Grpc {
            self.messages.fetch_add(messages.add(piece), Relaxed);
        }
        let size = piece.len() as u64;
        self.bytes.fetch_add(size, Relaxed) + size
    }

    /// Bytes and gRPC messages.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.bytes.load(Relaxed), self.messages.load(Relaxed))
    }
}

impl Moved {
    fn get(&self) -> (u64, u64) {
        match self {
            Self::Known { bytes, messages } => (*bytes, *messages),
            Self::Streams(counts) => counts.get(),
        }
    }
}

impl Recording {
    /// Begins with a request that is about to be sent.
    pub(crate) fn begin(edge: &Arc<EdgeMetrics>, request: &mut Request) -> Self {
        let protocol = protocol(request.headers());
        Self {
            edge: Arc::clone(edge),
            began: Instant::now(),
            protocol,
            request: watch(request.body_mut(), protocol),
            line: None,
            counted: false,
        }
    }

    /// Has a line written in the access log too, with what is known of the call when it is over.
    pub(crate) fn with_line(mut self, line: Option<Box<Access>>) -> Self {
        self.line = line;
        self
    }

    /// Counts the call when its answer is over.
    pub(crate) fn end(
        mut self,
        result: Result<Response>,
        trail: Option<&Trail>,
    ) -> Result<Response> {
        if let Some(line) = &mut self.line {
            describe(line, &result, trail);
        }
        match result {
            Ok(response) => Ok(self.answered(response)),
            Err(error) => {
                self.count(error.status().as_u16(), None, response_flag(&error), (0, 0));
                Err(error)
            }
        }
    }

    fn answered(self, mut response: Response) -> Response {
        let told = response.extensions().get::<Outcome>();
        let flag = told.map_or(ResponseFlag::None, |told| told.flag);
        let status = response.status();
        let grpc_status = match self.protocol {
            Protocol::Http => None,
            Protocol::Grpc => grpc_status(response.headers()),
        };
        match response.body_mut() {
            Body::Empty => self.count(status.as_u16(), grpc_status, flag, (0, 0)),
            Body::Bytes(bytes) => {
                let moved = of_bytes(bytes, self.protocol);
                self.count(status.as_u16(), grpc_status, flag, moved);
            }
            body @ Body::Stream(_) => {
                let streams = Answer {
                    body: std::mem::take(body),
                    messages: Messages::default(),
                    moved: (0, 0),
                    ends: Some(Ends { recording: self, status, grpc_status, flag }),
                };
                *body = Body::stream(streams);
            }
        }
        response
    }

    fn count(
        mut self,
        status: u16,
        grpc_status: Option<u16>,
        flag: ResponseFlag,
        (response_bytes, response_messages): (u64, u64),
    ) {
        self.counted = true;
        let (request_bytes, request_messages) = self.request.get();
        if let Some(line) = &mut self.line {
            let record = &mut line.record;
            record.flag = flag;
            (record.bytes_received, record.bytes_sent) = (request_bytes, response_bytes);
        }
        self.edge.record(&Seen {
            protocol: self.protocol,
            status,
            grpc_status,
            flag,
            duration: self.began.elapsed(),
            request_bytes,
            response_bytes,
            request_messages,
            response_messages,
        });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.counted {
            let (request_bytes, request_messages) = self.request.get();
            self.edge.record(&Seen {
                protocol: self.protocol,
                status: 0,
                grpc_status: None,
                flag: ResponseFlag::DownstreamCancelled,
                duration: self.began.elapsed(),
                request_bytes,
                response_bytes: 0,
                request_messages,
                response_messages: 0,
            });
        }
    }
}

/// Says in a call's line how it was answered, or that it was not.
pub(crate) fn describe(line: &mut Access, result: &Result<Response>, trail: Option<&Trail>) {
    let elapsed = line.elapsed();
    let record = &mut line.record;
    if let Some(trail) = trail {
        record.upstream = trail.facts().upstream;
    }
    match result {
        Ok(response) => {
            record.status = Some(response.status());
            record.upstream_time = Some(elapsed);
            if let Some(outcome) = response.extensions().get::<Outcome>() {
                record.flag = outcome.flag;
                record.details = outcome.details();
            }
        }
        Err(error) => {
            record.status = Some(error.status());
            record.flag = response_flag(error);
            record.details = Some(details(error));
        }
    }
}

/// The protocol that a request's head tells of.
pub(crate) fn protocol(headers: &HeaderMap) -> Protocol {
    let kind = headers.get(header::CONTENT_TYPE);
    match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        true => Protocol::Grpc,
        false => Protocol::Http,
    }
}

/// The status of a gRPC call in a head or in trailers.
pub(crate) fn grpc_status(fields: &HeaderMap) -> Option<u16> {
    let status = fields.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()?;
    // Codes 0 to 16 are all there are; what a service makes up counts as UNKNOWN (gRPC: statuscodes.md).
    Some(if status <= 16 { status } else { 2 })
}

/// Counts what is moved of a request's body.
fn watch(body: &mut Body, protocol: Protocol) -> Moved {
    match body {
        Body::Empty => Moved::Known { bytes: 0, messages: 0 },
        Body::Bytes(whole) => {
            let (bytes, messages) = of_bytes(whole, protocol);
            Moved::Known { bytes, messages }
        }
        Body::Stream(_) => {
            let counts = Arc::new(Counts::of(protocol));
            let watched = Watched {
                body: std::mem::take(body),
                messages: Messages::default(),
                counts: Arc::clone(&counts),
            };
            *body = Body::stream(watched);
            Moved::Streams(counts)
        }
    }
}

fn of_bytes(bytes: &Bytes, protocol: Protocol) -> (u64, u64) {
    let messages = match protocol {
        Protocol::Http => 0,
        Protocol::Grpc => Messages::default().add(bytes),
    };
    (bytes.len() as u64, messages)
}

/// Counts the messages of a gRPC stream: each has a head of a flag and its length in four bytes
/// (gRPC: PROTOCOL-HTTP2.md, `Length-Prefixed-Message`).
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// What is there of a head.
    head: [u8; 5],
    of_head: usize,
    /// What is to come of a message.
    left: u64,
}

impl Messages {
    /// Answers how many messages begin in a piece.
    pub(crate) fn add(&mut self, mut piece: &[u8]) -> u64 {
        let mut begun = 0;
        while !piece.is_empty() {
            let skipped = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            piece.advance(skipped);
            self.left -= skipped as u64;
            let taken = piece.len().min(self.head.len() - self.of_head);
            self.head[self.of_head..self.of_head + taken].copy_from_slice(&piece[..taken]);
            self.of_head += taken;
            piece.advance(taken);
            if self.of_head == self.head.len() {
                let [_, a, b, c, d] = self.head;
                (self.of_head, self.left) = (0, u64::from(u32::from_be_bytes([a, b, c, d])));
                begun += 1;
            }
        }
        begun
    }
}

/// A request's body that streams.
struct Watched {
    body: Body,
    messages: Messages,
    counts: Arc<Counts>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.counts.add(data, &mut this.messages);
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

/// An answer's body that streams; with it the call ends.
struct Answer {
    body: Body,
    messages: Messages,
    moved: (u64, u64),
    /// None when the call was counted.
    ends: Option<Ends>,
}

/// How a call ends if its answer's body does as it should.
struct Ends {
    recording: Recording,
    status: StatusCode,
    grpc_status: Option<u16>,
    flag: ResponseFlag,
}

impl Answer {
    /// The body is over; with an own flag if that was not as it should have been.
    fn over(&mut self, flag: Option<ResponseFlag>) {
        let Some(Ends { recording, status, grpc_status, flag: known }) = self.ends.take() else {
            return;
        };
        let flag = flag.filter(|_| known == ResponseFlag::None).unwrap_or(known);
        recording.count(status.as_u16(), grpc_status, flag, self.moved);
    }

    fn frame(&mut self, frame: &Frame<Bytes>) {
        let Some(ends) = &mut self.ends else { return };
        if let Some(data) = frame.data_ref() {
            self.moved.0 += data.len() as u64;
            if ends.recording.protocol == Protocol::Grpc {
                self.moved.1 += self.messages.add(data);
            }
        }
        if let Some(trailers) = frame.trailers_ref()
            && ends.recording.protocol == Protocol::Grpc
        {
            ends.grpc_status = grpc_status(trailers).or(ends.grpc_status);
        }
        if self.body.is_end_stream() {
            self.over(None);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.frame(frame),
            Poll::Ready(Some(Err(error))) => self.over(Some(broken(error))),
            Poll::Ready(None) => self.over(None),
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

impl Drop for Answer {
    fn drop(&mut self) {
        // Whoever reads an answer may leave out that it is over: some stop at its announced length.
        let complete = self.body.is_end_stream();
        self.over((!complete).then_some(ResponseFlag::DownstreamCancelled));
    }
}

/// What it stands for that a response broke off.
pub(crate) fn broken(error: &BodyError) -> ResponseFlag {
    match error {
        BodyError::Deadline => ResponseFlag::Timeout,
        BodyError::Cancelled => ResponseFlag::DownstreamCancelled,
        _ => ResponseFlag::Reset,
    }
}

#[cfg(test)]
mod tests;
