//! `pyairtable:service/client`, answered by the test's fakes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::http::{BodyIn, BodyWriter, Sent, joined, read_body, take_body};
use crate::{
    bindings::pyairtable::{
        service::http::{BodyOut, Field, Outgoing},
        types::errors::{Error, ErrorClass},
    },
    testing::state::{FakeRequest, error, with},
};

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Incoming {
    status: u16,
    headers: Vec<Field>,
    body: RefCell<Vec<u8>>,
}

impl Incoming {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        joined(&self.headers, name)
    }

    pub(crate) fn headers(&self) -> Vec<Field> {
        self.headers.clone()
    }

    pub(crate) fn body(&self) -> BodyIn {
        take_body(&self.body)
    }

    pub(crate) fn read_body(&self, max: u64) -> Result<Vec<u8>, Error> {
        read_body(&self.body, max)
    }
}

/// A call under way: answered when it is asked for, so that a streamed body is whole by then.
#[derive(Debug)]
pub(crate) struct Pending {
    outgoing: Outgoing,
    streamed: Option<Rc<RefCell<Sent>>>,
    taken: Cell<bool>,
}

impl Pending {
    pub(crate) fn take(&self) -> Option<Result<Incoming, Error>> {
        if self.streamed.as_ref().is_some_and(|sent| !sent.borrow().finished)
            || self.taken.replace(true)
        {
            return None;
        }
        let mut outgoing = self.outgoing.clone();
        if let Some(sent) = &self.streamed {
            outgoing.body = BodyOut::Bytes(sent.borrow().body.clone());
        }
        Some(call(&outgoing))
    }
}

fn check() -> Result<(), Error> {
    with(|state| match &state.transaction {
        Some(open) if open.write => Err(error(
            ErrorClass::Conflict,
            "tx.open",
            "a write transaction is open; commit before calling",
        )),
        _ => Ok(()),
    })
}

pub(crate) fn call(outgoing: &Outgoing) -> Result<Incoming, Error> {
    check()?;
    let rest = outgoing.url.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
    let request = FakeRequest {
        method: outgoing.method.clone(),
        url: outgoing.url.clone(),
        path,
        headers: outgoing.headers.clone(),
        body: match &outgoing.body {
            BodyOut::Bytes(bytes) => bytes.clone(),
            BodyOut::None | BodyOut::RequestBody => Vec::new(),
        },
        attrs: outgoing.attrs.clone(),
    };
    with(|state| state.granted(|grants| grants.call(&outgoing.url)))?;
    let fake = with(|state| {
        state.calls.push(request.clone());
        // The longest prefix that was registered.
        state
            .fakes
            .iter()
            .filter(|(prefix, _)| outgoing.url.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, fake)| Rc::clone(fake))
    });
    let Some(fake) = fake else {
        return Err(error(
            ErrorClass::Unavailable,
            "call.unknown-host",
            format!("the test has no fake for {}", outgoing.url),
        ));
    };
    match fake(&request) {
        Ok(response) => Ok(Incoming {
            status: response.status,
            headers: response.headers,
            body: RefCell::new(response.body),
        }),
        Err(failure) => Err(failure.into_wit()),
    }
}

pub(crate) fn start(outgoing: &Outgoing) -> Result<Pending, Error> {
    check()?;
    Ok(Pending { outgoing: outgoing.clone(), streamed: None, taken: Cell::new(false) })
}

pub(crate) fn start_streaming(outgoing: &Outgoing) -> Result<(BodyWriter, Pending), Error> {
    check()?;
    let writer = BodyWriter::default();
    let pending = Pending {
        outgoing: outgoing.clone(),
        streamed: Some(Rc::clone(&writer.sent)),
        taken: Cell::new(false),
    };
    Ok((writer, pending))
}

pub(crate) fn wait_any(calls: &[&Pending], _timeout_ms: u64) -> Vec<u32> {
    (0u32..)
        .zip(calls)
        .filter(|(_, call)| {
            !call.taken.get() && call.streamed.as_ref().is_none_or(|sent| sent.borrow().finished)
        })
        .map(|(index, _)| index)
        .collect()
}
