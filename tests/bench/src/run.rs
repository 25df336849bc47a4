//! Measures what is asked for and writes what came of it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum as _};
use tokio::time::Instant;

use crate::{
    machine,
    report::Report,
    scenarios::{Bench, Scale, Scenario, load},
};

#[derive(Args)]
pub(crate) struct Selection {
    /// What to measure; everything if nothing is named.
    scenarios: Vec<Scenario>,
    /// One short run of each: shows that everything works, and nothing else.
    #[arg(long)]
    quick: bool,
    /// Asks every server once and measures nothing.
    #[arg(long, conflicts_with_all = ["quick", "write"])]
    check: bool,
    /// Writes docs/benchmarks.md even if not everything was measured. A full run always does.
    #[arg(long)]
    write: bool,
    /// Does not install `wasmtime` where it is missing; what needs it is not measured then.
    #[arg(long)]
    no_install: bool,
}

pub(crate) async fn run(options: Selection) -> Result<()> {
    let all = options.scenarios.is_empty();
    let scenarios = if all { Scenario::value_variants() } else { &options.scenarios };
    let scale = match (options.check, options.quick) {
        (true, _) => Scale::CHECK,
        (false, true) => Scale::QUICK,
        (false, false) => Scale::FULL,
    };
    let facts = machine::facts();
    if cfg!(debug_assertions) && !options.check {
        println!("this is a debug build: its numbers say nothing");
    }
    let begin = Instant::now();
    let install = !options.no_install && !options.quick && !options.check;
    let bench = Bench::start(scale, install).await?;
    let mut report = Report::default();
    for scenario in scenarios {
        println!("{}: load of the machine {}", scenario.name(), machine::load());
        if let Err(error) = bench.measure(*scenario, &mut report).await {
            println!("  failed: {error:#}");
            report.failed(&scenario.name(), &error);
        }
    }
    bench.stop().await?;
    let text = report.render(&intro(scale), &facts)?;
    if !options.check {
        println!("\n{text}\nmeasured in {:.0} s", begin.elapsed().as_secs_f64());
    }
    if !report.failures().is_empty() {
        bail!("not everything could be measured: {}", report.failures().join("; "));
    }
    if options.check {
        println!("every server answers");
    } else if options.write || (all && !options.quick) {
        let path = document();
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md")
}

fn intro(scale: Scale) -> String {
    format!(
        "Written by `cargo xtask bench`. Servers run in processes of their own. Contestants take turns within each of \
         {} runs ({}), and share the processor with whatever asks them: the honest column is the CPU time that the \
         server's process took for a request, user and system, and not requests per second. Numbers are medians, with \
         the least and the most in parentheses; differences and ratios are taken within a run, so that a slow moment \
         slows both sides.\n",
        scale.plan.runs,
        load(scale.plan)
    )
}
