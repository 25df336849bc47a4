//! `service/client`: calls to other services and to granted hosts.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use airhost_core::{Body, Call, CallContext, Priority, Response, ServiceName, Target, codes};
use airhost_telemetry::spawn_named;
use http::{Method, Uri, response::Parts};
use tokio::{sync::oneshot, task::AbortHandle};
use wasmtime::component::Resource;

use super::{
    Answer,
    body::{self, BodyWriter},
    fields::{self, Field},
};
use crate::{
    bindings::imports::pyairtable::service::{
        client::{self as wit, HostIncoming, HostPending},
        http::{BodyIn, BodyOut, Outgoing},
    },
    state::State,
};

/// Calls that one instance may have under way.
const MAX_PENDING: usize = 64;
/// Most bytes of an answer's body that are read whole.
const MAX_ANSWER: u64 = u64::MAX;

/// The answer to a call.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Incoming {
    parts: Parts,
    body: Body,
}

/// A call under way. Dropping it cancels the call.
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Pending {
    answer: Answered,
    task: AbortHandle,
}

enum Answered {
    Waiting(oneshot::Receiver<airhost_core::Result<Response>>),
    Ready(airhost_core::Result<Response>),
    Taken,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Incoming {
    fn new(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        Self { parts, body }
    }
}

impl State {
    /// The call that a guest asks for, or why it may not make it.
    pub(crate) fn outgoing(
        &mut self,
        outgoing: Outgoing,
        body: Option<Body>,
    ) -> airhost_core::Result<Call> {
        if self.call.open_writes > 0 {
            return Err(codes::TX_OPEN
                .error("a write transaction is open; commit it before calling others"));
        }
        let context = &self.call.context;
        if context.depth >= CallContext::MAX_DEPTH {
            return Err(codes::CALL_DEPTH.error("more than 16 calls are nested in one another"));
        }
        let invalid =
            |what: &str| codes::CALL_INVALID.error(format!("the call's {what} is not valid"));
        let method =
            Method::from_bytes(outgoing.method.as_bytes()).map_err(|_| invalid("method"))?;
        if method == Method::CONNECT {
            return Err(invalid("method"));
        }
        let uri = Uri::try_from(outgoing.url).map_err(|_| invalid("URL"))?;
        let target = target(&uri).ok_or_else(|| invalid("URL"))?;
        let mut request = http::Request::new(Body::Empty);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = fields::request_fields(outgoing.headers)?;
        let service = &self.service;
        let mut context = context.nested(&service.name, &service.identity);
        if let Some(timeout) = outgoing.timeout_ms {
            context.deadline = context.deadline.at_most(Duration::from_millis(timeout));
        }
        for (name, value) in &outgoing.attrs {
            if name == "priority" {
                context.priority = match value.as_str() {
                    "low" => Priority::Low,
                    "normal" => Priority::Normal,
                    "high" => Priority::High,
                    _ => return Err(invalid("priority")),
                };
            }
        }
        *request.body_mut() = match (body, outgoing.body) {
            (Some(body), BodyOut::None) => body,
            (Some(_), _) => return Err(invalid("body: a streamed call writes it itself, which")),
            (None, BodyOut::None) => Body::Empty,
            (None, BodyOut::Bytes(bytes)) => bytes.into(),
            (None, BodyOut::RequestBody) => match &mut self.call.handling {
                Some(handling) => {
                    // A switch of protocols is asked for in the extensions; it goes on with the
                    // body that it is about.
                    *request.extensions_mut() =
                        std::mem::take(&mut handling.request.parts.extensions);
                    std::mem::take(&mut handling.request.body)
                }
                None => return Err(invalid("body: there is no request that is handled, so it")),
            },
        };
        Ok(Call { target, request, context, attrs: outgoing.attrs, pool: None })
    }

    fn begin(&mut self, call: Call) -> Answer<Pending> {
        let pending = self.call.pending;
        if pending >= MAX_PENDING {
            return Err(codes::CALL_TOO_MANY.error("64 calls are under way").into());
        }
        self.call.pending = pending + 1;
        let outbound = self.service.environment.outbound.clone();
        let (send, receive) = oneshot::channel();
        let task = spawn_named("outgoing-call", async move {
            let deadline = call.context.deadline;
            // Whoever started it may have dropped it meanwhile.
            drop(send.send(within(deadline, outbound.dispatch(call)).await));
        });
        Ok(Pending { answer: Answered::Waiting(receive), task: task.abort_handle() })
    }
}

/// Waits no longer than the deadline.
async fn within<T>(
    deadline: airhost_core::Deadline,
    work: impl Future<Output = airhost_core::Result<T>>,
) -> airhost_core::Result<T> {
    match tokio::time::timeout_at(deadline.instant(), work).await {
        Ok(result) => result,
        Err(_) => Err(codes::DEADLINE_EXCEEDED.error("the call was not answered in time")),
    }
}

/// `http` and a single label is a service; all else is outside.
pub(crate) fn target(uri: &Uri) -> Option<Target> {
    let scheme = uri.scheme_str()?;
    let host = uri.host()?;
    match scheme {
        "http" if !host.contains(['.', ':']) && host != "localhost" => {
            host.parse::<ServiceName>().ok().map(Target::Service)
        }
        "http" | "https" if !host.is_empty() => Some(Target::External),
        _ => None,
    }
}

impl wit::Host for State {
    async fn call(&mut self, outgoing: Outgoing) -> Answer<Resource<Incoming>> {
        let call = self.outgoing(outgoing, None)?;
        let deadline = call.context.deadline;
        let response = within(deadline, self.service.environment.outbound.dispatch(call)).await?;
        Ok(self.push(Incoming::new(response))?)
    }

    async fn start(&mut self, outgoing: Outgoing) -> Answer<Resource<Pending>> {
        let call = self.outgoing(outgoing, None)?;
        let pending = self.begin(call)?;
        Ok(self.push(pending)?)
    }

    async fn start_streaming(
        &mut self,
        outgoing: Outgoing,
    ) -> Answer<(Resource<BodyWriter>, Resource<Pending>)> {
        let (writer, body) = body::pipe(self.service.limits.stream_output);
        let call = self.outgoing(outgoing, Some(Body::stream(body)))?;
        let pending = self.begin(call)?;
        Ok((self.push(writer)?, self.push(pending)?))
    }

    async fn wait_any(
        &mut self,
        calls: Vec<Resource<Pending>>,
        timeout_ms: u64,
    ) -> wasmtime::Result<Vec<u32>> {
        let table = &mut self.table;
        let ready = poll_fn(|context| {
            let mut ready = Vec::new();
            for (index, call) in (0u32..).zip(&calls) {
                let pending = match table.get_mut(call) {
                    Ok(pending) => pending,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                if let Answered::Waiting(receiver) = &mut pending.answer
                    && let Poll::Ready(answer) = Pin::new(receiver).poll(context)
                {
                    pending.answer = Answered::Ready(answer.unwrap_or_else(|_| {
                        Err(codes::CALL_RESET.error("the call ended without an answer"))
                    }));
                }
                if matches!(pending.answer, Answered::Ready(_)) {
                    ready.push(index);
                }
            }
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(Ok(ready)) }
        });
        match tokio::time::timeout(Duration::from_millis(timeout_ms), ready).await {
            Ok(ready) => Ok(ready?),
            Err(_) => Ok(Vec::new()),
        }
    }
}

impl HostIncoming for State {
    fn status(&mut self, this: Resource<Incoming>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&this)?.parts.status.as_u16())
    }

    fn header(
        &mut self,
        this: Resource<Incoming>,
        name: String,
    ) -> wasmtime::Result<Option<String>> {
        Ok(fields::joined(&self.table.get(&this)?.parts.headers, &name))
    }

    fn headers(&mut self, this: Resource<Incoming>) -> wasmtime::Result<Vec<Field>> {
        Ok(fields::to_fields(&self.table.get(&this)?.parts.headers))
    }

    async fn body(&mut self, this: Resource<Incoming>) -> wasmtime::Result<BodyIn> {
        let body = std::mem::take(&mut self.table.get_mut(&this)?.body);
        match body::body_in(self, body, MAX_ANSWER).await {
            Ok(body) => Ok(body),
            Err(super::Fault::Error(error)) => {
                Ok(BodyIn::Chunks(self.push(body::BodyReader::failed(error))?))
            }
            Err(super::Fault::Trap(trap)) => Err(trap),
        }
    }

    async fn read_body(&mut self, this: Resource<Incoming>, max: u64) -> Answer<Vec<u8>> {
        let body = std::mem::take(&mut self.table.get_mut(&this)?.body);
        let limit = max.min(self.service.limits.memory);
        Ok(body::into_vec(body.collect(limit).await?))
    }

    fn drop(&mut self, this: Resource<Incoming>) -> wasmtime::Result<()> {
        self.delete(this)?;
        Ok(())
    }
}

impl HostPending for State {
    fn take(
        &mut self,
        this: Resource<Pending>,
    ) -> wasmtime::Result<Option<Result<Resource<Incoming>, super::errors::Error>>> {
        let pending = self.table.get_mut(&this)?;
        if let Answered::Waiting(receiver) = &mut pending.answer {
            match receiver.try_recv() {
                Ok(answer) => pending.answer = Answered::Ready(answer),
                Err(oneshot::error::TryRecvError::Empty) => return Ok(None),
                Err(oneshot::error::TryRecvError::Closed) => {
                    pending.answer = Answered::Ready(Err(
                        codes::CALL_RESET.error("the call ended without an answer")
                    ));
                }
            }
        }
        match std::mem::replace(&mut pending.answer, Answered::Taken) {
            Answered::Ready(Ok(response)) => Ok(Some(Ok(self.push(Incoming::new(response))?))),
            Answered::Ready(Err(error)) => Ok(Some(Err(super::to_guest(error)))),
            Answered::Waiting(_) | Answered::Taken => Ok(None),
        }
    }

    fn drop(&mut self, this: Resource<Pending>) -> wasmtime::Result<()> {
        self.delete(this)?;
        self.call.pending = self.call.pending.saturating_sub(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_label_over_http_is_a_service() {
        let service = |name: &str| Some(Target::Service(name.parse().unwrap()));
        for (url, expect) in [
            ("http://auth-service/x?y", service("auth-service")),
            ("http://auth-service:8007/x", service("auth-service")),
            ("https://auth-service/x", Some(Target::External)),
            ("https://api.airtable.com/v0", Some(Target::External)),
            ("http://api.example.com/", Some(Target::External)),
            ("http://127.0.0.1:80/", Some(Target::External)),
            ("http://localhost:80/", Some(Target::External)),
            ("http://[::1]/", Some(Target::External)),
            ("ftp://auth-service/", None),
            ("/only/a/path", None),
            ("http://Auth_Service/", None),
        ] {
            assert_eq!(target(&url.parse().unwrap()), expect, "{url}");
        }
    }
}
