//! The admin API: HTTP on a port of its own, behind a token.

use std::{borrow::Cow, collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use airhost_core::{
    Body, BodyError, CorrelationId, Error, Response, Result, ServiceName, codes, problem_response,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, rt::TokioTimer, server::graceful::GracefulShutdown};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
};

use crate::api::{DeployEvent, DeployOptions, NodeStatus, Table};

/// Largest artifact, in bytes.
const MOST_ARTIFACT: usize = 256 << 20;
/// Connections at once.
const MOST_CONNECTIONS: usize = 64;

/// What the admin API asks of a node.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// The node and its services.
    async fn status(&self) -> NodeStatus;
    /// Deploys an artifact and tells each step. Goes on to its end when nobody listens any more.
    async fn deploy(
        &self,
        artifact: Bytes,
        options: DeployOptions,
        events: mpsc::Sender<DeployEvent>,
    );
    /// Log lines (JSON texts): the newest `last`, then new ones as long as the receiver lives if
    /// `follow`.
    fn logs(&self, service: Option<&str>, last: usize, follow: bool) -> mpsc::Receiver<Arc<str>>;
    /// The spans of a correlation or trace id.
    fn trace(&self, id: &str) -> Result<serde_json::Value>;
    /// The gateway's routes.
    fn routes(&self) -> Table;
    /// Runs one `SELECT` on a service's database, read-only.
    async fn sql(&self, service: &ServiceName, statement: &str) -> Result<Table>;
    /// Keys of a service that begin with a prefix, with their values.
    async fn kv(&self, service: &ServiceName, prefix: &str) -> Result<Table>;
    /// The newest events of a topic (all topics if none), and consumers with their lag.
    async fn events(&self, topic: Option<&str>, last: usize) -> Result<Table>;
}

/// Serves the admin API until `stop` says so, then lets requests in flight finish.
pub async fn serve(
    listener: TcpListener,
    token: String,
    admin: Arc<dyn Admin>,
    mut stop: watch::Receiver<bool>,
) {
    let token: Arc<str> = token.into();
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, peer)) = accepted else { continue };
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let (token, admin) = (token.clone(), admin.clone());
        let service = service_fn(move |request| {
            let (token, admin) = (token.clone(), admin.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(request, peer, &token, admin).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "admin connection ended");
            }
            drop(place);
        });
    }
    if tokio::time::timeout(Duration::from_secs(5), graceful.shutdown()).await.is_err() {
        tracing::info!("admin connections were cut at the end of the drain");
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    token: &str,
    admin: Arc<dyn Admin>,
) -> Response {
    let path = request.uri().path().to_owned();
    let result = if authorized(&request, token) {
        route(request, admin).await
    } else {
        tracing::warn!(%peer, path, "admin request without the right token");
        Err(codes::DEPLOY_UNAUTHORIZED.error("the admin token is missing or wrong"))
    };
    result.unwrap_or_else(|error| problem_response(&error, &path, &CorrelationId::generate()))
}

fn authorized(request: &Request<Incoming>, token: &str) -> bool {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into())
}

async fn route(request: Request<Incoming>, admin: Arc<dyn Admin>) -> Result<Response> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let query = Query::of(&request);
    let segments: Vec<_> = path.split('/').skip(1).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match (request.method(), segments.as_slice()) {
        (&Method::GET, ["v1", "status"]) => json(&admin.status().await),
        (&Method::GET, ["v1", "routes"]) => json(&admin.routes()),
        (&Method::GET, ["v1", "traces", id]) => json(&admin.trace(id)?),
        (&Method::GET, ["v1", "logs"]) => {
            let lines =
                admin.logs(query.get("service"), query.number("last", 100)?, query.flag("follow"));
            Ok(stream(lines, |line| line.to_string()))
        }
        (&Method::GET, ["v1", "events"]) => {
            json(&admin.events(query.get("topic"), query.number("last", 20)?).await?)
        }
        (&Method::GET, ["v1", "services", name, "sql"]) => {
            let statement = query.required("q")?;
            json(&admin.sql(&service(name)?, statement).await?)
        }
        (&Method::GET, ["v1", "services", name, "kv"]) => {
            json(&admin.kv(&service(name)?, query.get("prefix").unwrap_or_default()).await?)
        }
        (&Method::POST, ["v1", "deploys"]) => {
            let options =
                DeployOptions { grant: query.flag("grant"), dry_run: query.flag("dry_run") };
            let body =
                Limited::new(request.into_body(), MOST_ARTIFACT).collect().await.map_err(|_| {
                    codes::BODY_TOO_LARGE.error(format!(
                        "the artifact was cut off or is larger than {MOST_ARTIFACT} bytes"
                    ))
                })?;
            let (events, lines) = mpsc::channel(16);
            tokio::spawn(async move { admin.deploy(body.to_bytes(), options, events).await });
            Ok(stream(lines, |event| serde_json::to_string(&event).unwrap_or_default()))
        }
        _ => Err(codes::REQUEST_NO_ROUTE
            .error(format!("the admin API has no {} {path}", request.method()))),
    }
}

/// A segment of a path: a correlation id may have any visible character in it.
fn decoded(segment: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

fn service(name: &str) -> Result<ServiceName> {
    name.parse().map_err(|error| codes::REQUEST_INVALID.error(format!("{error}")))
}

fn json(document: &impl Serialize) -> Result<Response> {
    let body = serde_json::to_vec(document)
        .map_err(|_| codes::INTERNAL.error("the answer cannot be written as JSON"))?;
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn stream<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
    text: impl Fn(T) -> String + Send + 'static,
) -> Response {
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|item| (item, receiver))
    });
    let frames =
        frames.map(move |item| Ok::<_, BodyError>(Frame::data(Bytes::from(text(item) + "\n"))));
    let mut response = Response::new(Body::stream(StreamBody::new(frames)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

/// The query of an admin request.
struct Query(HashMap<String, String>);

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| {
            codes::REQUEST_INVALID.error(format!("the query parameter `{name}` is missing"))
        })
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "true" || value == "1")
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, Error> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|number| *number <= 10_000).ok_or_else(|| {
                codes::REQUEST_INVALID.error(format!("`{name}` must be a number up to 10000"))
            }),
        }
    }
}
