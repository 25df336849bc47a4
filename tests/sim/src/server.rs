//! The HTTP server: connections, bodies, faults and the request log.

mod control;
mod respond;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api::{self, Call};
use crate::app::App;
use crate::faults::{FaultAction, LoggedRequest, delay};
use crate::reply::ApiError;

/// The body of an answer; an error closes the connection amid it.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on demand")]
struct Dropped;

/// Accepts connections until the app stops.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(app.config.guard.connections));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            () = app.stop.cancelled() => return,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let app = Arc::clone(&app);
                let tasks = app.tasks.clone();
                tasks.spawn(async move {
                    connection(app, stream).await;
                    drop(permit);
                });
            }
            // Out of file descriptors and the like: a short rest instead of a busy loop.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

async fn connection(app: Arc<App>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let guard = app.config.guard.clone();
    let service = service_fn(|request| handle(Arc::clone(&app), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(guard.header_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let life = tokio::time::sleep(guard.connection_life);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = app.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(guard.drain, serving).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
        () = life => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(guard.body_timeout, serving).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Reads a body within its bounds.
async fn read_body(app: &App, body: Incoming) -> Result<Bytes, ApiError> {
    let guard = &app.config.guard;
    let reading = Limited::new(body, guard.body_bytes).collect();
    match tokio::time::timeout(guard.body_timeout, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large()),
        Ok(Err(_)) => Err(ApiError::new(400, "BAD_REQUEST", "The body cannot be read")),
        Err(_) => Err(ApiError::new(408, "REQUEST_TIMEOUT", "The body took too long")),
    }
}

/// Answers one request. Absolute targets, as proxies get them, are answered by their path.
async fn handle(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let token = bearer(&parts.headers);
    let body = read_body(&app, body).await;
    if app.config.control && (path == "/_sim" || path.starts_with("/_sim/")) {
        let answer =
            body.and_then(|body| control::answer(&app, &parts.method, &path, &query, &body));
        return Ok(respond::reply(answer));
    }
    let (body, failed) = match body {
        Ok(body) => (body, None),
        Err(error) => (Bytes::new(), Some(error)),
    };
    let call = Call::new(parts.method, &path, &query, token, body);
    let log = |status: u16| {
        app.observer.record(LoggedRequest {
            number: 0,
            method: call.method.to_string(),
            path: call.path.clone(),
            query: call.raw_query.clone(),
            token: call.token.clone(),
            status,
        });
    };
    let strike = app.observer.strike(call.method.as_str(), &call.path, call.base());
    match &strike {
        Some(FaultAction::Status { code, body, headers }) => {
            let response = respond::fault(*code, body.clone(), headers);
            log(response.status().as_u16());
            return Ok(response);
        }
        Some(FaultAction::Drop) => {
            log(0);
            return Err(Dropped);
        }
        Some(FaultAction::DelayMs(millis)) => tokio::time::sleep(delay(*millis)).await,
        Some(FaultAction::DropAfter | FaultAction::Truncate(_)) | None => {}
    }
    let response = match failed {
        Some(error) => respond::reply(Err(error)),
        None => match api::answer(&app, &call) {
            Ok(answer) => respond::reply(answer),
            Err(pause) => respond::limited(app.limiter.config().retry_after.then_some(pause)),
        },
    };
    match strike {
        Some(FaultAction::DropAfter) => {
            log(0);
            Err(Dropped)
        }
        Some(FaultAction::Truncate(bytes)) => {
            log(response.status().as_u16());
            respond::truncated(response, bytes).await.map_err(|_| Dropped)
        }
        _ => {
            log(response.status().as_u16());
            Ok(response)
        }
    }
}

/// A whole body.
fn full(data: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(data.into()).map_err(|never: Infallible| match never {}).boxed()
}
