//! `pyairtable:service/http`.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::{
    bindings::pyairtable::{
        service::http::Field,
        types::errors::{Error, ErrorClass},
    },
    testing::state::error,
};

/// A body that comes in.
#[derive(Debug)]
pub(crate) enum BodyIn {
    /// None.
    None,
    /// Whole.
    Bytes(Vec<u8>),
    /// In pieces.
    Chunks(BodyReader),
}

/// A body in pieces.
#[derive(Debug)]
pub(crate) struct BodyReader {
    rest: RefCell<Vec<u8>>,
}

impl BodyReader {
    pub(crate) fn read(&self, max: u32) -> Result<Vec<u8>, Error> {
        let mut rest = self.rest.borrow_mut();
        let length = rest.len().min(max.min(1 << 20) as usize);
        Ok(rest.drain(..length).collect())
    }

    #[expect(clippy::unused_self, reason = "as in the contract")]
    pub(crate) fn trailers(&self) -> Vec<Field> {
        Vec::new()
    }
}

/// Above this, a body comes in pieces (the default of `limits.inline-body`).
const INLINE: usize = 256 << 10;

fn body_in(body: Vec<u8>) -> BodyIn {
    if body.is_empty() {
        BodyIn::None
    } else if body.len() <= INLINE {
        BodyIn::Bytes(body)
    } else {
        BodyIn::Chunks(BodyReader { rest: RefCell::new(body) })
    }
}

pub(super) fn take_body(body: &RefCell<Vec<u8>>) -> BodyIn {
    body_in(std::mem::take(&mut body.borrow_mut()))
}

pub(super) fn read_body(body: &RefCell<Vec<u8>>, max: u64) -> Result<Vec<u8>, Error> {
    let body = std::mem::take(&mut *body.borrow_mut());
    if body.len() as u64 > max {
        return Err(error(ErrorClass::Invalid, "body.too-large", "the body is too large"));
    }
    Ok(body)
}

pub(super) fn joined(headers: &[Field], name: &str) -> Option<String> {
    let values: Vec<&str> =
        headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: RefCell<Vec<u8>>,
    pub(crate) route: Option<String>,
    pub(crate) route_params: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn method(&self) -> String {
        self.method.clone()
    }

    pub(crate) fn path(&self) -> String {
        self.path.clone()
    }

    pub(crate) fn query(&self) -> Option<String> {
        self.query.clone()
    }

    #[expect(clippy::unused_self, reason = "as in the contract")]
    pub(crate) fn scheme(&self) -> String {
        "https".to_owned()
    }

    pub(crate) fn authority(&self) -> String {
        joined(&self.headers, "host").unwrap_or_else(|| "localhost".to_owned())
    }

    pub(crate) fn route(&self) -> Option<String> {
        self.route.clone()
    }

    pub(crate) fn route_params(&self) -> Vec<(String, String)> {
        self.route_params.clone()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        joined(&self.headers, name)
    }

    pub(crate) fn headers(&self) -> Vec<Field> {
        self.headers.clone()
    }

    pub(crate) fn client_ip(&self) -> String {
        joined(&self.headers, "x-forwarded-for").unwrap_or_else(|| "192.0.2.1".to_owned())
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        Some(self.body.borrow().len() as u64)
    }

    pub(crate) fn body(&self) -> BodyIn {
        take_body(&self.body)
    }

    pub(crate) fn read_body(&self, max: u64) -> Result<Vec<u8>, Error> {
        read_body(&self.body, max)
    }
}

/// What was sent in pieces.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Vec<u8>,
    pub(crate) finished: bool,
}

/// The way to answer in pieces.
#[derive(Debug, Default)]
pub(crate) struct Responder {
    pub(crate) sent: Rc<RefCell<Sent>>,
    started: Cell<bool>,
}

impl Responder {
    pub(crate) fn start(&self, status: u16, headers: &[Field]) -> Result<BodyWriter, Error> {
        if self.started.replace(true) {
            return Err(error(ErrorClass::Conflict, "response.started", "it was started before"));
        }
        {
            let mut sent = self.sent.borrow_mut();
            sent.status = status;
            sent.headers = headers.to_vec();
        }
        Ok(BodyWriter { sent: Rc::clone(&self.sent) })
    }
}

/// A body that goes out.
#[derive(Debug, Default)]
pub(crate) struct BodyWriter {
    pub(super) sent: Rc<RefCell<Sent>>,
}

impl BodyWriter {
    pub(crate) fn write(&self, chunk: &[u8]) -> Result<(), Error> {
        self.sent.borrow_mut().body.extend_from_slice(chunk);
        Ok(())
    }

    pub(crate) fn finish(&self, _trailers: &[Field]) -> Result<(), Error> {
        self.sent.borrow_mut().finished = true;
        Ok(())
    }
}
