//! How soon a new revision serves, and what clients feel while it takes the place of the old one.

use std::time::Duration;

use airhost_control::{Client, api::DeployEvent};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Method;
use tokio::time::{Instant, sleep, timeout};

use super::{Bench, ORDER};
use crate::{
    artifacts::{self, DEPLOYED},
    report::{Report, Section},
    series::Series,
    steady::{self, Steady},
    wrk::CONNECTIONS,
};

/// Seconds until a revision of 1 MB serves.
const LIVE: f64 = 1.0;
/// How many times slower the slowest hundredth may get.
const SLOWER: f64 = 2.0;

/// Longest wait for a deploy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one deploy took.
struct Deployed {
    live: Duration,
    drained: Duration,
}

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let admin = bench.admin()?;
    let address = bench.service(DEPLOYED)?;
    let runs = bench.scale.plan.runs;
    // The first one finds caches cold that are warm ever after.
    deploy(&admin, artifacts::revision(address.port(), 2 * runs)?).await?;
    let (mut live, mut drained) = (Series::default(), Series::default());
    for run in 0..runs {
        let deployed = deploy(&admin, artifacts::revision(address.port(), run)?).await?;
        live.push(deployed.live.as_secs_f64());
        drained.push(deployed.drained.as_secs_f64());
        println!("  run {} of {runs}: serves after {:.2} s", run + 1, deployed.live.as_secs_f64());
    }

    let (mut before, mut during, mut slower) =
        (Series::default(), Series::default(), Series::default());
    let (mut window, mut failures, mut requests) = (Series::default(), Vec::new(), 0);
    for run in 0..runs {
        let artifact = artifacts::revision(address.port(), runs + run)?;
        let load = Steady::start(address, ORDER, bench.scale.rate, CONNECTIONS);
        sleep(bench.scale.plan.warm_up).await;
        let settled = Instant::now();
        sleep(bench.scale.plan.length).await;
        let called = Instant::now();
        let deployed = deploy(&admin, artifact).await?;
        let end = Instant::now();
        // What was due within the deploy is answered a little later.
        sleep(Duration::from_millis(500)).await;
        let samples = load.stop().await?;
        let (old, new) =
            (steady::p99(&samples, settled, called)?, steady::p99(&samples, called, end)?);
        before.push(old);
        during.push(new);
        slower.push(new / old);
        window.push(deployed.drained.as_secs_f64());
        requests += samples.len();
        failures.extend(samples.into_iter().filter_map(|sample| sample.failure));
        println!(
            "  run {} of {runs}: p99 {old:.2} ms before, {new:.2} ms while deploying, {} failed",
            run + 1,
            failures.len()
        );
    }
    let first = failures.first().map_or_else(String::new, |failure| format!(", as: {failure}"));
    report.judge(
        format!("1 MB component live ≤ {LIVE:.0} s after the call"),
        format!("{live:.2} s"),
        live.median() <= LIVE,
    );
    report.judge(
        "deploy under load: no failed request",
        format!("{} of {requests}{first}", failures.len()),
        failures.is_empty(),
    );
    report.judge(
        format!("deploy under load, from the call until drained: p99 ≤ {SLOWER:.0} × before"),
        format!("{slower:.2}×: {during:.2} ms beside {before:.2} ms"),
        slower.median() <= SLOWER,
    );
    report.section(Section {
        title: "Deploy",
        text: format!(
            "A component of {:.1} MB that was never compiled here, given to the admin API. Under load, {} requests \
             a second at a steady rate over {CONNECTIONS} connections go to the service that is replaced, from \
             {} s before; a request that had to wait for the one before it counts from when it was due.",
            artifacts::size("medium")? as f64 / 1e6,
            bench.scale.rate,
            bench.scale.plan.length.as_secs()
        ),
        head: &["what", "measured"],
        rows: vec![
            vec!["idle: until it serves, s".to_owned(), format!("{live:.2}")],
            vec!["idle: until the old revision has drained, s".to_owned(), format!("{drained:.2}")],
            vec!["under load: until the old revision has drained, s".to_owned(), format!("{window:.2}")],
            vec!["p99 before, ms".to_owned(), format!("{before:.2}")],
            vec!["p99 from the call until drained, ms".to_owned(), format!("{during:.2}")],
            vec!["failed requests".to_owned(), format!("{} of {requests}", failures.len())],
        ],
    });
    Ok(())
}

/// Deploys an artifact; answers how long that took, as the client sees it where the node does not
/// say.
async fn deploy(admin: &Client, artifact: Vec<u8>) -> Result<Deployed> {
    let mut last = None;
    let begin = Instant::now();
    let told = admin.lines(Method::POST, "/v1/deploys?grant=true", Bytes::from(artifact), |line| {
        last = serde_json::from_slice(line).ok();
        true
    });
    timeout(PATIENCE, told).await.context("the deploy does not end")??;
    let drained = begin.elapsed();
    match last.context("the deploy does not say how it ended")? {
        DeployEvent::Deployed { live_after_ms, .. } => {
            Ok(Deployed { live: Duration::from_millis(live_after_ms), drained })
        }
        DeployEvent::Refused { code, message, .. } => {
            bail!("the deploy was refused: {message} ({code})")
        }
        other => bail!("the deploy ended with {other:?}"),
    }
}
