//! One connection: what its socket does, and the patience the host has with it.
//!
//! A timer for each request would cost more than the request. So the socket and the bodies only
//! leave marks, and one timer per connection looks at them now and then.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use super::config::{ListenerConfig, MinRate};

/// Longest time between two looks at a connection.
const LONGEST_TICK: Duration = Duration::from_millis(2500);
/// A connection that was told to close and has nothing to do any more is cut after this.
const LINGER: Duration = Duration::from_secs(2);

/// How every HTTP/2 connection begins, and no HTTP/1 request.
const H2_PREFACE: &[u8] = b"PRI *";

/// The marks that a connection's socket and bodies leave.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Requests whose response is not over.
    in_flight: AtomicUsize,
    /// Bytes came in while there was no request: the beginning of a head.
    head_begun: AtomicBool,
    /// HTTP/2: bytes without a request are frames of the connection, not a slow head.
    http2: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
    /// The socket takes no more.
    write_blocked: AtomicBool,
    /// Request bodies that someone waits for.
    bodies_awaited: AtomicUsize,
    /// Response bodies that were not asked for more since their last piece.
    pieces_untaken: AtomicUsize,
    /// The client was too slow with a body; its reader is told.
    pub(crate) too_slow: AtomicBool,
    pub(crate) body_reader: AtomicWaker,
    draining: AtomicBool,
    cut: AtomicBool,
    driver: AtomicWaker,
}

impl Marks {
    /// Marks the arrival of a request.
    pub(crate) fn request_begins(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_begun.store(false, Relaxed);
    }

    /// Marks the end of a response.
    pub(crate) fn request_ends(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Someone waits for the client to send more of a body, or stops waiting.
    pub(crate) fn body_awaited(&self, waits: bool) {
        count(&self.bodies_awaited, waits);
    }

    /// A piece of a response waits to be taken, or was taken.
    pub(crate) fn piece_untaken(&self, waits: bool) {
        count(&self.pieces_untaken, waits);
    }

    /// Asks for the connection's graceful end.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.driver.wake();
    }

    /// Ends the connection now, whatever it is in. A token that all connections wait for would be
    /// one lock that each of them takes whenever it is polled.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.driver.wake();
    }

    fn idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }
}

fn count(counter: &AtomicUsize, up: bool) {
    if up {
        counter.fetch_add(1, Relaxed)
    } else {
        counter.fetch_sub(1, Relaxed)
    };
}

/// A socket that leaves marks.
#[derive(Debug)]
pub(crate) struct MarkedIo<S> {
    io: S,
    marks: std::sync::Arc<Marks>,
}

impl<S> MarkedIo<S> {
    pub(crate) fn new(io: S, marks: std::sync::Arc<Marks>) -> Self {
        Self { io, marks }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.marks.written.fetch_add(*bytes as u64, Relaxed);
                self.marks.write_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.marks.write_blocked.store(true, Relaxed),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MarkedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            let first = self.marks.read.fetch_add(bytes as u64, Relaxed) == 0;
            if first && buf.filled()[before..].starts_with(H2_PREFACE) {
                self.marks.http2.store(true, Relaxed);
            }
            if self.marks.idle() {
                self.marks.head_begun.store(true, Relaxed);
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MarkedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// How long the host waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    header: Duration,
    idle: Duration,
    rate: MinRate,
    tick: Duration,
}

impl Patience {
    pub(crate) fn new(config: &ListenerConfig) -> Self {
        let shortest = config.header_timeout.min(config.idle_timeout).min(config.min_rate.patience);
        let tick = (shortest / 4).clamp(Duration::from_millis(5), LONGEST_TICK);
        Self {
            header: config.header_timeout,
            idle: config.idle_timeout,
            rate: config.min_rate,
            tick,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, or as it was asked to.
    Closed,
    /// It was cut.
    Cut,
    /// The client did not keep to the rules of HTTP, or the socket failed.
    Failed,
    /// The client was too slow.
    TooSlow,
}

/// A connection of hyper's that can be asked to end.
pub(crate) trait Graceful: Future {
    /// Finishes what is under way and closes.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// What a look at the marks leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Close,
    Cut,
}

/// What was seen at the last looks.
struct Watch {
    patience: Patience,
    read: u64,
    written: u64,
    looked: Instant,
    /// Since when there is neither a request nor a byte.
    quiet_since: Instant,
    /// Since when a head is being read.
    head_since: Option<Instant>,
    reading_slowly: Duration,
    writing_slowly: Duration,
    closing_since: Option<Instant>,
}

impl Watch {
    fn new(patience: Patience) -> Self {
        let now = Instant::now();
        Self {
            patience,
            read: 0,
            written: 0,
            looked: now,
            quiet_since: now,
            head_since: Some(now),
            reading_slowly: Duration::ZERO,
            writing_slowly: Duration::ZERO,
            closing_since: None,
        }
    }

    fn look(&mut self, marks: &Marks) -> Verdict {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        let (read, written) = (marks.read.load(Relaxed), marks.written.load(Relaxed));
        let (came, went) = (read - self.read, written - self.written);
        (self.read, self.written) = (read, written);
        if came + went > 0 || !marks.idle() {
            self.quiet_since = now;
        }
        let taking = marks.write_blocked.load(Relaxed) || marks.pieces_untaken.load(Relaxed) > 0;
        if self.is_slow(taking, went, passed) {
            self.writing_slowly += passed;
        } else {
            self.writing_slowly = Duration::ZERO;
        }
        if self.is_slow(marks.bodies_awaited.load(Relaxed) > 0, came, passed) {
            self.reading_slowly += passed;
        } else {
            self.reading_slowly = Duration::ZERO;
        }
        let patience = self.patience.rate.patience;
        if self.writing_slowly >= patience || self.reading_slowly >= patience * 2 {
            return Verdict::Cut;
        }
        if self.reading_slowly >= patience {
            marks.too_slow.store(true, Relaxed);
            marks.body_reader.wake();
        }
        self.look_at_quiet(marks, now)
    }

    fn look_at_quiet(&mut self, marks: &Marks, now: Instant) -> Verdict {
        if !marks.idle() {
            self.head_since = None;
            return Verdict::Wait;
        }
        if self.closing_since.is_some_and(|since| now.duration_since(since) >= LINGER) {
            return Verdict::Cut;
        }
        let heads =
            !marks.http2.load(Relaxed) && (marks.head_begun.load(Relaxed) || self.read == 0);
        if heads {
            let since = *self.head_since.get_or_insert(now);
            if now.duration_since(since) >= self.patience.header {
                return Verdict::Cut;
            }
        } else {
            self.head_since = None;
        }
        if now.duration_since(self.quiet_since) >= self.patience.idle {
            return Verdict::Close;
        }
        Verdict::Wait
    }

    fn is_slow(&self, waits: bool, bytes: u64, passed: Duration) -> bool {
        waits && (bytes as f64) < self.patience.rate.bytes_per_second as f64 * passed.as_secs_f64()
    }
}

/// Runs a connection to its end.
pub(crate) async fn drive<C, E>(connection: C, marks: &Marks, patience: Patience) -> Ending
where
    C: Graceful<Output = Result<(), E>>,
{
    let mut connection = pin!(connection);
    let mut watch = Watch::new(patience);
    let mut timer = pin!(sleep_until(watch.looked + patience.tick));
    let mut registered: Option<Waker> = None;
    poll_fn(|cx| {
        if registered.is_none() {
            marks.driver.register(cx.waker());
            registered = Some(cx.waker().clone());
        }
        if marks.draining.load(Relaxed) && watch.closing_since.is_none() {
            // Being woken used the waker up, and there may be one more reason to be.
            marks.driver.register(cx.waker());
            watch.closing_since = Some(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
        if marks.cut.load(Relaxed) {
            return Poll::Ready(Ending::Cut);
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(if result.is_ok() { Ending::Closed } else { Ending::Failed });
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            marks.driver.register(cx.waker());
            match watch.look(marks) {
                Verdict::Close if watch.closing_since.is_none() => {
                    watch.closing_since = Some(watch.looked);
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Wait | Verdict::Close => {}
                Verdict::Cut if watch.closing_since.is_some() => {
                    return Poll::Ready(Ending::Closed);
                }
                Verdict::Cut => return Poll::Ready(Ending::TooSlow),
            }
            timer.as_mut().reset(watch.looked + patience.tick);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        let config = ListenerConfig::new("a".parse().unwrap(), ([127, 0, 0, 1], 0).into());
        Patience::new(&config)
    }

    async fn pass(watch: &mut Watch, marks: &Marks, seconds: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            verdicts.push(watch.look(marks));
        }
        verdicts
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_however_it_drips() {
        let marks = Marks::default();
        let mut watch = Watch::new(patience());
        for second in 1..=10 {
            marks.read.fetch_add(1, Relaxed);
            marks.head_begun.store(true, Relaxed);
            let expected = if second < 10 { Verdict::Wait } else { Verdict::Cut };
            assert_eq!(pass(&mut watch, &marks, 1).await, [expected], "{second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_may_rest_75_seconds() {
        let marks = Marks::default();
        let mut watch = Watch::new(patience());
        marks.read.fetch_add(100, Relaxed);
        marks.request_begins();
        assert_eq!(pass(&mut watch, &marks, 300).await, [Verdict::Wait; 300]);
        marks.request_ends();
        let verdicts = pass(&mut watch, &marks, 75).await;
        assert_eq!(verdicts[..74], [Verdict::Wait; 74]);
        assert_eq!(verdicts[74], Verdict::Close);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_sender_is_told_and_then_cut() {
        let marks = Marks::default();
        let mut watch = Watch::new(patience());
        marks.request_begins();
        marks.body_awaited(true);
        assert_eq!(pass(&mut watch, &marks, 4).await, [Verdict::Wait; 4]);
        assert!(!marks.too_slow.load(Relaxed));
        assert_eq!(pass(&mut watch, &marks, 5).await, [Verdict::Wait; 5]);
        assert!(marks.too_slow.load(Relaxed));
        assert_eq!(pass(&mut watch, &marks, 1).await, [Verdict::Cut]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_the_rate_or_is_not_waited_for_is_left_alone() {
        let marks = Marks::default();
        let mut watch = Watch::new(patience());
        marks.request_begins();
        marks.body_awaited(true);
        marks.piece_untaken(true);
        for _ in 0..60 {
            marks.read.fetch_add(240, Relaxed);
            marks.written.fetch_add(240, Relaxed);
            assert_eq!(pass(&mut watch, &marks, 1).await, [Verdict::Wait]);
        }
        marks.body_awaited(false);
        marks.piece_untaken(false);
        assert_eq!(pass(&mut watch, &marks, 60).await, [Verdict::Wait; 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_taker_is_cut() {
        let marks = Marks::default();
        let mut watch = Watch::new(patience());
        marks.request_begins();
        marks.piece_untaken(true);
        assert_eq!(pass(&mut watch, &marks, 5).await[4], Verdict::Cut);
    }
}
