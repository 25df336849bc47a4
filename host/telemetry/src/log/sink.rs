use std::{
    fmt,
    io::{BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::Thread,
    time::Duration,
};

use super::{Format, human};
use crate::metrics::Metrics;

/// How often what was dropped is told in the log itself.
const TELL_DROPPED: Duration = Duration::from_secs(1);

/// How long lines gather before they are written. A thread that woke for each line would cost the
/// sender a system call a line, which is more than making the line.
const GATHER: Duration = Duration::from_millis(5);

/// A thread that writes lines. Its queue is bounded by bytes: a line counts as what it holds and
/// the queue's own cost, so that many small lines are bounded too.
pub(super) struct Sink {
    sender: Sender<Message>,
    queued: Arc<AtomicUsize>,
    asleep: Arc<AtomicBool>,
    limit: usize,
    metrics: Arc<Metrics>,
    /// The thread, to wake it early; none if it could not be started.
    thread: Option<Thread>,
}

enum Message {
    Line(Arc<str>),
    Flush(Sender<()>),
}

impl Sink {
    pub(super) fn start(
        format: Format,
        limit: usize,
        sink: impl Write + Send + 'static,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, receiver) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let asleep = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            out: BufWriter::with_capacity(64 << 10, sink),
            format,
            queued: Arc::clone(&queued),
            asleep: Arc::clone(&asleep),
            metrics: Arc::clone(&metrics),
            told: metrics.log_lines_dropped.get(),
        };
        let spawned = std::thread::Builder::new()
            .name("log-sink".to_owned())
            .spawn(move || writer.run(&receiver));
        // Without a thread the receiver is gone with the closure, and every line counts as dropped.
        let thread = spawned.ok().map(|handle| handle.thread().clone());
        Self { sender, queued, asleep, limit, metrics, thread }
    }

    /// Hands a line to the thread, unless it is too far behind.
    pub(super) fn write(&self, line: Arc<str>) -> bool {
        let cost = cost(&line);
        let before = self.queued.fetch_add(cost, Ordering::Relaxed);
        let after = before + cost;
        if after <= self.limit && self.sender.send(Message::Line(line)).is_ok() {
            let half = self.limit / 2;
            // Either this sees that the thread sleeps, or the thread sees the line (`next`).
            fence(Ordering::SeqCst);
            let sleeps =
                self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed);
            if sleeps || (before < half && half <= after) {
                self.wake();
            }
            return true;
        }
        self.queued.fetch_sub(cost, Ordering::Relaxed);
        self.metrics.log_lines_dropped.add(1);
        false
    }

    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let (done, wait) = channel();
        let sent = self.sender.send(Message::Flush(done)).is_ok();
        self.wake();
        sent && wait.recv_timeout(timeout).is_ok()
    }

    /// Ends the sleep, or the gathering.
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Whatever comes last wakes the thread, which then finds that nobody sends any more; where
        // it is too early for that, its next look is not far.
        self.wake();
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("queued", &self.queued).finish_non_exhaustive()
    }
}

fn cost(line: &str) -> usize {
    line.len() + 64
}

struct Writer<W: Write> {
    out: BufWriter<W>,
    format: Format,
    queued: Arc<AtomicUsize>,
    /// Whether the thread waits for a line. A channel that is waited on takes a lock for each
    /// message, and whoever has it may wait for a processor itself.
    asleep: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    /// Dropped lines that the log has told of.
    told: u64,
}

impl<W: Write> Writer<W> {
    /// Ends when the log is dropped and everything is written.
    fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            match self.next(receiver) {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
            std::thread::park_timeout(GATHER);
            // What has come meanwhile goes out with the same write.
            while let Ok(message) = receiver.try_recv() {
                self.take(message);
            }
            self.tell_dropped();
            self.finish();
        }
        self.tell_dropped();
        self.finish();
    }

    /// Waits for a message, or until it is time to tell of dropped lines.
    fn next(&self, receiver: &Receiver<Message>) -> Result<Message, TryRecvError> {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut next = receiver.try_recv();
        if matches!(next, Err(TryRecvError::Empty)) {
            std::thread::park_timeout(TELL_DROPPED);
            next = receiver.try_recv();
        }
        self.asleep.store(false, Ordering::Relaxed);
        next
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                self.put(&line);
                self.queued.fetch_sub(cost(&line), Ordering::Relaxed);
            }
            Message::Flush(done) => {
                self.finish();
                // Whoever waited may have given up.
                let _received = done.send(());
            }
        }
    }

    fn put(&mut self, line: &str) {
        let written = match self.format {
            Format::Json => {
                self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"))
            }
            Format::Human { color } => {
                let text = human::render(line, color);
                self.out.write_all(text.as_bytes()).and_then(|()| self.out.write_all(b"\n"))
            }
        };
        if written.is_err() {
            self.metrics.log_lines_dropped.add(1);
        }
    }

    fn finish(&mut self) {
        if self.out.flush().is_err() {
            self.metrics.log_lines_dropped.add(1);
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.metrics.log_lines_dropped.get();
        let new = dropped - self.told;
        if new > 0 {
            self.told = dropped;
            super::Line::with(|line| {
                line.begin(super::Level::Warn, super::HOST);
                line.text("message", "log lines were dropped: the sink is too slow");
                line.raw("fields", &format!("{{\"count\":{new}}}"));
                let text = line.end().to_owned();
                self.put(&text);
            });
        }
    }
}
