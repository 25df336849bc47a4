//! Requests and responses: routes, what handlers take and what they answer, and calls to others.

mod body;
mod client;
mod etag;
mod extract;
mod handler;
mod json;
mod page;
mod params;
mod request;
mod respond;
mod router;
mod surface;

pub use body::{Body, BodyWriter, Bytes, Responder, Streamed};
pub use client::{Answer, Call, Pending, delete, get, patch, post, put, request, wait_any};
pub use etag::{ETag, IfMatch, WithEtag};
pub use extract::{Caller, Form, FromRequest, Headers, IdempotencyKey, Path, Query};
pub use handler::{Handler, describe_handler};
pub use json::Json;
pub use page::{Page, PageQuery};
pub use params::{percent_decode, percent_encode};
pub use request::{Cx, Request};
pub use respond::{
    Accepted, Created, IntoReply, IntoResponse, Live, NoContent, Proxy, Redirect, Stored, Text,
};
pub use router::{Method, Route, Routes};
pub use surface::Surface;

pub(crate) use router::dispatch;

pub use crate::bindings::pyairtable::{
    service::http::{BodyOut, Outgoing, Reply},
    types::http::Response,
};

#[cfg(test)]
mod tests;
