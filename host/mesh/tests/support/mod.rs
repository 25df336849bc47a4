//! What the tests of this crate share: a dispatch made of a closure, a record keeper, clients.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use airhost_core::{Body, Call, Dispatch, Response, Result};
use airhost_mesh::{Listener, ListenerConfig, PortSettings};
use airhost_telemetry::Telemetry;
use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The longest any test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

/// A dispatch made of a closure.
pub(crate) struct Service(Box<dyn Fn(Call) -> Answer + Send + Sync>);

impl Service {
    pub(crate) fn by<F, A>(answer: F) -> Arc<dyn Dispatch>
    where
        F: Fn(Call) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Response>> + Send + 'static,
    {
        Arc::new(Self(Box::new(move |call| Box::pin(answer(call)))))
    }

    /// Answers the request's body.
    pub(crate) fn echo() -> Arc<dyn Dispatch> {
        Self::by(|call| async move { Ok(Response::new(call.request.into_body())) })
    }

    pub(crate) fn text(text: &'static str) -> Arc<dyn Dispatch> {
        Self::by(move |_| async move { Ok(Response::new(Body::from(text))) })
    }
}

#[async_trait]
impl Dispatch for Service {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        (self.0)(call).await
    }
}

/// A listener on a free port, and the lines of its log.
pub(crate) struct Server {
    pub(crate) listener: Listener,
    pub(crate) telemetry: Telemetry,
    read: AtomicUsize,
}

impl Server {
    pub(crate) async fn start(dispatch: Arc<dyn Dispatch>) -> Self {
        Self::with(dispatch, |_| {}, PortSettings::default()).await
    }

    pub(crate) async fn with(
        dispatch: Arc<dyn Dispatch>,
        adjust: impl FnOnce(&mut ListenerConfig),
        settings: PortSettings,
    ) -> Self {
        let mut config = ListenerConfig::new(
            "test-service".parse().unwrap(),
            SocketAddr::from(([127, 0, 0, 1], 0)),
        );
        adjust(&mut config);
        let telemetry = Telemetry::discard();
        let listener = Listener::bind(config, settings, dispatch, &telemetry).await.unwrap();
        Self { listener, telemetry, read: AtomicUsize::new(0) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// The next line of the access log, in short.
    pub(crate) async fn logged(&self) -> String {
        let next = self.read.fetch_add(1, SeqCst);
        within(async {
            loop {
                if let Some(line) = self.telemetry.logs.recent("test-service").get(next) {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    let text = |name: &str| line[name].as_str().unwrap().to_owned();
                    return format!(
                        "{} {} {} {} in={} out={}",
                        text("method"),
                        text("path"),
                        line["response_code"],
                        text("response_flags"),
                        line["bytes_received"],
                        line["bytes_sent"]
                    );
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Fails the test instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("the test waits for too long")
}

/// An HTTP/1.1 client on one connection.
pub(crate) async fn http1(server: &Server) -> hyper::client::conn::http1::SendRequest<Body> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server.connect().await)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

/// An HTTP/2 client with prior knowledge.
pub(crate) async fn http2(server: &Server) -> hyper::client::conn::http2::SendRequest<Body> {
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(server.connect().await))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}
