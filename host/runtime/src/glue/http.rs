//! `service/http`: the request that is handled, and the responder.

use airhost_core::{Body, Response, codes};
use http::{StatusCode, header, request::Parts};
use wasmtime::component::Resource;

use super::{
    Answer,
    body::{self, BodyWriter},
    fields::{self, Field},
};
use crate::{
    bindings::imports::pyairtable::service::http::{
        self as wit, BodyIn, HostRequest, HostResponder,
    },
    state::{Handling, State},
};

/// A handle to the request of a call; its number is the call's.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Request;
/// A handle to the responder of a call.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Responder;

/// The request that is being handled.
pub(crate) struct Incoming {
    pub(crate) parts: Parts,
    /// Taken once, by the guest or by a call that passes it on.
    pub(crate) body: Body,
}

impl State {
    fn handling(&mut self, call: u32) -> wasmtime::Result<&mut Handling> {
        match &mut self.call.handling {
            Some(handling) if self.call.number == call => Ok(handling),
            _ => Err(wasmtime::format_err!("the request is of a call that has ended")),
        }
    }

    fn request(&mut self, this: &Resource<Request>) -> wasmtime::Result<&mut Incoming> {
        Ok(&mut self.handling(this.rep())?.request)
    }
}

impl wit::Host for State {}

impl HostRequest for State {
    fn method(&mut self, this: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.request(&this)?.parts.method.as_str().to_owned())
    }

    fn path(&mut self, this: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.request(&this)?.parts.uri.path().to_owned())
    }

    fn query(&mut self, this: Resource<Request>) -> wasmtime::Result<Option<String>> {
        Ok(self.request(&this)?.parts.uri.query().map(ToOwned::to_owned))
    }

    fn scheme(&mut self, this: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.request(&this)?.parts.uri.scheme_str().unwrap_or("http").to_owned())
    }

    fn authority(&mut self, this: Resource<Request>) -> wasmtime::Result<String> {
        let parts = &self.request(&this)?.parts;
        Ok(match parts.uri.authority() {
            Some(authority) => authority.as_str().to_owned(),
            None => parts.headers.get(header::HOST).map(fields::text).unwrap_or_default(),
        })
    }

    fn route(&mut self, this: Resource<Request>) -> wasmtime::Result<Option<String>> {
        self.handling(this.rep())?;
        Ok(self.call.context.route.as_ref().map(|route| route.name.as_ref().to_owned()))
    }

    fn route_params(&mut self, this: Resource<Request>) -> wasmtime::Result<Vec<(String, String)>> {
        self.handling(this.rep())?;
        Ok(self.call.context.route.as_ref().map(|route| route.params.clone()).unwrap_or_default())
    }

    fn header(
        &mut self,
        this: Resource<Request>,
        name: String,
    ) -> wasmtime::Result<Option<String>> {
        Ok(fields::joined(&self.request(&this)?.parts.headers, &name))
    }

    fn headers(&mut self, this: Resource<Request>) -> wasmtime::Result<Vec<Field>> {
        Ok(fields::to_fields(&self.request(&this)?.parts.headers))
    }

    fn client_ip(&mut self, this: Resource<Request>) -> wasmtime::Result<String> {
        self.handling(this.rep())?;
        Ok(self.call.context.client_ip.map(|ip| ip.to_string()).unwrap_or_default())
    }

    fn content_length(&mut self, this: Resource<Request>) -> wasmtime::Result<Option<u64>> {
        let request = self.request(&this)?;
        Ok(content_length(&request.parts.headers)
            .or_else(|| http_body::Body::size_hint(&request.body).exact()))
    }

    async fn body(&mut self, this: Resource<Request>) -> wasmtime::Result<BodyIn> {
        let body = std::mem::take(&mut self.request(&this)?.body);
        let limit = self.service.limits.body;
        match body::body_in(self, body, limit).await {
            Ok(body) => Ok(body),
            // The contract has no error here: the guest reads it from the body.
            Err(super::Fault::Error(error)) => {
                Ok(BodyIn::Chunks(self.push(body::BodyReader::failed(error))?))
            }
            Err(super::Fault::Trap(trap)) => Err(trap),
        }
    }

    async fn read_body(&mut self, this: Resource<Request>, max: u64) -> Answer<Vec<u8>> {
        let body = std::mem::take(&mut self.request(&this)?.body);
        let limit = max.min(self.service.limits.body);
        Ok(body::into_vec(body.collect(limit).await?))
    }

    fn drop(&mut self, _: Resource<Request>) -> wasmtime::Result<()> {
        // The request stays for `body-out.request-body` and `proxy` until the call ends.
        Ok(())
    }
}

impl HostResponder for State {
    fn start(
        &mut self,
        this: Resource<Responder>,
        status: u16,
        headers: Vec<Field>,
    ) -> Answer<Resource<BodyWriter>> {
        let limit = self.service.limits.stream_output;
        let handling = self.handling(this.rep())?;
        let Some(respond) = handling.respond.take() else {
            return Err(codes::RESPONSE_STARTED.error("the response was started before").into());
        };
        let head =
            check_status(status).and_then(|status| Ok((status, fields::response_fields(headers)?)));
        let (status, headers) = match head {
            Ok(head) => head,
            Err(error) => {
                handling.respond = Some(respond);
                return Err(error.into());
            }
        };
        let (writer, body) = body::pipe(limit);
        if respond.send(response(status, headers, Body::stream(body))).is_err() {
            return Err(codes::CANCELLED_CALLER.error("the caller has gone").into());
        }
        Ok(self.push(writer)?)
    }

    fn drop(&mut self, _: Resource<Responder>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A response from its parts.
pub(crate) fn response(status: StatusCode, headers: http::HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The length that a message announces, if it is a number.
pub(crate) fn content_length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A status that a service may answer with.
pub(crate) fn check_status(status: u16) -> airhost_core::Result<StatusCode> {
    match StatusCode::from_u16(status) {
        Ok(status) if (200..600).contains(&status.as_u16()) => Ok(status),
        _ => Err(codes::RESPONSE_INVALID.error(format!("{status} is not a status of 200 to 599"))),
    }
}
