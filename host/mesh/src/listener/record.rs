//! The access record of a request under way. It is handed in when the response is over, or when
//! the request is dropped because its client left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use airhost_core::BodyError;
use http::StatusCode;
use tokio::time::Instant;

use super::{Connection, connection::Marks};
use crate::{
    access::{AccessRecord, Outcome},
    flags::Flag,
};

/// A request under way.
pub(crate) struct Pending {
    connection: Arc<Connection>,
    record: AccessRecord,
    started: Instant,
    received: Option<Arc<AtomicU64>>,
    complete: bool,
}

impl Pending {
    /// `record.status` and what follows are placeholders until they are known.
    pub(crate) fn new(connection: Arc<Connection>, record: AccessRecord, started: Instant) -> Self {
        Self { connection, record, started, received: None, complete: false }
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.connection.marks
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn record(&mut self) -> &mut AccessRecord {
        &mut self.record
    }

    /// Where the request body's bytes are counted.
    pub(crate) fn count_received(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.received.get_or_insert_default())
    }

    /// The head of the response is known.
    pub(crate) fn head(&mut self, status: StatusCode, outcome: Option<Outcome>) {
        self.record.status = status;
        if let Some(outcome) = outcome {
            self.record.flags = self.record.flags.union(outcome.flags);
            self.record.route = outcome.route;
            self.record.code = outcome.code;
        }
    }

    /// So many more bytes of the response were taken.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.record.sent += bytes;
    }

    /// All of it was taken.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The response broke off on this side.
    pub(crate) fn broken(&mut self, error: &BodyError) {
        self.complete = true;
        let flag = match error {
            BodyError::Deadline => Flag::UT,
            BodyError::Cancelled => Flag::DC,
            _ => Flag::UC,
        };
        self.record.flags = self.record.flags.with(flag);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.connection.marks.request_ends();
        if !self.complete {
            self.record.flags = self.record.flags.with(Flag::DC);
        }
        if let Some(received) = &self.received {
            self.record.received = received.load(Relaxed);
        }
        self.record.duration = Instant::now().saturating_duration_since(self.started).max(Duration::from_nanos(1));
        self.connection.port.log.record(&self.record);
    }
}
