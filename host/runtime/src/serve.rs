//! HTTP requests to a service.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use airhost_core::{Body, Call, CallContext, CorrelationId, Error, Response, Result, codes, problem_response};
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::oneshot;
use wasmtime::component::Resource;

use crate::{
    bindings::imports::pyairtable::{service::http::Reply, types::http::Response as Whole},
    generation::{Generation, InFlight},
    glue::{
        fields, from_guest,
        http::{Head, Incoming, check_status, content_length},
    },
    invoke::{self, Admitted},
    state::{CallState, Handling},
};

/// What a handler's end means for the response.
enum End {
    /// This is it.
    Response(Response),
    /// It went through the responder.
    Streamed,
    /// The host makes this call, and answers what it answers.
    Proxy(Box<Call>, HeaderMap),
}

/// A guest at work. It is boxed once, so that it can move to a task of its own when it streams.
type Work = Pin<Box<dyn Future<Output = Result<End>> + Send>>;

/// Answers a request.
pub(crate) async fn serve(generation: InFlight, call: Call) -> Result<Response> {
    let Call { request, mut context, .. } = call;
    let (parts, body) = request.into_parts();
    let limits = &generation.loaded.service.limits;
    let announced = content_length(&parts.headers).or_else(|| http_body::Body::size_hint(&body).exact());
    if announced.is_some_and(|length| length > limits.body) {
        return Err(codes::BODY_TOO_LARGE.error(format!("the body is larger than {} bytes", limits.body)));
    }
    let admitted = Admitted::new(generation, &mut context).await?;
    let path = parts.uri.path_and_query().cloned();
    let correlation = context.correlation.clone();
    let outbound = admitted.generation.loaded.service.environment.outbound.clone();
    let (respond, head) = oneshot::channel();
    let handling = Handling { request: Incoming { parts, body }, respond: Some(respond) };
    let work: Work = Box::pin(handle(admitted, context, handling));
    let problem = |error: &Error, correlation: &CorrelationId| {
        problem_response(error, path.as_ref().map_or("", |path| path.path()), correlation)
    };
    match drive(work, head).await {
        Ok(End::Response(response)) => Ok(response),
        Ok(End::Streamed) => {
            Ok(problem(&codes::GUEST_NO_RESPONSE.error("the service returned without a response"), &correlation))
        }
        Ok(End::Proxy(call, headers)) => {
            let mut response = outbound.dispatch(*call).await?;
            for (name, value) in &headers {
                response.headers_mut().insert(name.clone(), value.clone());
            }
            Ok(response)
        }
        Err(error) if error.code.starts_with("guest.") || error.code == codes::RESPONSE_INVALID.code => {
            Ok(problem(&error, &correlation))
        }
        Err(error) => Err(error),
    }
}

/// Waits for the end of the work or the beginning of a streamed response, whichever comes first.
async fn drive(mut work: Work, mut head: oneshot::Receiver<Head>) -> Result<End> {
    enum First {
        End(Result<End>),
        Head(Head),
    }
    let mut listening = true;
    let first = poll_fn(|context| {
        if let Poll::Ready(end) = work.as_mut().poll(context) {
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
        First::End(Ok(End::Streamed)) => match head.try_recv() {
            Ok((status, headers, body)) => Ok(End::Response(response(status, headers, Body::stream(body)))),
            Err(_) => Ok(End::Streamed),
        },
        First::End(end) => end,
        First::Head((status, headers, body)) => {
            // The guest goes on in a task of its own while the response is sent. The task ends
            // with the body, unless that came to its end: then the guest may finish its work.
            let writer = tokio::spawn(async move {
                if let Err(error) = work.await {
                    tracing::debug!(code = %error.code, "a streamed response was reset");
                }
            });
            let body = body.cancels(writer.abort_handle());
            Ok(End::Response(response(status, headers, Body::stream(body))))
        }
    }
}

fn response(status: http::StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

async fn handle(admitted: Admitted, context: CallContext, handling: Handling) -> Result<End> {
    let generation: &Generation = &admitted.generation;
    let Some(indices) = &generation.loaded.exports.handler else {
        return Err(codes::GUEST_NO_EXPORT.error("the component does not export `pyairtable:service/handler`"));
    };
    let state = CallState::new(context, Some(handling));
    invoke::run(generation, state, async |instance| {
        let store = &mut instance.store;
        let number = store.data().call.number;
        let exports = indices.load(&mut *store, &instance.linked)?;
        let reply = exports
            .pyairtable_service_handler()
            .call_handle(&mut *store, Resource::new_own(number), Resource::new_own(number))
            .await?;
        let state = store.data_mut();
        Ok(match reply {
            Ok(Reply::Whole(reply)) => whole(reply, generation.loaded.service.limits.output).map(End::Response),
            Ok(Reply::Streamed) => Ok(End::Streamed),
            Ok(Reply::Proxy(proxy)) => fields::response_fields(proxy.response_headers)
                .and_then(|headers| Ok(End::Proxy(Box::new(state.outgoing(proxy.target, None)?), headers))),
            Ok(Reply::Blob(_)) => Err(codes::IMPORT_UNSUPPORTED.error("this node does not implement `reply.blob`")),
            Ok(Reply::Live(_)) => Err(codes::IMPORT_UNSUPPORTED.error("this node does not implement `reply.live`")),
            Err(error) => {
                let error = from_guest(error);
                let path = state.call.handling.as_ref().map_or("", |handling| handling.request.parts.uri.path());
                Ok(End::Response(problem_response(&error, path, &state.call.context.correlation)))
            }
        })
    })
    .await?
}

/// A whole reply, if it is one that may be sent.
pub(crate) fn whole(reply: Whole, limit: u64) -> Result<Response> {
    if reply.body.len() as u64 > limit {
        return Err(codes::GUEST_OUTPUT.error(format!("the response is larger than {limit} bytes")));
    }
    let status = check_status(reply.status)?;
    Ok(response(status, fields::response_fields(reply.headers)?, Bytes::from(reply.body).into()))
}
