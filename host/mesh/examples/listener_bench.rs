//! What a request costs in the listener, beside a bare hyper server.
//!
//! `cargo run --release -p airhost-mesh --example listener_bench [requests]`
//!
//! Each server runs on a thread of its own and is loaded over 16 keep-alive connections; what is
//! reported is the CPU time of that thread per request, which holds on a busy machine too, where
//! requests per second do not. Linux only.

use std::{convert::Infallible, error::Error, fs, net::SocketAddr, sync::Arc, time::Duration};

use airhost_core::{Body, Call, Dispatch, Response};
use airhost_mesh::{
    HostPaths, Listener, ListenerConfig, PortSettings, Report, ServiceFacts, ServiceRoutes,
};
use airhost_telemetry::{Telemetry, log::Level};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

type Failure = Box<dyn Error + Send + Sync>;

const CONNECTIONS: usize = 16;
const ANSWER: &[u8] = br#"{"id":"rec12345678901234","ok":true}"#;

/// Answers at once.
struct Nothing;

#[async_trait]
impl Dispatch for Nothing {
    async fn dispatch(&self, _: Call) -> airhost_core::Result<Response> {
        Ok(Response::new(Body::from(Bytes::from_static(ANSWER))))
    }
}

struct NoFacts;

#[async_trait]
impl ServiceFacts for NoFacts {
    async fn health(&self, _: &airhost_core::ServiceName) -> Report {
        Report { ok: true, details: serde_json::Value::Null }
    }

    async fn readiness(&self, _: &airhost_core::ServiceName) -> Report {
        Report { ok: true, details: serde_json::Value::Null }
    }

    fn metrics(&self, _: &airhost_core::ServiceName) -> Bytes {
        Bytes::new()
    }

    fn openapi(&self, _: &airhost_core::ServiceName) -> Option<Bytes> {
        None
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Hyper,
    /// With the access log, as in service.
    Listener,
    /// Without its lines: what telemetry's part is.
    Silent,
}

/// A server on its own thread, and a way to ask for that thread's CPU time.
struct Server {
    address: SocketAddr,
    clock: mpsc::Sender<oneshot::Sender<Duration>>,
}

impl Server {
    async fn start(kind: Kind) -> Result<Self, Failure> {
        let (started, address) = oneshot::channel();
        let (clock, mut asked) = mpsc::channel::<oneshot::Sender<Duration>>(1);
        std::thread::spawn(move || -> Result<(), Failure> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let (address, _listener) = match kind {
                    Kind::Hyper => (hyper().await?, None),
                    Kind::Listener | Kind::Silent => {
                        let listener = listener(matches!(kind, Kind::Silent)).await?;
                        (listener.local_addr(), Some(listener))
                    }
                };
                started.send(address).map_err(|_| "nobody waits for the server")?;
                while let Some(answer) = asked.recv().await {
                    answer.send(cpu_of_this_thread()?).map_err(|_| "nobody waits for the time")?;
                }
                Ok(())
            })
        });
        Ok(Self { address: address.await?, clock })
    }

    async fn cpu(&self) -> Result<Duration, Failure> {
        let (answer, time) = oneshot::channel();
        self.clock.send(answer).await?;
        Ok(time.await?)
    }
}

async fn hyper() -> Result<SocketAddr, Failure> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            tokio::spawn(async move {
                let service = service_fn(|request: hyper::Request<Incoming>| async move {
                    let read =
                        request.into_body().collect().await.map(|body| body.to_bytes().len());
                    drop(read);
                    Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from_static(ANSWER))))
                });
                let served =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                drop(served);
            });
        }
    });
    Ok(address)
}

async fn listener(silent: bool) -> Result<Listener, Failure> {
    let service: airhost_core::ServiceName = "bench-service".parse()?;
    let config = ListenerConfig::new(service.clone(), "127.0.0.1:0".parse()?);
    let routes = ServiceRoutes::new(
        service.clone(),
        HostPaths::default(),
        Arc::new(NoFacts),
        Arc::new(Nothing),
    );
    let telemetry = Telemetry::discard();
    if silent {
        telemetry.logs.set_level(&service, Some(Level::Error));
    }
    Ok(Listener::bind(config, PortSettings::default(), Arc::new(routes), &telemetry).await?)
}

/// CPU time of the calling thread, as the scheduler counts it.
fn cpu_of_this_thread() -> Result<Duration, Failure> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().ok_or("no time in schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// Sends requests one after the other on each connection.
async fn load(address: SocketAddr, request: &'static [u8], requests: usize) -> Result<(), Failure> {
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = vec![0; 4096];
            for _ in 0..requests / CONNECTIONS {
                stream.write_all(request).await?;
                let mut size = 0;
                while !buffer[..size].ends_with(ANSWER) {
                    let read = stream.read(&mut buffer[size..]).await?;
                    if read == 0 {
                        return Err("the server hung up".into());
                    }
                    size += read;
                }
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = connections.join_next().await {
        done??;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the result is what it is run for")]
async fn main() -> Result<(), Failure> {
    let requests = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let get: &[u8] = b"GET /api/v1/things/7 HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";
    let post: &'static [u8] = Vec::leak(
        format!(
            "POST /api/v1/things HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\ncontent-type: application/json\r\ncontent-length: 310\r\n\r\n{}",
            "x".repeat(310)
        )
        .into_bytes(),
    );
    for (name, request) in [("GET", get), ("POST 310 B", post)] {
        for (server_name, kind) in
            [("hyper", Kind::Hyper), ("listener", Kind::Listener), ("no log", Kind::Silent)]
        {
            let server = Server::start(kind).await?;
            load(server.address, request, requests / 10).await?;
            let (before, began) = (server.cpu().await?, tokio::time::Instant::now());
            load(server.address, request, requests).await?;
            let used = server.cpu().await? - before;
            let micros = used.as_secs_f64() * 1e6 / requests as f64;
            let rate = requests as f64 / began.elapsed().as_secs_f64();
            println!(
                "{name:<11} {server_name:<9} {micros:6.2} µs CPU a request, {rate:8.0} requests/s"
            );
        }
    }
    Ok(())
}
