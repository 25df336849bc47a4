//! HTTP requests to a service.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use airhost_core::{
    Body, BodyError, Call, Caller, Error, GuestFailure, Response, Result, codes, problem_response,
};
use airhost_telemetry::spawn_named;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::{sync::oneshot, time::Instant};
use wasmtime::component::Resource;

use crate::{
    background::Movable,
    bindings::imports::pyairtable::{service::http::Reply, types::http::Response as Whole},
    generation::{InFlight, Pool},
    glue::{
        fields, from_guest,
        http::{Incoming, check_status, content_length, response},
    },
    idempotent::{self, Decision, Settlement},
    invoke::{self, Admitted},
    state::{CallState, Handling},
    trace, wasi_http,
};

/// What a handler's end means for the response.
enum End {
    /// This is it.
    Response {
        response: Response,
        /// A commit has stored it as the answer to the request's `Idempotency-Key`.
        stored: bool,
    },
    /// It went through the responder.
    Streamed,
    /// The host makes this call, and answers what it answers.
    Proxy(Box<Call>, HeaderMap),
}

/// Answers a request. Its span ends with the head of the response, and that of a proxied call is
/// below it.
pub(crate) async fn serve(pool: InFlight, mut call: Call) -> Result<Response> {
    let span = trace::server(&pool, &call);
    call.context.trace = span.context();
    // What comes through a listener is counted there, with all that never gets here.
    let counted = (call.context.caller != Caller::Public).then(|| {
        let metrics = Arc::clone(&pool.loaded.service.metrics);
        (metrics, call.request.method().clone(), Instant::now())
    });
    let result = answer(pool, call).await;
    if let Some((metrics, method, began)) = counted {
        let status = match &result {
            Ok(response) => response.status(),
            Err(error) => error.status(),
        };
        metrics.http.record(&method, status, began.elapsed());
    }
    span.end(trace::http_status(&result));
    result
}

async fn answer(pool: InFlight, call: Call) -> Result<Response> {
    let Call { request, mut context, .. } = call;
    let (parts, body) = request.into_parts();
    let limits = &pool.loaded.service.limits;
    let announced =
        content_length(&parts.headers).or_else(|| http_body::Body::size_hint(&body).exact());
    if announced.is_some_and(|length| length > limits.body) {
        return Err(
            codes::BODY_TOO_LARGE.error(format!("the body is larger than {} bytes", limits.body))
        );
    }
    let admitted = Admitted::new(pool, &mut context).await?;
    // The URI and the correlation id are shared texts: keeping them copies nothing.
    let (uri, correlation, deadline) =
        (parts.uri.clone(), context.correlation.clone(), context.deadline);
    let problem = |error: &Error| problem_response(error, uri.path(), &correlation);
    let service = Arc::clone(&admitted.pool.loaded.service);
    let (body, running) = match idempotent::decide(&service, &context, &parts, body).await {
        Ok(Decision::Plain(body)) => (body, None),
        Ok(Decision::Run(body, running)) => (body, Some(running)),
        Ok(Decision::Answer(response)) => return Ok(response),
        Err(error) if idempotent::is_answer(&error) => return Ok(problem(&error)),
        Err(error) => return Err(error),
    };
    let (respond, head) = oneshot::channel();
    let handling = Handling { request: Incoming { parts, body }, respond: Some(respond) };
    let state = CallState {
        idempotency: running.as_ref().map(|running| running.token.clone()),
        ..CallState::new(context, Some(handling))
    };
    let work = service.movable(handle(admitted, state));
    match drive(work, head).await {
        Ok(End::Response { response, stored }) => {
            if let Some(running) = running {
                let settlement = Settlement::of(&response, stored);
                running.settle(settlement, deadline).await;
            }
            Ok(response)
        }
        Ok(End::Streamed) => {
            service.metrics.guest.trap(codes::GUEST_NO_RESPONSE.code);
            let error = codes::GUEST_NO_RESPONSE.error("the service returned without a response");
            Ok(failed(problem(&error)))
        }
        Ok(End::Proxy(call, headers)) => {
            let mut response = service.environment.outbound.dispatch(*call).await?;
            for (name, value) in &headers {
                response.headers_mut().insert(name.clone(), value.clone());
            }
            Ok(response)
        }
        Err(error) if error.code.starts_with("guest.") => Ok(failed(problem(&error))),
        Err(error) if is_guests(&error) => Ok(problem(&error)),
        Err(error) => Err(error),
    }
}

/// The guest had begun and gave no answer: this one is the host's.
fn failed(mut response: Response) -> Response {
    response.extensions_mut().insert(GuestFailure);
    response
}

/// Whether an error is what the service did wrong, and so its answer, rather than a failure to
/// reach it.
fn is_guests(error: &Error) -> bool {
    error.code == codes::RESPONSE_INVALID.code
        || error.code == codes::IMPORT_UNSUPPORTED.code
        || error.code == codes::TX_OPEN.code
        || error.code == codes::CALL_INVALID.code
        || error.code == codes::CALL_DEPTH.code
}

/// Waits for the end of the work or the beginning of a streamed response, whichever comes first.
async fn drive(mut work: Movable<End>, mut head: oneshot::Receiver<Response>) -> Result<End> {
    enum First {
        End(Result<End>),
        Head(Response),
    }
    let mut listening = true;
    let first = poll_fn(|context| {
        if let Poll::Ready(end) = Pin::new(&mut work).poll(context) {
            return Poll::Ready(First::End(end));
        }
        if listening {
            match Pin::new(&mut head).poll(context) {
                Poll::Ready(Ok(head)) => return Poll::Ready(First::Head(head)),
                Poll::Ready(Err(_)) => listening = false,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await;
    match first {
        // It may have written all of a small body before anyone looked.
        First::End(Ok(End::Streamed)) => Ok(head.try_recv().map_or(End::Streamed, sent)),
        First::End(end) => end,
        First::Head(response) => {
            // The guest goes on in a task of its own while the response is sent.
            let guest = spawn_named("streaming-guest", async move {
                if let Err(error) = work.await {
                    tracing::debug!(code = %error.code, "a streamed response was reset");
                }
            });
            let guest = guest.abort_handle();
            Ok(sent(response.map(|body| Body::stream(Guarded { body, ended: false, guest }))))
        }
    }
}

fn sent(response: Response) -> End {
    End::Response { response, stored: false }
}

/// A body that a guest writes meanwhile. Dropping it before its end ends the guest; after its end
/// the guest may finish what it is doing.
struct Guarded {
    body: Body,
    ended: bool,
    guest: tokio::task::AbortHandle,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.ended {
            self.guest.abort();
        }
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended |= match &frame {
            None => true,
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

async fn handle(admitted: Admitted, state: CallState) -> Result<End> {
    let pool: &Pool = &admitted.pool;
    let exports = &pool.loaded.exports;
    let Some(indices) = &exports.handler else {
        return foreign(pool, state).await;
    };
    invoke::run(pool, state, async |instance| {
        let store = &mut instance.store;
        let number = store.data().call.number;
        let exports = indices.load(&mut *store, &instance.linked)?;
        let reply = exports
            .pyairtable_service_handler()
            .call_handle(&mut *store, Resource::new_own(number), Resource::new_own(number))
            .await?;
        let state = store.data_mut();
        Ok(match reply {
            Ok(Reply::Whole(reply)) => {
                let stored = state.call.answer_stored;
                let service = &pool.loaded.service;
                whole(reply, service.limits.output)
                    .inspect_err(|error| service.metrics.guest.trap(&error.code))
                    .map(|response| End::Response { response, stored })
            }
            Ok(Reply::Streamed) => Ok(End::Streamed),
            Ok(Reply::Proxy(proxy)) => {
                fields::response_fields(proxy.response_headers).and_then(|headers| {
                    Ok(End::Proxy(Box::new(state.outgoing(proxy.target, None)?), headers))
                })
            }
            Ok(Reply::Blob(_)) => {
                Err(codes::IMPORT_UNSUPPORTED.error("this node does not implement `reply.blob`"))
            }
            Ok(Reply::Live(_)) => {
                Err(codes::IMPORT_UNSUPPORTED.error("this node does not implement `reply.live`"))
            }
            Err(error) => {
                let error = from_guest(error);
                let path = state
                    .call
                    .handling
                    .as_ref()
                    .map_or("", |handling| handling.request.parts.uri.path());
                Ok(sent(problem_response(&error, path, &state.call.context.correlation)))
            }
        })
    })
    .await?
}

/// A request to a component that knows nothing of the platform.
async fn foreign(pool: &Pool, mut state: CallState) -> Result<End> {
    let Some(indices) = &pool.loaded.exports.wasi_http else {
        return Err(codes::GUEST_NO_EXPORT.error("the component exports no HTTP handler"));
    };
    let Some(respond) = state.handling.as_mut().and_then(|handling| handling.respond.take()) else {
        return Err(codes::INTERNAL.error("nobody waits for the response"));
    };
    invoke::run(pool, state, async |instance| {
        wasi_http::handle(pool, indices, instance, respond).await
    })
    .await?;
    Ok(End::Streamed)
}

/// A whole reply, if it is one that may be sent.
pub(crate) fn whole(reply: Whole, limit: u64) -> Result<Response> {
    if reply.body.len() as u64 > limit {
        return Err(codes::GUEST_OUTPUT.error(format!("the response is larger than {limit} bytes")));
    }
    let status = check_status(reply.status)?;
    Ok(response(status, fields::response_fields(reply.headers)?, Bytes::from(reply.body).into()))
}
