//! Load by `wrk`, and what it costs the server.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use http::Method;
use tokio::{process::Command, time::timeout};

use crate::{client::Http, process::cpu, series::Series};

/// Connections that are kept busy.
pub(crate) const CONNECTIONS: u32 = 16;

/// A server, and what it is asked.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) url: String,
    pub(crate) ask: Ask,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// `POST` of this body.
    Post(&'static str),
    /// `GET` with this token.
    Token(String),
}

/// What a contestant did, run by run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) name: String,
    /// CPU time of the server, microseconds a request.
    pub(crate) cpu: Series,
    /// Requests a second.
    pub(crate) rate: Series,
    /// Microseconds.
    pub(crate) p50: Series,
    /// Microseconds.
    pub(crate) p99: Series,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) runs: usize,
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

impl Contestant {
    /// The one answer that it gives, after making sure that it gives it.
    async fn answer(&self, http: &Http) -> Result<bytes::Bytes> {
        match &self.ask {
            Ask::Post(body) => http.good(Method::POST, &self.url, body.as_bytes(), None).await,
            Ask::Token(token) => {
                http.good(Method::GET, &self.url, b"", Some(&format!("Bearer {token}"))).await
            }
        }
    }

    /// Loads it for a time: requests, microseconds it took, the server's CPU time, percentiles.
    async fn load(&self, script: &Path, length: Duration) -> Result<Shot> {
        let before = cpu(self.pid)?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads=1", &format!("--connections={CONNECTIONS}")]);
        wrk.arg(format!("--duration={}s", length.as_secs().max(1)))
            .arg("--script")
            .arg(script)
            .arg(&self.url);
        wrk.kill_on_drop(true);
        let output = timeout(length + Duration::from_secs(30), wrk.output())
            .await
            .context("wrk does not end")?
            .context("wrk cannot be run: it is Debian's package `wrk`")?;
        let used = cpu(self.pid)?.saturating_sub(before);
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(line) = text.lines().find_map(|line| line.strip_prefix("measured ")) else {
            bail!(
                "wrk ended with {}: {text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let &[requests, micros, failed, p50, p99] = numbers.as_slice() else {
            bail!("wrk's line `{line}` is not understood");
        };
        if failed > 0.0 || requests < 1.0 {
            bail!("{}: {failed} of {requests} requests failed", self.name);
        }
        Ok(Shot { requests, micros, used, p50, p99 })
    }
}

struct Shot {
    requests: f64,
    micros: f64,
    used: Duration,
    p50: f64,
    p99: f64,
}

/// Lets contestants do the same in turns. All must give the same answer.
pub(crate) async fn compare(
    contestants: &[Contestant],
    plan: Plan,
    folder: &Path,
) -> Result<Vec<Measured>> {
    let http = Http::new();
    let mut expected = None;
    let mut scripts: Vec<PathBuf> = Vec::new();
    for (number, contestant) in contestants.iter().enumerate() {
        let answer = contestant.answer(&http).await.with_context(|| contestant.name.clone())?;
        let expected = expected.get_or_insert_with(|| answer.clone());
        if answer != *expected {
            bail!("{} answers {answer:?}, not {expected:?}", contestant.name);
        }
        let path = folder.join(format!("wrk-{number}.lua"));
        fs::write(&path, script(&contestant.ask))?;
        scripts.push(path);
    }
    let mut measured: Vec<Measured> = contestants
        .iter()
        .map(|contestant| Measured { name: contestant.name.clone(), ..Measured::default() })
        .collect();
    for run in 0..plan.runs {
        for ((contestant, script), measured) in contestants.iter().zip(&scripts).zip(&mut measured)
        {
            contestant.load(script, plan.warm_up).await?;
            let shot = contestant.load(script, plan.length).await?;
            measured.cpu.push(shot.used.as_secs_f64() * 1e6 / shot.requests);
            measured.rate.push(shot.requests / (shot.micros / 1e6));
            measured.p50.push(shot.p50);
            measured.p99.push(shot.p99);
            let (name, micros) = (&contestant.name, shot.used.as_secs_f64() * 1e6 / shot.requests);
            println!("  run {} of {}: {name}: {micros:.1} µs CPU a request", run + 1, plan.runs);
        }
    }
    Ok(measured)
}

/// What tells `wrk` the request, and it to tell numbers. Bodies are JSON and tokens are base64:
/// neither has what ends Lua's long brackets.
fn script(ask: &Ask) -> String {
    let request = match ask {
        Ask::Post(body) => format!(
            "wrk.method = \"POST\"\nwrk.body = [==[{body}]==]\nwrk.headers[\"content-type\"] = \"application/json\"\n"
        ),
        Ask::Token(token) => {
            format!("wrk.headers[\"authorization\"] = [==[Bearer {token}]==]\n")
        }
    };
    format!(
        "{request}done = function(summary, latency)\n  \
           local e = summary.errors\n  \
           local failed = e.connect + e.read + e.write + e.status + e.timeout\n  \
           io.write(string.format(\"measured %d %d %d %d %d\\n\", summary.requests, summary.duration, \
           failed, latency:percentile(50), latency:percentile(99)))\n\
         end\n"
    )
}
