//! What handlers answer.

use serde::Serialize;

use super::{Json, Outgoing, Reply, Response};
use crate::{
    Error, Result, Schema,
    bindings::pyairtable::{
        events::live_reply::{Framing, LiveSpec},
        service::http::{Field, ProxyReply},
        storage::blob_reply::BlobRange,
    },
    openapi::Operation,
    sql::Committed,
};

/// The result of a handler.
pub trait IntoReply {
    /// Makes the reply.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn into_reply(self) -> Result<Reply>;

    /// Tells the OpenAPI document about it.
    fn describe(_op: &mut Operation) {}
}

/// A response that is whole in memory.
pub trait IntoResponse {
    /// Makes the response.
    ///
    /// # Errors
    /// If the body cannot be written as JSON.
    fn into_response(self) -> Result<Response>;

    /// Tells the OpenAPI document about it.
    fn describe_response(_op: &mut Operation) {}
}

impl<T: IntoResponse> IntoReply for T {
    fn into_reply(self) -> Result<Reply> {
        self.into_response().map(Reply::Whole)
    }

    fn describe(op: &mut Operation) {
        T::describe_response(op);
    }
}

impl<T: IntoReply> IntoReply for Result<T> {
    fn into_reply(self) -> Result<Reply> {
        self?.into_reply()
    }

    fn describe(op: &mut Operation) {
        T::describe(op);
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply> {
        Ok(self)
    }
}

impl IntoResponse for Response {
    fn into_response(self) -> Result<Response> {
        Ok(self)
    }
}

impl<R: IntoResponse> IntoResponse for Committed<R> {
    fn into_response(self) -> Result<Response> {
        Ok(self.response)
    }

    fn describe_response(op: &mut Operation) {
        R::describe_response(op);
    }
}

impl Response {
    /// A response of a status, without a body.
    #[must_use]
    pub fn of(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A response of a status with JSON.
    ///
    /// # Errors
    /// If the value cannot be written as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::internal(format!("the response is not JSON: {error}")))?;
        Ok(Self { status, headers: Vec::new(), body }.with("content-type", "application/json"))
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Replaces the body.
    #[must_use]
    pub fn body_is(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The first value of a field; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl<T: Serialize + Schema> IntoResponse for Json<T> {
    fn into_response(self) -> Result<Response> {
        Response::json(200, &self.0)
    }

    fn describe_response(op: &mut Operation) {
        op.response(200, T::schema());
    }
}

/// 201 with `Location` and the thing that was made.
#[derive(Clone, Debug)]
pub struct Created<T> {
    location: String,
    value: T,
    etag: Option<super::ETag>,
}

impl<T> Created<T> {
    /// `location` is the path of what was made.
    pub fn at(location: impl Into<String>, value: T) -> Self {
        Self { location: location.into(), value, etag: None }
    }

    /// Adds the `ETag` that later writes name in `If-Match`.
    #[must_use]
    pub fn etag(mut self, etag: super::ETag) -> Self {
        self.etag = Some(etag);
        self
    }
}

impl<T: Serialize + Schema> IntoResponse for Created<T> {
    fn into_response(self) -> Result<Response> {
        let mut response = Response::json(201, &self.value)?.with("location", self.location);
        if let Some(etag) = self.etag {
            response = response.with("etag", etag.to_string());
        }
        Ok(response)
    }

    fn describe_response(op: &mut Operation) {
        op.response(201, T::schema());
        op.response_header(201, "Location", "Where it is");
    }
}

/// 202 with what tells how to follow the work.
#[derive(Clone, Debug)]
pub struct Accepted<T>(pub T);

impl<T: Serialize + Schema> IntoResponse for Accepted<T> {
    fn into_response(self) -> Result<Response> {
        Response::json(202, &self.0)
    }

    fn describe_response(op: &mut Operation) {
        op.response(202, T::schema());
    }
}

/// 204.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Result<Response> {
        Ok(Response::of(204))
    }

    fn describe_response(op: &mut Operation) {
        op.empty_response(204);
    }
}

/// 200 with text of a content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    content_type: &'static str,
    text: String,
}

impl Text {
    /// `text/plain`.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { content_type: "text/plain; charset=utf-8", text: text.into() }
    }

    /// `text/html`.
    pub fn html(text: impl Into<String>) -> Self {
        Self { content_type: "text/html; charset=utf-8", text: text.into() }
    }

    /// Of another type.
    pub fn of(content_type: &'static str, text: impl Into<String>) -> Self {
        Self { content_type, text: text.into() }
    }
}

impl IntoResponse for Text {
    fn into_response(self) -> Result<Response> {
        Ok(Response::of(200).with("content-type", self.content_type).body_is(self.text))
    }

    fn describe_response(op: &mut Operation) {
        op.raw_response(200, "text/plain");
    }
}

/// A redirect: 303 by default, what a form or an authorization endpoint needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: u16,
    location: String,
}

impl Redirect {
    /// 303 See Other.
    pub fn see_other(location: impl Into<String>) -> Self {
        Self { status: 303, location: location.into() }
    }

    /// 302 Found.
    pub fn found(location: impl Into<String>) -> Self {
        Self { status: 302, location: location.into() }
    }

    /// 307 Temporary Redirect: method and body stay.
    pub fn temporary(location: impl Into<String>) -> Self {
        Self { status: 307, location: location.into() }
    }
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Result<Response> {
        Ok(Response::of(self.status).with("location", self.location))
    }

    fn describe_response(op: &mut Operation) {
        op.empty_response(303);
    }
}

/// The host makes the call and moves its answer, after this instance is gone.
///
/// Made by [`Call::proxy`](super::Call::proxy).
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy(ProxyReply);

impl Proxy {
    /// Answers with what the call answers.
    #[must_use]
    pub fn to(target: Outgoing) -> Self {
        Self(ProxyReply { target, response_headers: Vec::new() })
    }

    /// Sets a field on the response, replacing what is there.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.response_headers.push((name.to_owned(), value.into()));
        self
    }
}

impl IntoReply for Proxy {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply::Proxy(self.0))
    }

    fn describe(op: &mut Operation) {
        op.raw_response(200, "application/octet-stream");
    }
}

/// The host sends a stored object and answers conditional and range requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored(BlobRange);

impl Stored {
    /// The object of the blob store, or what the request's `Range` asks for.
    pub fn new(name: impl Into<String>) -> Self {
        Self(BlobRange { name: name.into(), offset: None, length: None, headers: Vec::new() })
    }

    /// A part of it.
    #[must_use]
    pub fn range(mut self, offset: u64, length: Option<u64>) -> Self {
        self.0.offset = Some(offset);
        self.0.length = length;
        self
    }

    /// Adds a header field, as `content-disposition`.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl IntoReply for Stored {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply::Blob(self.0))
    }

    fn describe(op: &mut Operation) {
        op.raw_response(200, "application/octet-stream");
    }
}

/// The host keeps the connection and sends what the channels get.
#[derive(Clone, Debug, PartialEq)]
pub struct Live(LiveSpec);

impl Live {
    /// `text/event-stream`, resumed by `Last-Event-ID`, with a comment every 15 s.
    pub fn sse(channels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::framed(Framing::Sse, channels)
    }

    /// Newline-delimited JSON.
    pub fn ndjson(channels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::framed(Framing::Ndjson, channels)
    }

    fn framed(framing: Framing, channels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let heartbeat_ms = if framing == Framing::Sse { 15_000 } else { 0 };
        Self(LiveSpec {
            channels: channels.into_iter().map(Into::into).collect(),
            framing,
            after: None,
            heartbeat_ms,
            headers: Vec::<Field>::new(),
        })
    }

    /// Replays messages after this number, if the channel still has them.
    #[must_use]
    pub fn after(mut self, number: u64) -> Self {
        self.0.after = Some(number);
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl IntoReply for Live {
    fn into_reply(self) -> Result<Reply> {
        Ok(Reply::Live(self.0))
    }

    fn describe(op: &mut Operation) {
        op.raw_response(200, "text/event-stream");
    }
}
