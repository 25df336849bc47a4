//! The request.

use std::rc::Rc;

use super::{Responder, Route};
use crate::{Error, Result, bindings::pyairtable::service::http::Field, imports};

/// The request. As an argument of a handler it gives what has no extractor of its own; cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Request(pub(crate) Rc<imports::http::Request>);

impl Request {
    /// Upper case as sent.
    #[must_use]
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// As sent: percent-encoded, without the query.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// As sent, without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<String> {
        self.0.query()
    }

    /// `http` or `https`, of the client's connection.
    #[must_use]
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// `host[:port]` as sent.
    #[must_use]
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// Name of the gateway route that matched.
    #[must_use]
    pub fn route(&self) -> Option<String> {
        self.0.route()
    }

    /// Path parameters of the gateway route, decoded.
    #[must_use]
    pub fn route_params(&self) -> Vec<(String, String)> {
        self.0.route_params()
    }

    /// All values of a field joined by `, `; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// All fields.
    #[must_use]
    pub fn headers(&self) -> Vec<Field> {
        self.0.headers()
    }

    /// Address of the client as the trusted proxies tell it.
    #[must_use]
    pub fn client_ip(&self) -> String {
        self.0.client_ip()
    }

    /// Length that `content-length` announces.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.0.content_length()
    }
}

/// A request on its way to a handler: what extractors work on.
#[derive(Debug)]
pub struct Cx {
    pub(super) request: Request,
    pub(super) responder: Option<Responder>,
    pub(super) route: Option<&'static Route>,
    pub(super) params: Vec<(&'static str, String)>,
    body_taken: bool,
}

impl Cx {
    pub(super) fn new(request: Request, responder: Responder) -> Self {
        Self {
            request,
            responder: Some(responder),
            route: None,
            params: Vec::new(),
            body_taken: false,
        }
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The route that matched.
    #[must_use]
    pub fn route(&self) -> Option<&'static Route> {
        self.route
    }

    /// A path parameter, decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The whole body, once: an error above `max` bytes.
    ///
    /// # Errors
    /// `body.too-large`, `body.truncated`.
    pub fn read_body(&mut self, max: u64) -> Result<Vec<u8>> {
        self.take_body()?;
        Ok(self.request.0.read_body(max)?)
    }

    pub(super) fn take_body(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.body_taken, true) {
            return Err(Error::internal("two arguments of the handler take the body"));
        }
        Ok(())
    }
}
