//! Start with all components from the cache of compiled code, and memory when nothing is asked.

use anyhow::Result;
use tokio::time::sleep;

use super::{Bench, text};
use crate::{
    process::{Server, resident},
    report::{Report, Section},
    series::Series,
};

/// Seconds until a node serves.
const START: f64 = 1.0;
/// Idle memory in MB.
const IDLE: f64 = 150.0;

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let start_target = format!("start with all components from the cache ≤ {START:.0} s");
    let idle_target = format!("idle resident memory ≤ {IDLE:.0} MB");
    let Some(components) = &bench.components else {
        let why = "AIRHOST_COMPONENTS does not name the folder of built components";
        report.not_measured(start_target, why);
        report.not_measured(idle_target, why);
        return Ok(());
    };
    let state = bench.folder().join("platform");
    let words = ["node", "--components", text(components)?, "--state", text(&state)?];
    // Compiles, makes the databases and the first user; not measured but told.
    let first = Server::start(&words).await?;
    let compiled = first.started_in().as_secs_f64();
    first.stop().await?;
    let (mut start, mut idle) = (Series::default(), Series::default());
    for run in 0..bench.scale.plan.runs {
        let node = Server::start(&words).await?;
        start.push(node.started_in().as_secs_f64());
        sleep(bench.scale.idle).await;
        idle.push(resident(node.pid()?)? as f64 / 1e6);
        node.stop().await?;
        println!(
            "  run {} of {}: start {start:.2} s, idle {idle:.0} MB",
            run + 1,
            bench.scale.plan.runs
        );
    }
    let services = std::fs::read_dir(components)?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "wasm"))
        .count();
    report.judge(
        start_target,
        format!("{start:.2} s with {services} services"),
        start.median() <= START,
    );
    report.judge(
        idle_target,
        format!("{idle:.0} MB with {services} services"),
        idle.median() <= IDLE,
    );
    report.section(Section {
        title: "Start and idle memory",
        text: format!(
            "The platform's {services} services. From before the process is made until every port is open and the \
             first user is there; memory is what the kernel counts as resident {} s later.",
            bench.scale.idle.as_secs()
        ),
        head: &["what", "measured"],
        rows: vec![
            vec!["first start, nothing compiled, s".to_owned(), format!("{compiled:.2}")],
            vec!["start from the cache, s".to_owned(), format!("{start:.2}")],
            vec!["idle resident memory, MB".to_owned(), format!("{idle:.0}")],
        ],
    });
    Ok(())
}
