//! What clients of a healthy service feel while a service beside it does everything wrong.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use http::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Bench, ORDER};
use crate::{
    artifacts::HOSTILE,
    client::Http,
    report::{Report, Section},
    series::Series,
    steady::{self, Steady},
    wrk::CONNECTIONS,
};

/// The service that is measured.
const HEALTHY: &str = "echo-fresh";
/// How many times slower the slowest hundredth may get.
const SLOWER: f64 = 2.0;
/// Faults of a guest. Each has a client of its own that asks for it again and again.
const DEEDS: [&str; 12] = [
    "trap",
    "loop",
    "memory",
    "stack",
    "no-response",
    "headers",
    "bad-header",
    "status",
    "endless",
    "log",
    "huge",
    "unfinished",
];

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let healthy = bench.service(HEALTHY)?;
    let hostile = bench.service(HOSTILE)?;
    let runs = bench.scale.plan.runs;
    let (mut before, mut beside, mut slower, mut faults) =
        (Series::default(), Series::default(), Series::default(), Series::default());
    let (mut failures, mut requests) = (Vec::new(), 0);
    for run in 0..runs {
        let load = Steady::start(healthy, ORDER, bench.scale.rate, CONNECTIONS);
        sleep(bench.scale.plan.warm_up).await;
        let settled = Instant::now();
        sleep(bench.scale.plan.length).await;
        let attackers = Attackers::start(hostile);
        let begun = Instant::now();
        sleep(bench.scale.plan.length).await;
        let end = Instant::now();
        let done = attackers.stop().await?;
        let samples = load.stop().await?;
        let (alone, together) =
            (steady::p99(&samples, settled, begun)?, steady::p99(&samples, begun, end)?);
        before.push(alone);
        beside.push(together);
        slower.push(together / alone);
        faults.push(done as f64 / bench.scale.plan.length.as_secs_f64());
        requests += samples.len();
        failures.extend(samples.into_iter().filter_map(|sample| sample.failure));
        println!(
            "  run {} of {runs}: p99 {alone:.2} ms before, {together:.2} ms beside {done} faults, {} failed",
            run + 1,
            failures.len()
        );
    }
    let first = failures.first().map_or_else(String::new, |failure| format!(", as: {failure}"));
    report.judge(
        "hostile guests beside a healthy service: no failed request of the healthy one",
        format!("{} of {requests}{first}", failures.len()),
        failures.is_empty(),
    );
    report.judge(
        format!("hostile guests beside a healthy service: its p99 ≤ {SLOWER:.0} × before"),
        format!("{slower:.2}×: {beside:.2} ms beside {before:.2} ms"),
        slower.median() <= SLOWER,
    );
    report.section(Section {
        title: "Hostile guests",
        text: format!(
            "{} requests a second at a steady rate over {CONNECTIONS} connections go to the JSON echo, first alone, \
             then while {} clients ask a service beside it for one fault each, again and again: traps, endless loops \
             (100 ms of CPU each), memory bombs, exhausted stacks, floods of log lines, headers and bodies, answers \
             that never come. The client and both services share the machine's processors.",
            bench.scale.rate,
            DEEDS.len()
        ),
        head: &["what", "measured"],
        rows: vec![
            vec!["p99 alone, ms".to_owned(), format!("{before:.2}")],
            vec!["p99 beside faults, ms".to_owned(), format!("{beside:.2}")],
            vec!["faults a second".to_owned(), format!("{faults:.0}")],
            vec!["failed requests".to_owned(), format!("{} of {requests}", failures.len())],
        ],
    });
    Ok(())
}

/// Clients that ask for faults until they are stopped.
struct Attackers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Attackers {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for deed in DEEDS {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            clients.spawn(async move {
                let http = Http::new();
                let url = format!("http://{address}/{deed}");
                while !stop.load(Ordering::Relaxed) {
                    // Whether and how it is answered is its own affair, but an attacker that is
                    // turned away at once would attack nobody else than this client.
                    if http.good(Method::GET, &url, b"", None).await.is_err() {
                        sleep(Duration::from_millis(1)).await;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, done, clients }
    }

    async fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.context("an attacker ended early")?;
        }
        match self.done.load(Ordering::Relaxed) {
            0 => bail!("no fault happened"),
            done => Ok(done),
        }
    }
}
