//! What a request costs the server.

use anyhow::{Context as _, Result};
use http::Method;

use super::{Bench, ORDER};
use crate::{
    artifacts,
    client::Http,
    report::{Report, Section},
    series::Series,
    wasmtime::{self, Serve},
    wrk::{Ask, CONNECTIONS, Contestant, Measured, Plan, compare},
};

/// What a fresh instance may add to a native server's request, in microseconds of CPU.
const FRESH: f64 = 18.0;
/// What a warm one may add.
const WARM: f64 = 8.0;

const HEAD: &[&str] =
    &["server", "CPU µs a request", "of the first's", "requests/s", "p50 µs", "p99 µs"];
const NATIVE: &str = "native hyper";

pub(super) async fn echo(bench: &Bench, report: &mut Report) -> Result<()> {
    let text = "A body of 310 bytes is parsed and a small JSON document answered. Host: listener, host paths, \
                routing, metrics, access log, limits and trace context are all on, as in service.";
    let shape = Shape {
        title: "JSON request",
        what: "JSON echo",
        guest: "echo",
        path: "/",
        ask: Ask::Post(ORDER),
    };
    beside_native(bench, report, shape, text.to_owned()).await
}

pub(super) async fn token(bench: &Bench, report: &mut Report) -> Result<()> {
    let Some(token) = &bench.token else {
        report.not_measured(
            "token check: fresh and warm beside native",
            "AIRHOST_COMPONENTS does not name the folder of built components, and so auth-service",
        );
        return Ok(());
    };
    let text = "The bearer token, an ES256 access token that auth-service issued, becomes the call's principal \
                (`context.assume`) and is answered. The native server has the host's own verifier; both remember \
                verified tokens for five minutes.";
    let ask = Ask::Token(token.clone());
    let shape =
        Shape { title: "Token check", what: "token check", guest: "token", path: "/token", ask };
    beside_native(bench, report, shape, text.to_owned()).await
}

pub(super) async fn large(bench: &Bench, report: &mut Report) -> Result<()> {
    let text = format!(
        "The JSON request to a component of {:.1} MB. The native server has no such ballast.",
        artifacts::size("large")? as f64 / 1e6
    );
    let shape = Shape {
        title: "Large component",
        what: "2 MB component",
        guest: "large",
        path: "/",
        ask: Ask::Post(ORDER),
    };
    beside_native(bench, report, shape, text).await
}

/// A request that the host and the native server answer alike.
struct Shape {
    title: &'static str,
    what: &'static str,
    /// The services are `<guest>-fresh` and `<guest>-warm`.
    guest: &'static str,
    /// Of the native server.
    path: &'static str,
    ask: Ask,
}

async fn beside_native(
    bench: &Bench,
    report: &mut Report,
    shape: Shape,
    text: String,
) -> Result<()> {
    let Shape { title, what, guest, path, ask } = shape;
    let native = Contestant {
        name: NATIVE.to_owned(),
        pid: bench.native.pid()?,
        url: format!("http://{}{path}", bench.native.told("http1")?),
        ask: ask.clone(),
    };
    let contestants = [
        native,
        own(bench, "host, fresh instance", &format!("{guest}-fresh"), &ask)?,
        own(bench, "host, warm instance", &format!("{guest}-warm"), &ask)?,
    ];
    let measured = compare(&contestants, bench.scale.plan, bench.folder()).await?;
    let [native, fresh, warm] = measured.as_slice() else {
        anyhow::bail!("a contestant is missing")
    };
    for (mode, one, most) in [("fresh", fresh, FRESH), ("warm", warm, WARM)] {
        let more = one.cpu.with(&native.cpu, |one, native| one - native);
        let measured = format!(
            "+{more:.1} µs; {:.0} requests/s beside {:.0}",
            one.rate.median(),
            native.rate.median()
        );
        report.judge(
            format!("{what}: CPU of a {mode} request ≤ native + {most:.0} µs"),
            measured,
            more.median() <= most,
        );
    }
    report.section(Section { title, text, head: HEAD, rows: rows(&measured) });
    Ok(())
}

fn own(bench: &Bench, name: &str, service: &str, ask: &Ask) -> Result<Contestant> {
    Ok(Contestant {
        name: name.to_owned(),
        pid: bench.host.pid()?,
        url: format!("http://{}/", bench.service(service)?),
        ask: ask.clone(),
    })
}

fn rows(measured: &[Measured]) -> Vec<Vec<String>> {
    let Some(first) = measured.first() else { return Vec::new() };
    let row = |one: &Measured| {
        let ratio = one.cpu.with(&first.cpu, |one, first| one / first);
        vec![
            one.name.clone(),
            format!("{:.1}", one.cpu),
            format!("{:.2}×", ratio.median()),
            format!("{:.0}", one.rate),
            format!("{:.0}", one.p50.median()),
            format!("{:.0}", one.p99.median()),
        ]
    };
    measured.iter().map(row).collect()
}

/// The targets beside `wasmtime serve`: what is compared, with which of its modes, at least how
/// many times the requests for the same CPU time.
const BESIDE: [(&str, Theirs, &str, f64); 5] = [
    (OWN_FRESH, Theirs::Default, "own contract, fresh ≥ 3 × `wasmtime serve` as it is", 3.0),
    (
        OWN_FRESH,
        Theirs::Fresh,
        "own contract, fresh ≥ 1.6 × its best settings for fresh instances",
        1.6,
    ),
    (OWN_WARM, Theirs::Reuse, "own contract, warm ≥ 1.2 × its reused instances", 1.2),
    (WASI_FRESH, Theirs::Fresh, "the same wasi:http component, fresh ≥ 0.97 × there", 0.97),
    (WASI_WARM, Theirs::Reuse, "the same wasi:http component, warm ≥ 0.97 × there, reused", 0.97),
];
const OWN_FRESH: &str = "host, own contract, fresh";
const OWN_WARM: &str = "host, own contract, warm";
const WASI_FRESH: &str = "host, wasi:http 0.2, fresh";
const WASI_WARM: &str = "host, wasi:http 0.2, warm";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Theirs {
    Default,
    Fresh,
    Reuse,
}

pub(super) async fn wasmtime(bench: &Bench, report: &mut Report) -> Result<()> {
    let program = match wasmtime::find(bench.install).await {
        Ok(program) => program,
        Err(why) => {
            for (_, _, target, _) in BESIDE {
                report.not_measured(target, &why);
            }
            return Ok(());
        }
    };
    let component = airhost_test_guests::guest("wasi-json");
    let start =
        async |options: &[&str]| Serve::start(&program, &component, options, bench.folder()).await;
    let (best, settings, tried) = best_fresh(bench, &start).await?;
    let reused: Vec<&str> = settings.iter().copied().chain([wasmtime::REUSE]).collect();
    let servers = [start(&[]).await?, start(settings).await?, start(&reused).await?];
    let theirs = [
        ("`wasmtime serve`".to_owned(), Theirs::Default),
        (format!("`wasmtime serve`, {best}"), Theirs::Fresh),
        ("`wasmtime serve`, reused ×128".to_owned(), Theirs::Reuse),
    ];
    let ask = Ask::Post(ORDER);
    let mut contestants = Vec::new();
    for ((name, _), server) in theirs.iter().zip(&servers) {
        contestants.push(contestant(name, server)?);
    }
    for (name, service) in [
        (OWN_FRESH, "echo-fresh"),
        (OWN_WARM, "echo-warm"),
        (WASI_FRESH, "wasi-fresh"),
        (WASI_WARM, "wasi-warm"),
    ] {
        contestants.push(own(bench, name, service, &ask)?);
    }
    let measured = compare(&contestants, bench.scale.plan, bench.folder()).await?;
    for server in servers {
        server.stop().await?;
    }
    let named = |name: &str| {
        measured.iter().find(|one| one.name == name).context("a contestant is missing")
    };
    for (own, mode, target, least) in BESIDE {
        let (theirs, _) = theirs.iter().find(|(_, of)| *of == mode).context("a mode is missing")?;
        let (own, theirs) = (named(own)?, named(theirs)?);
        let times: Series = theirs.cpu.with(&own.cpu, |theirs, own| theirs / own);
        let measured = format!(
            "{times:.2} for the same CPU; {:.0} requests/s beside {:.0}",
            own.rate.median(),
            theirs.rate.median()
        );
        report.judge(target, measured, times.median() >= least);
    }
    let text = format!(
        "{} with a `wasi:http` 0.2 component that does the same, beside this host with the own contract and with \
         that very component. Fresh settings that were tried there, CPU µs a request: {tried}. Best: `{}`.",
        wasmtime::version(&program).await?,
        settings.join(" ")
    );
    report.section(Section {
        title: "Beside `wasmtime serve`",
        text,
        head: HEAD,
        rows: rows(&measured),
    });
    Ok(())
}

fn contestant(name: &str, server: &Serve) -> Result<Contestant> {
    Ok(Contestant {
        name: name.to_owned(),
        pid: server.pid()?,
        url: server.url.clone(),
        ask: Ask::Post(ORDER),
    })
}

/// Tries each of the settings for fresh instances; answers the name and words of those that cost
/// the least CPU time, and what was tried.
async fn best_fresh(
    bench: &Bench,
    start: &impl AsyncFn(&[&str]) -> Result<Serve>,
) -> Result<(&'static str, &'static [&'static str], String)> {
    let (mut contestants, mut servers, mut tried) = (Vec::new(), Vec::new(), Vec::new());
    for (name, words) in wasmtime::FRESH {
        // Some settings are taken, and fail only when an instance is made.
        let answering = async {
            let server = start(words).await?;
            Http::new().good(Method::POST, &server.url, ORDER.as_bytes(), None).await?;
            anyhow::Ok(server)
        };
        match answering.await {
            Ok(server) => {
                contestants.push(contestant(name, &server)?);
                servers.push((name, words, server));
            }
            Err(error) => {
                println!("  wasmtime serve does not take {name}: {error:#}");
                tried.push(format!("{name}: not taken"));
            }
        }
    }
    let plan = Plan { runs: bench.scale.plan.runs.min(3), ..bench.scale.plan };
    let measured = compare(&contestants, plan, bench.folder()).await?;
    tried.extend(measured.iter().map(|one| format!("{}: {:.1}", one.name, one.cpu.median())));
    let cheapest =
        measured.iter().min_by(|one, other| one.cpu.median().total_cmp(&other.cpu.median()));
    let cheapest = cheapest.context("wasmtime serve takes none of the settings")?.name.clone();
    let mut best = None;
    for (name, words, server) in servers {
        server.stop().await?;
        if *name == cheapest {
            best = Some((name, words));
        }
    }
    let (name, words) = best.context("the best settings are lost")?;
    Ok((name, words, tried.join("; ")))
}

/// What all of these tables were made with.
pub(crate) fn load(plan: Plan) -> String {
    format!(
        "`wrk` with one thread and {CONNECTIONS} connections, {} s a run after {} s of warm-up",
        plan.length.as_secs(),
        plan.warm_up.as_secs()
    )
}
