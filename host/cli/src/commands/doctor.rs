//! Checks what usually goes wrong before it does.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use airhost_control::{Access, Client, ClientError, api::NodeStatus};
use airhost_node::config::Config;
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::{Global, output, output::paint_answer};

#[derive(Args)]
pub(crate) struct Options {
    /// The configuration file; `airhost.toml` in this folder if it is there.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// What became of one check.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// Works, but slower or with less.
    Notice,
    Bad,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What was seen, and what to do if it is not good.
    detail: String,
}

pub(crate) async fn run(global: &Global, options: &Options) -> Result<()> {
    let mut findings = vec![kernel(), swap(), open_files(), address_space()];
    match super::config::load_for(global, options.config.as_deref()) {
        Err(error) => findings.push(finding("configuration", Verdict::Bad, format!("{error:#}"))),
        Ok(config) => {
            findings.push(finding("configuration", Verdict::Good, "valid".to_owned()));
            findings.push(routes(&config));
            findings.push(state(&config.node.state));
            findings.extend(node(&config).await);
        }
    }
    findings.push(guest_target());
    if global.json {
        output::json(&findings)?;
    } else {
        for finding in &findings {
            let word = match finding.verdict {
                Verdict::Good => paint_answer("good  ", 32),
                Verdict::Notice => paint_answer("notice", 33),
                Verdict::Bad => paint_answer("bad   ", 31),
            };
            output::line(&format!("{word} {:15} {}", finding.check, finding.detail));
        }
    }
    let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    match bad {
        0 => {}
        1 => bail!("1 check found something to repair"),
        _ => bail!("{bad} checks found something to repair"),
    }
    Ok(())
}

fn finding(check: &'static str, verdict: Verdict, detail: String) -> Finding {
    Finding { check, verdict, detail }
}

/// Fresh instances are cheap with `PAGEMAP_SCAN`, which came with Linux 6.7.
fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let release = release.trim();
    if version >= (6, 7) {
        return finding("kernel", Verdict::Good, format!("Linux {release}"));
    }
    finding(
        "kernel",
        Verdict::Notice,
        format!(
            "Linux {release}: fresh instances cost three times as much before 6.7; `auto` uses warm ones"
        ),
    )
}

/// A dirty page that was swapped out would not be reset.
fn swap() -> Finding {
    let areas =
        fs::read_to_string("/proc/swaps").unwrap_or_default().lines().count().saturating_sub(1);
    if areas == 0 {
        return finding("swap", Verdict::Good, "off".to_owned());
    }
    finding(
        "swap",
        Verdict::Notice,
        "on: `auto` uses warm instances, because swapped pages cannot be reset quickly; `swapoff -a` allows fresh ones".to_owned(),
    )
}

fn open_files() -> Finding {
    let limit = limit("Max open files").unwrap_or(u64::MAX);
    if limit >= 4096 {
        return finding("open files", Verdict::Good, format!("up to {limit}"));
    }
    finding(
        "open files",
        Verdict::Notice,
        format!("only {limit}: `ulimit -n 65536` allows more connections"),
    )
}

/// Each instance reserves 4 GiB of address space.
fn address_space() -> Finding {
    match limit("Max address space") {
        None => finding("address space", Verdict::Good, "unlimited".to_owned()),
        Some(bytes) => finding(
            "address space",
            Verdict::Bad,
            format!(
                "limited to {} GiB: instances reserve 4 GiB each; `ulimit -v unlimited`",
                bytes >> 30
            ),
        ),
    }
}

fn limit(name: &str) -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

fn state(folder: &Path) -> Finding {
    let shown = folder.display();
    if !folder.exists() {
        return finding("state", Verdict::Good, format!("{shown} will be made at the first start"));
    }
    let probe = folder.join(".doctor");
    match fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) => finding("state", Verdict::Good, format!("{shown} can be written")),
        Err(error) => finding("state", Verdict::Bad, format!("{shown} cannot be written: {error}")),
    }
}

/// What the node would route by, which it reads again at every change.
fn routes(config: &Config) -> Finding {
    match airhost_node::check_routes(config) {
        Ok(number) => finding("routes", Verdict::Good, format!("{number} are valid")),
        Err(error) => finding("routes", Verdict::Bad, error.message),
    }
}

/// The node that runs, or whether one could.
async fn node(config: &Config) -> Vec<Finding> {
    let status = match Access::read(&config.node.state) {
        Ok(access) => Client::new(access).get::<NodeStatus>("/v1/status").await,
        Err(error) => Err(error),
    };
    match status {
        Ok(status) => {
            let mut findings = vec![finding(
                "node",
                Verdict::Good,
                format!("{} runs, version {}", status.node, status.version),
            )];
            for service in status.services.iter().filter(|service| !service.ready) {
                let reason = service.reason.as_deref().unwrap_or("it does not say why");
                findings.push(finding(
                    "service",
                    Verdict::Bad,
                    format!("{} is not ready: {reason}", service.name),
                ));
            }
            findings
        }
        Err(error) => {
            let none =
                matches!(error, ClientError::NotRunning(_) | ClientError::Unreachable { .. });
            if !none {
                let error = anyhow::Error::from(error);
                return vec![finding("node", Verdict::Bad, format!("{error:#}"))];
            }
            let listeners = &config.listeners;
            let ports = [listeners.gateway, listeners.admin, listeners.observability];
            let mut findings = vec![finding(
                "node",
                Verdict::Notice,
                "none runs with this state folder".to_owned(),
            )];
            findings.extend(ports.into_iter().filter_map(taken));
            findings
        }
    }
}

fn taken(address: SocketAddr) -> Option<Finding> {
    let error = TcpListener::bind(address).err()?;
    Some(finding(
        "port",
        Verdict::Bad,
        format!(
            "{address} cannot be had ({error}): stop what uses it, or choose another in airhost.toml"
        ),
    ))
}

/// What building services in Rust needs.
fn guest_target() -> Finding {
    let missing = "the target for components is missing: `rustup target add wasm32-wasip2`";
    let (verdict, detail) = match builds_components() {
        Some(true) => (Verdict::Good, "components can be built"),
        Some(false) => (Verdict::Notice, missing),
        None => (Verdict::Notice, "rustc is not there: services in Rust cannot be built here"),
    };
    finding("rust", verdict, detail.to_owned())
}

/// Whether Rust can build components here; none without Rust.
pub(crate) fn builds_components() -> Option<bool> {
    let rustc = std::process::Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&rustc.stdout).trim());
    Some(sysroot.join("lib/rustlib/wasm32-wasip2").is_dir())
}
