//! A call from one component to another, and what it replaces: a request over loopback.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::Instant};

use super::Bench;
use crate::{
    client::Http,
    report::{Report, Section},
    series::Series,
    servers,
};

/// Calls that one request to the timing component makes.
const BATCH: usize = 200;
/// Bytes each way.
const BODY: usize = 1024;

/// What is called, and how long half of the calls may take, in microseconds.
const CALLEES: [(&str, &str, f64); 2] =
    [("callee-warm", "warm", 8.0), ("callee-fresh", "fresh", 25.0)];

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let http = Http::new();
    let mut ways = Vec::new();
    for (service, mode, _) in CALLEES {
        ways.push((format!("call in process, {mode} callee"), Way::Component(service)));
    }
    ways.push(("HTTP/1.1 over loopback".to_owned(), Way::Loopback(Sender::http1(bench).await?)));
    ways.push(("HTTP/2 over loopback".to_owned(), Way::Loopback(Sender::http2(bench).await?)));
    ways.push((
        "HTTP/2 with mTLS over loopback".to_owned(),
        Way::Loopback(Sender::mtls(bench).await?),
    ));

    let mut results: Vec<(String, Series, Series)> =
        ways.iter().map(|(name, _)| (name.clone(), Series::default(), Series::default())).collect();
    for (name, way) in &mut ways {
        way.take(bench, &http, 1).await.with_context(|| name.clone())?;
    }
    for run in 0..bench.scale.plan.runs {
        for ((name, way), (_, p50, p99)) in ways.iter_mut().zip(&mut results) {
            way.take(bench, &http, bench.scale.calls / 10).await?;
            let times =
                way.take(bench, &http, bench.scale.calls).await.with_context(|| name.clone())?;
            p50.push(times.percentile(50.0));
            p99.push(times.percentile(99.0));
            println!(
                "  run {} of {}: {name}: p50 {:.1} µs",
                run + 1,
                bench.scale.plan.runs,
                times.percentile(50.0)
            );
        }
    }
    let loopback: Vec<String> = results
        .iter()
        .skip(CALLEES.len())
        .map(|(name, p50, _)| format!("{name} {:.1}", p50.median()))
        .collect();
    let loopback = loopback.join(", ");
    for ((_, mode, most), (_, p50, _)) in CALLEES.iter().zip(&results) {
        report.judge(
            format!("call in process, 1 KB each way, {mode} callee: p50 ≤ {most:.0} µs"),
            format!("{p50:.1} µs; {loopback}"),
            p50.median() <= *most,
        );
    }
    let first = results.first().map_or(f64::NAN, |(_, p50, _)| p50.median());
    let rows = results.iter().map(|(name, p50, p99)| {
        vec![
            name.clone(),
            format!("{p50:.1}"),
            format!("{p99:.1}"),
            format!("{:.1}×", p50.median() / first),
        ]
    });
    report.section(Section {
        title: "Calls between components",
        text: format!(
            "{BODY} bytes each way, one call after the other, {} a run. In process, a guest times its calls of \
             another component, with allow-list, deadline, limits and trace; over loopback, a native client times a \
             native server in another process.",
            bench.scale.calls
        ),
        head: &["way", "p50 µs", "p99 µs", "of the first's"],
        rows: rows.collect(),
    });
    Ok(())
}

enum Way {
    Component(&'static str),
    Loopback(Sender),
}

impl Way {
    /// Makes so many calls; microseconds of each.
    async fn take(&mut self, bench: &Bench, http: &Http, calls: usize) -> Result<Series> {
        match self {
            Self::Component(service) => between_components(bench, http, service, calls).await,
            Self::Loopback(sender) => over_loopback(sender, calls).await,
        }
    }
}

async fn between_components(
    bench: &Bench,
    http: &Http,
    service: &str,
    calls: usize,
) -> Result<Series> {
    let url = format!("http://{}/time/{service}/{BATCH}", bench.service("caller")?);
    let mut times = Series::default();
    for _ in 0..calls.div_ceil(BATCH) {
        let answer = http.good(Method::GET, &url, b"", None).await?;
        for nanos in std::str::from_utf8(&answer)?.split(' ') {
            times.push(nanos.parse::<f64>()? / 1e3);
        }
    }
    Ok(times)
}

/// A connection to the native server.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn http1(bench: &Bench) -> Result<Self> {
        let (sender, driver) =
            http1::handshake(TokioIo::new(connect(bench, "http1").await?)).await?;
        tokio::spawn(driver);
        Ok(Self::Http1(sender))
    }

    async fn http2(bench: &Bench) -> Result<Self> {
        let stream = TokioIo::new(connect(bench, "http2").await?);
        let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(driver);
        Ok(Self::Http2(sender))
    }

    async fn mtls(bench: &Bench) -> Result<Self> {
        let (connector, name) = servers::client_tls(&bench.folder().join("certificate"))?;
        let stream = connector.connect(name, connect(bench, "mtls").await?).await?;
        let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self::Http2(sender))
    }
}

async fn connect(bench: &Bench, port: &str) -> Result<TcpStream> {
    let address: SocketAddr = bench.native.told(port)?.parse()?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn over_loopback(sender: &mut Sender, calls: usize) -> Result<Series> {
    let body = Bytes::from(vec![b'x'; BODY]);
    let mut times = Series::default();
    for _ in 0..calls {
        let request =
            Request::post("http://localhost/echo").header(http::header::HOST, "localhost");
        let request = request.body(Full::new(body.clone()))?;
        let begin = Instant::now();
        let response = match sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        times.push(micros(begin.elapsed()));
        if status != StatusCode::OK || answer.len() != BODY {
            bail!("the native server answers {status} with {} bytes", answer.len());
        }
    }
    Ok(times)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
