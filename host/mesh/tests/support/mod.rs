//! What the tests of this crate share: a dispatch made of a closure, a record keeper, clients.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use airhost_core::{Body, Call, Dispatch, Response, Result};
use airhost_mesh::{AccessLog, AccessRecord, Listener, ListenerConfig, PortSettings};
use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

/// The longest any test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

/// A dispatch made of a closure.
pub struct Service(Box<dyn Fn(Call) -> Answer + Send + Sync>);

impl Service {
    pub fn new<F, A>(answer: F) -> Arc<dyn Dispatch>
    where
        F: Fn(Call) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Response>> + Send + 'static,
    {
        Arc::new(Self(Box::new(move |call| Box::pin(answer(call)))))
    }

    /// Answers the request's body.
    pub fn echo() -> Arc<dyn Dispatch> {
        Self::new(|call| async move { Ok(Response::new(call.request.into_body())) })
    }

    pub fn text(text: &'static str) -> Arc<dyn Dispatch> {
        Self::new(move |_| async move { Ok(Response::new(Body::from(text))) })
    }
}

#[async_trait]
impl Dispatch for Service {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        (self.0)(call).await
    }
}

/// Keeps what is worth asserting on.
pub struct Log(mpsc::UnboundedSender<String>);

impl AccessLog for Log {
    fn record(&self, record: &AccessRecord) {
        let path = record.target.as_ref().map_or("", |target| target.path());
        let line = format!(
            "{} {path} {} {} in={} out={}",
            record.method,
            record.status.as_u16(),
            record.flags,
            record.received,
            record.sent
        );
        self.0.send(line).unwrap();
    }
}

/// A listener on a free port, and the lines of its log.
pub struct Server {
    pub listener: Listener,
    pub log: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Server {
    pub async fn start(dispatch: Arc<dyn Dispatch>) -> Self {
        Self::with(dispatch, |_| {}, PortSettings::default()).await
    }

    pub async fn with(
        dispatch: Arc<dyn Dispatch>,
        adjust: impl FnOnce(&mut ListenerConfig),
        settings: PortSettings,
    ) -> Self {
        let mut config =
            ListenerConfig::new("test-service".parse().unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)));
        adjust(&mut config);
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = Listener::bind(config, settings, dispatch, Arc::new(Log(sender))).await.unwrap();
        Self { listener, log: Mutex::new(receiver) }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// The next line of the access log.
    #[allow(clippy::await_holding_lock, reason = "one test, one reader")]
    pub async fn logged(&self) -> String {
        within(async { self.log.lock().recv().await.unwrap() }).await
    }

    /// Sends bytes as they are and reads until the server closes.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Fails the test instead of hanging.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("the test waits for too long")
}

/// An HTTP/1.1 client on one connection.
pub async fn http1(server: &Server) -> hyper::client::conn::http1::SendRequest<Body> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(server.connect().await)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

/// An HTTP/2 client with prior knowledge.
pub async fn http2(server: &Server) -> hyper::client::conn::http2::SendRequest<Body> {
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(server.connect().await)).await.unwrap();
    tokio::spawn(connection);
    sender
}
