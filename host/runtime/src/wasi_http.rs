//! Components that know nothing of the platform: `wasi:http` 0.2, with the same limits, and with
//! calls that go where every other guest's go.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use airhost_core::{
    Body, BodyError, Call, CallContext, Error as CallError, Response, Result, codes,
};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
    p2::{
        bindings::{
            ProxyIndices,
            http::types::{ErrorCode, Scheme},
        },
        body::HyperOutgoingBody,
    },
};

use crate::{
    generation::Pool,
    glue::{client, http::Incoming},
    instance::Instance,
    service::Service,
    state::State,
};

/// What `response-outparam.set` gives.
pub(crate) type Head = std::result::Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Where the calls of one instance go.
pub(crate) struct Hooks {
    pub(crate) service: Arc<Service>,
    /// Of the call that the instance is in.
    pub(crate) context: CallContext,
}

/// What `send_request` answers with: the response, and what goes on with its connection.
type Sent = std::result::Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = std::result::Result<(), Error>> + Send>),
    Error,
>;

impl WasiHttpHooks for Hooks {
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let call = self.call(request, options);
        let outbound = Arc::clone(&self.service.environment.outbound);
        Box::new(async move {
            let call = call.map_err(|error| to_wasi(&error))?;
            let deadline = call.context.deadline;
            let response =
                match tokio::time::timeout_at(deadline.instant(), outbound.dispatch(call)).await {
                    Ok(answer) => answer.map_err(|error| to_wasi(&error))?,
                    Err(_) => return Err(Error::HttpResponseTimeout),
                };
            let response = response.map(|body| body.map_err(body_to_wasi).boxed_unsync());
            let rest: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, rest))
        })
    }
}

impl Hooks {
    fn call(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Call> {
        if self.context.depth >= CallContext::MAX_DEPTH {
            return Err(codes::CALL_DEPTH.error("more than 16 calls are nested in one another"));
        }
        let target = client::target(request.uri())
            .ok_or_else(|| codes::CALL_INVALID.error("the call's URL is not valid"))?;
        let mut context = self.context.nested(&self.service.name, &self.service.identity);
        if let Some(timeout) = options.and_then(|options| options.first_byte_timeout) {
            context.deadline = context.deadline.at_most(timeout);
        }
        let request = request.map(|body| {
            if http_body::Body::is_end_stream(&body) {
                Body::Empty
            } else {
                Body::stream(
                    body.map_err(|error| BodyError::Truncated(format!("{error:?}").into())),
                )
            }
        });
        Ok(Call { target, request, context, attrs: Vec::new(), pool: None })
    }
}

fn to_wasi(error: &CallError) -> Error {
    let is = |code: &codes::Code| error.code == code.code;
    if is(&codes::CALL_DENIED) {
        Error::HttpRequestDenied
    } else if is(&codes::CALL_UNKNOWN_HOST) {
        Error::DestinationNotFound
    } else if is(&codes::CALL_UNREACHABLE) {
        Error::ConnectionRefused
    } else if is(&codes::CALL_RESET) {
        Error::ConnectionTerminated
    } else if is(&codes::CALL_DEPTH) {
        Error::LoopDetected
    } else if is(&codes::CALL_INVALID) {
        Error::HttpRequestUriInvalid
    } else if is(&codes::DEADLINE_EXCEEDED) {
        Error::HttpResponseTimeout
    } else {
        Error::DestinationUnavailable
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn body_to_wasi(error: BodyError) -> Error {
    match error {
        BodyError::TooLarge { limit } => Error::HttpRequestBodySize(Some(limit)),
        BodyError::Deadline => Error::ConnectionReadTimeout,
        _ => Error::ConnectionTerminated,
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiHttpCtxView { hooks: &mut wasi.hooks, table, ctx: &mut wasi.http }
    }
}

/// Calls the handler. What it answers goes through `respond`, as soon as it answers.
pub(crate) async fn handle(
    pool: &Pool,
    indices: &ProxyIndices,
    instance: &mut Instance,
    respond: oneshot::Sender<Response>,
) -> wasmtime::Result<()> {
    let store = &mut instance.store;
    let limits = &pool.loaded.service.limits;
    let (body_limit, output_limit) = (limits.body, limits.stream_output);
    let state = store.data_mut();
    let Some(handling) = state.call.handling.take() else {
        return Err(wasmtime::Error::msg("there is no request"));
    };
    let Incoming { parts, body } = handling.request;
    let scheme = if parts.uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let body = Bounded { body, left: body_limit, limit: body_limit }.map_err(body_to_wasi);
    let mut http = state.http();
    let request = http.new_incoming_request(scheme, http::Request::from_parts(parts, body))?;
    let out = http.new_response_outparam_from_callback(move |head: Head| {
        // Whoever asked may have gone.
        drop(respond.send(answer(head, output_limit)));
    })?;
    let exports = indices.load(&mut *store, &instance.linked)?;
    exports.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await
}

fn answer(head: Head, limit: u64) -> Response {
    match head {
        Ok(response) => response.map(|body| {
            let body = body.map_err(|error| BodyError::Truncated(format!("{error:?}").into()));
            Body::stream(Bounded { body, left: limit, limit })
        }),
        Err(code) => {
            tracing::info!(?code, "a wasi:http component answered with an error");
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = match code {
                ErrorCode::HttpRequestDenied => http::StatusCode::FORBIDDEN,
                ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionTimeout => {
                    http::StatusCode::GATEWAY_TIMEOUT
                }
                ErrorCode::HttpRequestBodySize(_) => http::StatusCode::PAYLOAD_TOO_LARGE,
                _ => http::StatusCode::BAD_GATEWAY,
            };
            response
        }
    }
}

/// A body that breaks off beyond a limit.
struct Bounded<B> {
    body: B,
    left: u64,
    limit: u64,
}

impl<B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin> http_body::Body for Bounded<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let size = data.len() as u64;
            if size > self.left {
                return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
            }
            self.left -= size;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
