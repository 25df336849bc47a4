//! The record of a request under way. It is handed in when the response is over, or when the
//! request is dropped because its client left.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use airhost_core::BodyError;
use airhost_telemetry::{
    ResponseFlag,
    access::Access,
    trace::{ActiveSpan, Status},
};
use http::StatusCode;

use super::{Connection, connection::Marks};
use crate::outcome::Outcome;

/// Longest path in the name of a span, in bytes.
const MAX_PATH: usize = 256;

/// A request under way.
pub(crate) struct Pending {
    connection: Arc<Connection>,
    access: Access,
    /// None where the trace is not recorded.
    span: Option<ActiveSpan>,
    received: Option<Arc<AtomicU64>>,
    complete: bool,
}

impl Pending {
    pub(crate) fn new(
        connection: Arc<Connection>,
        access: Access,
        span: Option<ActiveSpan>,
    ) -> Self {
        Self { connection, access, span, received: None, complete: false }
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.connection.marks
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Where the request body's bytes are counted.
    pub(crate) fn count_received(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.received.get_or_insert_default())
    }

    /// The head of the response is known.
    pub(crate) fn head(&mut self, status: StatusCode, outcome: Option<Outcome>) {
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

    /// All of it was taken.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The response broke off on this side.
    pub(crate) fn broken(&mut self, error: &BodyError) {
        self.complete = true;
        self.access.record.flag = match error {
            BodyError::Deadline => ResponseFlag::Timeout,
            BodyError::Cancelled => ResponseFlag::DownstreamCancelled,
            _ => ResponseFlag::Reset,
        };
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
        if let Some(received) = &self.received {
            record.bytes_received = received.load(Relaxed);
        }
        if let Some(status) = record.status {
            let port = &self.connection.port;
            port.metrics.http.record(&record.method, status, duration);
            port.edge.record(status, record.flag, duration);
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
