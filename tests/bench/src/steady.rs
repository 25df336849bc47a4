//! Requests at a steady rate, whatever the server does: a late answer does not delay the question
//! after next, so that a stall is seen by all that it would have been seen by.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::series::Series;

/// Longest wait for an answer; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answered or failed request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was due.
    pub(crate) due: Instant,
    /// Since it was due, or since it was sent if nothing but this client's own timer was late.
    pub(crate) latency: Duration,
    /// Why it failed.
    pub(crate) failure: Option<String>,
}

/// Load that goes on until it is stopped.
#[derive(Debug)]
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    connections: JoinSet<Vec<Sample>>,
}

impl Steady {
    /// Begins to post `body` so many times a second over so many connections.
    pub(crate) fn start(
        address: SocketAddr,
        body: &'static str,
        rate: u32,
        connections: u32,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (begin, between) = (Instant::now(), Duration::from_secs(1) / rate);
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            let stop = Arc::clone(&stop);
            let pace = Pace { first: begin + between * number, between: between * connections };
            tasks.spawn(connection(address, body, pace, stop));
        }
        Self { stop, connections: tasks }
    }

    /// Ends it; answers all that was seen.
    pub(crate) async fn stop(mut self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut samples = Vec::new();
        while let Some(of_one) = self.connections.join_next().await {
            samples.extend(of_one.context("a client ended early")?);
        }
        Ok(samples)
    }
}

/// The latency that 99 % of what was due between the two are not above, in milliseconds.
pub(crate) fn p99(samples: &[Sample], from: Instant, until: Instant) -> Result<f64> {
    let within = samples.iter().filter(|sample| sample.due >= from && sample.due < until);
    let latencies: Series = within.map(|sample| sample.latency.as_secs_f64() * 1e3).collect();
    let p99 = latencies.percentile(99.0);
    if p99.is_nan() {
        bail!("no request was due while it was measured");
    }
    Ok(p99)
}

#[derive(Clone, Copy)]
struct Pace {
    first: Instant,
    between: Duration,
}

async fn connection(
    address: SocketAddr,
    body: &'static str,
    pace: Pace,
    stop: Arc<AtomicBool>,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut sender = None;
    let mut due = pace.first;
    while !stop.load(Ordering::Relaxed) {
        let mut from = due;
        if Instant::now() < due {
            sleep_until(due).await;
            from = Instant::now();
        }
        let asked = timeout(PATIENCE, ask(&mut sender, address, body)).await;
        let failure = match asked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("no answer in time".to_owned()),
        };
        if failure.is_some() {
            sender = None;
        }
        samples.push(Sample { due, latency: from.elapsed(), failure });
        due += pace.between;
    }
    samples
}

type Sender = SendRequest<Full<Bytes>>;

async fn ask(kept: &mut Option<Sender>, address: SocketAddr, body: &'static str) -> Result<()> {
    let sender = match kept {
        Some(sender) => sender,
        None => kept.insert(connect(address).await?),
    };
    sender.ready().await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from_static(body.as_bytes())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicU32};

    use http::Response;
    use hyper::{body::Incoming, server, service::service_fn};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers all connections; every tenth request of each with 503.
    async fn server() -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let asked = AtomicU32::new(1);
                let service = service_fn(move |_: Request<Incoming>| {
                    let mut response = Response::new(Full::new(Bytes::from_static(b"answer")));
                    if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
                        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    }
                    async move { Ok::<_, Infallible>(response) }
                });
                let http1 = server::conn::http1::Builder::new();
                tokio::spawn(http1.serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    #[tokio::test]
    async fn the_rate_is_kept_and_failures_are_told() {
        let load = Steady::start(server().await, "x", 1_000, 4);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let samples = load.stop().await.unwrap();
        // 500 were due; a busy machine may not have come round to all of them.
        assert!(samples.len() >= 100, "{}", samples.len());
        let failed: Vec<&str> =
            samples.iter().filter_map(|sample| sample.failure.as_deref()).collect();
        // The tenth of each of the four connections, whose last ten may not be complete.
        let tenth = samples.len() / 10;
        assert!(
            (tenth - 4..=tenth).contains(&failed.len()),
            "{} of {}",
            failed.len(),
            samples.len()
        );
        assert!(failed.iter().all(|failure| failure.starts_with("503")), "{failed:?}");
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure_each_time() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let load = Steady::start(address, "x", 100, 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let samples = load.stop().await.unwrap();
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample.failure.is_some()));
    }
}
