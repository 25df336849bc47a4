//! What clients of a healthy service feel while a service beside it does everything wrong.

use airhost_test_guests::HOSTILE_DEEDS;
use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::{Bench, ORDER};
use crate::{
    artifacts::HOSTILE,
    process::Server,
    report::{Report, Section},
    series::Series,
    servers::FAULTS,
    steady::{self, Steady},
    wrk::CONNECTIONS,
};

/// The service that is measured.
const HEALTHY: &str = "echo-fresh";
/// How many times slower the slowest hundredth may get.
const SLOWER: f64 = 2.0;

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let healthy = bench.service(HEALTHY)?;
    let hostile = bench.service(HOSTILE)?;
    let runs = bench.scale.plan.runs;
    let (mut before, mut busy, mut beside) =
        (Series::default(), Series::default(), Series::default());
    let mut faults = Series::default();
    let (mut failures, mut requests) = (Vec::new(), 0);
    for run in 0..runs {
        let load = Steady::start(healthy, ORDER, bench.scale.rate, CONNECTIONS);
        sleep(bench.scale.plan.warm_up).await;
        let settled = Instant::now();
        sleep(bench.scale.plan.length).await;
        let computing = Server::start_behind(19, &["busy"]).await?;
        let occupied = Instant::now();
        sleep(bench.scale.plan.length).await;
        let released = Instant::now();
        computing.stop().await?;
        // They stand for machines elsewhere, which take no processor time from this one.
        let attackers = Server::start_behind(10, &["attackers", &hostile.to_string()]).await?;
        let begun = Instant::now();
        sleep(bench.scale.plan.length).await;
        let end = Instant::now();
        let done: u64 = attackers.last_words().await?.get(FAULTS).map_or(Ok(0), |it| it.parse())?;
        ensure!(done > 0, "no fault happened");
        let samples = load.stop().await?;
        // The control begins where the quiet time ends.
        let alone = steady::p99(&samples, settled, settled + bench.scale.plan.length)?;
        let control = steady::p99(&samples, occupied, released)?;
        let together = steady::p99(&samples, begun, end)?;
        before.push(alone);
        busy.push(control);
        beside.push(together);
        faults.push(done as f64 / bench.scale.plan.length.as_secs_f64());
        requests += samples.len();
        failures.extend(samples.into_iter().filter_map(|sample| sample.failure));
        println!(
            "  run {} of {runs}: p99 {alone:.2} ms before, {control:.2} ms with busy processors, {together:.2} ms beside {done} \
             faults, {} failed",
            run + 1,
            failures.len()
        );
    }
    let slower = beside.with(&before, |beside, before| beside / before);
    let than_busy = beside.with(&busy, |beside, busy| beside / busy);
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
            "{} requests a second at a steady rate over {CONNECTIONS} connections go to the JSON echo: first alone; \
             then, as a control, while threads of the lowest priority keep every processor busy with nothing; then \
             while {} clients ask a service beside it for one fault each, again and again: traps, endless loops \
             (100 ms of CPU each), memory bombs, exhausted stacks, floods of log lines, headers and bodies, answers \
             that never come. All share the machine's processors; the clients of the faults stand behind the others \
             there (niceness 10), since in service they run on machines of their own.",
            bench.scale.rate,
            HOSTILE_DEEDS.len()
        ),
        head: &["what", "measured"],
        rows: vec![
            vec!["p99 alone, ms".to_owned(), format!("{before:.2}")],
            vec!["p99 with busy processors, ms".to_owned(), format!("{busy:.2}")],
            vec!["p99 beside faults, ms".to_owned(), format!("{beside:.2}")],
            vec!["p99 beside faults, × of alone".to_owned(), format!("{slower:.2}")],
            vec!["p99 beside faults, × of busy".to_owned(), format!("{than_busy:.2}")],
            vec!["faults a second".to_owned(), format!("{faults:.0}")],
            vec!["failed requests".to_owned(), format!("{} of {requests}", failures.len())],
        ],
    });
    Ok(())
}
