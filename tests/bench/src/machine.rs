//! What the numbers were measured on.

use std::{fs, process::Command};

/// Facts by name, in the order they are shown in.
pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = first("/proc/meminfo", "MemTotal:")
        .and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
    let swaps = fs::read_to_string("/proc/swaps").map_or(0, |text| text.lines().skip(1).count());
    let profile = if cfg!(debug_assertions) { "debug: numbers say nothing" } else { "release" };
    vec![
        ("processor", first("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned())),
        ("cores", cores.to_string()),
        (
            "memory",
            memory.map_or_else(
                || "unknown".to_owned(),
                |kib| format!("{:.1} GiB", kib as f64 / f64::from(1 << 20)),
            ),
        ),
        ("swap", if swaps == 0 { "off" } else { "on" }.to_owned()),
        ("kernel", said("uname", &["-sr"])),
        ("load before the first run", load()),
        ("rustc", said("rustc", &["--version"])),
        ("wasmtime in the host", crate::wasmtime::VERSION.to_owned()),
        ("wrk", wrk()),
        ("revision", said("git", &["rev-parse", "--short=12", "HEAD"])),
        ("date", said("date", &["-u", "+%Y-%m-%d"])),
        ("build", profile.to_owned()),
    ]
}

/// The load averages of 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

fn first(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches(|c: char| c.is_whitespace() || c == ':').to_owned())
}

/// The first line that a program prints.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().filter(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}

/// `wrk -v` prints its version in its first line, before the usage.
fn wrk() -> String {
    let line = said("wrk", &["-v"]);
    line.split(" Copyright").next().unwrap_or(&line).to_owned()
}
