//! The record of a request under way. It is handed in when the response is over, or when the
//! request is dropped because its client left.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use airhost_core::BodyError;
use airhost_telemetry::{
    ResponseFlag,
    access::Access,
    metrics::{Protocol, Seen},
    trace::{ActiveSpan, Status, capped, method},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::{Connection, connection::Marks};
use crate::{
    outcome::Outcome,
    recording::{Counts, Messages, broken, grpc_status, protocol},
    trail::Trail,
};

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
    trail: Arc<Trail>,
    /// The client's address, as trusted proxies tell it.
    client: Option<IpAddr>,
    complete: bool,
}

impl Pending {
    pub(crate) fn new(
        connection: Arc<Connection>,
        access: Access,
        span: Option<ActiveSpan>,
        request: &HeaderMap,
        client: Option<IpAddr>,
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
            trail: Arc::default(),
            client,
            complete: false,
        }
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.connection.marks
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Where it is told what becomes of the request.
    pub(crate) fn trail(&self) -> Arc<Trail> {
        Arc::clone(&self.trail)
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
        let elapsed = self.access.elapsed();
        let record = &mut self.access.record;
        record.status = Some(status);
        record.upstream = self.trail.facts().upstream;
        record.upstream_time = record.upstream.cluster.is_some().then_some(elapsed);
        if let Some(outcome) = outcome {
            record.flag = outcome.flag;
            record.details = outcome.details();
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
            let method = method(&record.method);
            span.rename(match &record.route {
                Some(route) => Cow::Owned(format!("{method} {route}")),
                None => Cow::Borrowed(method),
            });
            span.set("http.request.method", method);
            span.set("url.path", capped(&record.path).to_owned());
            if let Some(agent) = &record.user_agent {
                span.set("user_agent.original", capped(agent).to_owned());
            }
            if let Some(client) = self.client {
                span.set("client.address", client.to_string());
            }
            if let Some(peer) = &record.peer {
                span.set("mesh.peer", Arc::clone(peer));
            }
            if record.flag != ResponseFlag::None {
                span.set("mesh.response_flags", record.flag.as_str());
            }
            if let Some(status) = record.status {
                span.end(Status::Http(status.as_u16()));
            }
        }
    }
}
