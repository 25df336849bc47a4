//! The record of a request under way. It is handed in when the response is over, or when the
//! request is dropped because its client left.

use std::sync::Arc;

use airhost_core::BodyError;
use airhost_telemetry::{
    ResponseFlag,
    access::Access,
    metrics::{Protocol, Seen},
    trace::{ActiveSpan, Status},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::{Connection, connection::Marks};
use crate::{
    outcome::Outcome,
    recording::{Counts, Messages, broken, grpc_status, protocol},
};

/// Longest path in the name of a span, in bytes.
const MAX_PATH: usize = 256;

/// A request under way.
pub(crate) struct Pending {
    connection: Arc<Connection>,
    access: Access,
    /// None where the trace is not recorded.
    span: Option<ActiveSpan>,
    received: Option<Arc<Counts>>,
    protocol: Protocol,
    grpc_status: Option<u16>,
    messages: Messages,
    messages_sent: u64,
    complete: bool,
}

impl Pending {
    pub(crate) fn new(
        connection: Arc<Connection>,
        access: Access,
        span: Option<ActiveSpan>,
        request: &HeaderMap,
    ) -> Self {
        Self {
            connection,
            access,
            span,
            received: None,
            protocol: protocol(request),
            grpc_status: None,
            messages: Messages::default(),
            messages_sent: 0,
            complete: false,
        }
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.connection.marks
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Where the request body's bytes are counted.
    pub(crate) fn count_received(&mut self) -> Arc<Counts> {
        let counts = || Arc::new(Counts::of(self.protocol));
        Arc::clone(self.received.get_or_insert_with(counts))
    }

    /// The head of the response is known.
    pub(crate) fn head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        outcome: Option<Outcome>,
    ) {
        if self.protocol == Protocol::Grpc {
            self.grpc_status = grpc_status(headers);
        }
        let record = &mut self.access.record;
        record.status = Some(status);
        if let Some(outcome) = outcome {
            record.flag = outcome.flag;
            record.route = outcome.route.map(|route| Arc::clone(&route.name));
        }
    }

    /// So many more bytes came.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.access.record.bytes_received += bytes;
    }

    /// So many more bytes of the response were taken.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.access.record.bytes_sent += bytes;
    }

    /// A piece of the response was taken.
    pub(crate) fn frame(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.sent(data.len() as u64);
            if self.protocol == Protocol::Grpc {
                self.messages_sent += self.messages.add(data);
            }
        }
        if let Some(trailers) = frame.trailers_ref()
            && self.protocol == Protocol::Grpc
        {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        }
    }

    /// All of it was taken.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The response broke off on this side.
    pub(crate) fn broken(&mut self, error: &BodyError) {
        self.complete = true;
        self.access.record.flag = broken(error);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.connection.marks.request_ends();
        let duration = self.access.elapsed();
        let record = &mut self.access.record;
        if !self.complete && record.flag == ResponseFlag::None {
            record.flag = ResponseFlag::DownstreamCancelled;
        }
        let (bytes, request_messages) =
            self.received.as_ref().map_or((0, 0), |counts| counts.get());
        record.bytes_received += bytes;
        let port = &self.connection.port;
        port.edge.record(&Seen {
            protocol: self.protocol,
            status: record.status.map_or(0, |status| status.as_u16()),
            grpc_status: self.grpc_status,
            flag: record.flag,
            duration,
            request_bytes: record.bytes_received,
            response_bytes: record.bytes_sent,
            request_messages,
            response_messages: self.messages_sent,
        });
        if let Some(status) = record.status {
            port.metrics.http.record(&record.method, status, duration);
        }
        if let Some(mut span) = self.span.take() {
            let path = &record.path[..record.path.floor_char_boundary(MAX_PATH)];
            span.rename(format!("{} {path}", record.method));
            if record.flag != ResponseFlag::None {
                span.set("flags", record.flag.as_str());
            }
            if let Some(status) = record.status {
                span.end(Status::Http(status.as_u16()));
            }
        }
    }
}
