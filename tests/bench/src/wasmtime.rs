//! `wasmtime serve`, the host that others use: found or installed, started with its settings.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::process::free_ports;

/// The version that is compared with: the engine that the host has.
pub(crate) const VERSION: &str = "48.0.8";
/// Longest wait until it listens: it compiles the component first.
const START: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Settings under which fresh instances might be cheapest. Which is best depends on the machine, so
/// each is tried; one that this build does not know is left out.
pub(crate) const FRESH: [(&str, &[&str]); 4] = [
    ("pooling", &["-Opooling-allocator=y"]),
    ("pooling, kept pages", &["-Opooling-allocator=y", KEEP_MEMORY, KEEP_TABLES]),
    (
        "pooling, kept pages, pagemap_scan",
        &["-Opooling-allocator=y", KEEP_MEMORY, KEEP_TABLES, SCAN, BATCH],
    ),
    (
        "pooling, kept pages, pagemap_scan, no concurrency",
        &[
            "-Opooling-allocator=y",
            KEEP_MEMORY,
            KEEP_TABLES,
            SCAN,
            BATCH,
            "-Wconcurrency-support=n",
            "-Sp3=n",
        ],
    ),
];
const KEEP_MEMORY: &str = "-Opooling-memory-keep-resident=262144";
const KEEP_TABLES: &str = "-Opooling-table-keep-resident=65536";
const SCAN: &str = "-Opooling-pagemap-scan=auto";
const BATCH: &str = "-Opooling-decommit-batch-size=16";

/// Instances that serve many requests one after the other, on top of the best settings.
pub(crate) const REUSE: &str = "--max-instance-reuse-count=128";

/// A `wasmtime serve` that listens.
#[derive(Debug)]
pub(crate) struct Serve {
    child: Child,
    pub(crate) url: String,
}

impl Serve {
    /// Serves a component with further options.
    ///
    /// # Errors
    /// With what it printed, if it does not take the options.
    pub(crate) async fn start(
        wasmtime: &Path,
        component: &Path,
        options: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let port = free_ports(1)?.pop().context("there is no free port")?;
        let address = format!("127.0.0.1:{port}");
        let log = folder.join(format!("wasmtime-{port}.log"));
        let mut command = Command::new(wasmtime);
        command.arg("serve").args(["--addr", &address, "-Scli"]).args(options).arg(component);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true);
        let mut child = command.spawn().context("wasmtime cannot be started")?;
        let begin = Instant::now();
        while TcpStream::connect(&address).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("wasmtime serve ended with {status}: {}", fs::read_to_string(&log)?.trim());
            }
            if begin.elapsed() > START {
                bail!("wasmtime serve does not listen after {} s", START.as_secs());
            }
            sleep(POLL).await;
        }
        Ok(Self { child, url: format!("http://{address}/") })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("wasmtime has ended")
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("wasmtime cannot be ended")
    }
}

/// The program, or why there is none. It is installed beside the other build output if it may be.
pub(crate) async fn find(install: bool) -> Result<PathBuf, String> {
    let program = PathBuf::from("wasmtime");
    let wanted = |found: &str| found.starts_with("wasmtime 48.");
    let found = version(&program).await;
    if let Ok(found) = &found
        && wanted(found)
    {
        return Ok(program);
    }
    let why = found.map_or_else(
        |_| "there is no `wasmtime` on the path".to_owned(),
        |found| format!("`{found}` is on the path"),
    );
    let root = tools().map_err(|error| format!("{why}; {error:#}"))?;
    let installed = root.join("bin/wasmtime");
    if version(&installed).await.is_ok_and(|found| wanted(&found)) {
        return Ok(installed);
    }
    let words = ["install", "wasmtime-cli", "--version", VERSION, "--locked", "--root"];
    if !install {
        return Err(format!(
            "{why}: `cargo install wasmtime-cli --version {VERSION} --locked` makes it"
        ));
    }
    println!("installing wasmtime-cli {VERSION}: some 15 minutes on two cores");
    let begin = Instant::now();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).arg(&root).env("CARGO_TARGET_DIR", root.join("build"));
    let status =
        command.status().await.map_err(|error| format!("{why}; cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!(
            "{why}, and `cargo install wasmtime-cli --version {VERSION}` ended with {status}"
        ));
    }
    println!("installed wasmtime in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(installed)
}

/// What it says of its version.
pub(crate) async fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Beside the profile's folder that this program is in.
fn tools() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("this program is not in a target folder")?;
    Ok(target.join("bench-tools"))
}
