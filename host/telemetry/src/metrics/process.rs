use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use super::exposition::{Kind, Page};

/// Clock ticks a second in `/proc/<pid>/stat`: 100 in the kernel's ABI on every architecture the
/// host is built for, whatever its own timer's rate.
const USER_HZ: f64 = 100.0;

static START: OnceLock<f64> = OnceLock::new();

/// Remembers when the process began.
pub(super) fn note_start() {
    START.get_or_init(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    });
}

/// The `process_*` families, with the names of Prometheus' own client libraries. What the system
/// does not tell (another than Linux) is left out.
pub(super) fn render(page: &mut Page) {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    if let Some(start) = START.get() {
        page.family("process_start_time_seconds", Kind::Gauge, "When the process began.");
        page.sample(&[], start);
    }
    if let Some(seconds) = cpu_seconds(&read("stat")) {
        page.family("process_cpu_seconds_total", Kind::Counter, "User and system CPU time.");
        page.sample(&[], seconds);
    }
    let status = read("status");
    if let Some(bytes) = field(&status, "VmRSS:") {
        page.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory.");
        page.sample(&[], bytes * 1024);
    }
    if let Some(threads) = field(&status, "Threads:") {
        page.family("process_threads", Kind::Gauge, "Threads of the operating system.");
        page.sample(&[], threads);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        page.family("process_open_fds", Kind::Gauge, "Open file descriptors.");
        // The listing has one open itself.
        page.sample(&[], entries.count().saturating_sub(1));
    }
    if let Some(most) = field(&read("limits"), "Max open files") {
        page.family("process_max_fds", Kind::Gauge, "The most file descriptors there may be.");
        page.sample(&[], most);
    }
}

/// The first number after a line's name.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15, counted after the command's name, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / USER_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(field("VmPeak:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(field("Max open files            unlimited", "Max open files"), None);
    }
}
