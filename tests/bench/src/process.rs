//! Servers in processes of their own, and what the kernel says of them.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

/// Longest wait until a server serves: components may be compiled first.
const START: Duration = Duration::from_secs(300);
/// Longest wait until it has ended.
const STOP: Duration = Duration::from_secs(40);
/// A tick of `/proc/<pid>/stat`: 100 a second on every platform that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// What a server says once it serves: values by name.
pub(crate) type Ready = BTreeMap<String, String>;

/// A server that this program runs as. It ends when its standard input does, so that none outlives
/// whoever started it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    ready: Ready,
    started_in: Duration,
}

impl Server {
    /// Starts this program with `serve` and these words; waits until it serves.
    pub(crate) async fn start(words: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        Self::spawn(Command::new(program), words).await
    }

    /// The same, with less weight than other processes where they want the same processor: a tenth
    /// at niceness 10, a seventieth at 19 (`sched(7)`).
    pub(crate) async fn start_behind(niceness: u8, words: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        let mut command = Command::new("nice");
        command.args(["-n", &niceness.to_string()]).arg(program);
        Self::spawn(command, words).await
    }

    async fn spawn(mut command: Command, words: &[&str]) -> Result<Self> {
        let begin = Instant::now();
        command.arg("serve").args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("a server cannot be started")?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut output = BufReader::new(output).lines();
        let line =
            timeout(START, output.next_line()).await.context("the server does not get ready")??;
        let started_in = begin.elapsed();
        let Some(line) = line else {
            bail!("the server `{}` ended before it served", words.join(" "))
        };
        let ready =
            serde_json::from_str(&line).context("the server's first line is not understood")?;
        Ok(Self { child, output, ready, started_in })
    }

    /// What it has said.
    pub(crate) fn told(&self, name: &str) -> Result<&str> {
        self.ready
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("the server does not say its `{name}`"))
    }

    /// From before it was started until it said that it serves.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Ends it in order, and answers its last words, of one that has some.
    pub(crate) async fn last_words(mut self) -> Result<Ready> {
        drop(self.child.stdin.take());
        let line =
            timeout(STOP, self.output.next_line()).await.context("the server is silent")??;
        let words = serde_json::from_str(&line.context("the server ended without a word")?);
        self.stop().await?;
        words.context("the server's last line is not understood")
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let ended = timeout(STOP, self.child.wait()).await.context("the server does not end")??;
        if !ended.success() {
            bail!("the server ended with {ended}");
        }
        Ok(())
    }
}

/// CPU time of a process with all its threads, those that have ended too.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is a name in parentheses that may have blanks; user and system time are the
    // 14th and 15th.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => bail!("{path} is not understood"),
    }
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).with_context(|| format!("{path} does not say VmRSS"))
}

/// So many ports of this machine that nobody listens on.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are held until all are known, or one would be given twice.
    let held: Vec<std::net::TcpListener> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(held
        .iter()
        .map(|socket| socket.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_looked_at() {
        let own = std::process::id();
        assert!(resident(own).unwrap() > 1 << 20);
        let before = cpu(own).unwrap();
        let mut sum = 0_u64;
        while cpu(own).unwrap() < before + 3 * TICK {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu(u32::MAX).is_err());
    }

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(20).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
