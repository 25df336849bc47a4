use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::Wake,
};

use airhost_core::Body;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;

type Item = Result<Frame<Bytes>, BodyError>;

/// A body that is written while it is read, and counts how often it was asked for more.
struct Written {
    frames: mpsc::UnboundedReceiver<Item>,
    asked: Arc<AtomicUsize>,
    hint: SizeHint,
    over: bool,
}

impl HttpBody for Written {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        assert!(!self.over, "polled after its end");
        self.asked.fetch_add(1, SeqCst);
        let polled = self.frames.poll_recv(cx);
        self.over = matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

struct Writer {
    frames: Option<mpsc::UnboundedSender<Item>>,
    asked: Arc<AtomicUsize>,
}

impl Writer {
    fn data(&self, data: impl Into<Bytes>) {
        self.frames.as_ref().unwrap().send(Ok(Frame::data(data.into()))).ok();
    }

    fn trailers(&self) {
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", "0".parse().unwrap());
        self.frames.as_ref().unwrap().send(Ok(Frame::trailers(fields))).ok();
    }

    fn break_off(&self) {
        let error = BodyError::Truncated("gone".into());
        self.frames.as_ref().unwrap().send(Err(error)).ok();
    }

    fn end(&mut self) {
        self.frames = None;
    }
}

fn written_with(hint: SizeHint) -> (Writer, Body) {
    let (sender, frames) = mpsc::unbounded_channel();
    let asked = Arc::new(AtomicUsize::new(0));
    let body = Written { frames, asked: Arc::clone(&asked), hint, over: false };
    (Writer { frames: Some(sender), asked }, Body::stream(body))
}

fn written() -> (Writer, Body) {
    written_with(SizeHint::default())
}

async fn next(body: &mut Body) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}

/// All that is left: data, and whether there were trailers.
async fn rest(mut body: Body) -> Result<(Vec<u8>, bool), BodyError> {
    let (mut all, mut trailers) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        trailers |= frame.is_trailers();
        if let Some(data) = frame.data_ref() {
            assert!(!trailers, "data after trailers");
            all.extend_from_slice(data);
        }
    }
    Ok((all, trailers))
}

async fn text(body: Body) -> String {
    let (data, trailers) = rest(body).await.unwrap();
    format!("{}{}", String::from_utf8(data).unwrap(), if trailers { "+" } else { "" })
}

#[tokio::test]
async fn what_is_in_memory_can_be_sent_as_often_as_one_likes() {
    let mut empty = Replay::new(Body::Empty, 0);
    let mut bytes = Replay::new(Body::from("abc"), 3);
    for _ in 0..3 {
        assert!(matches!(empty.body(), Some(Body::Empty)));
        assert_eq!(text(bytes.body().unwrap()).await, "abc");
    }
    assert!(empty.is_repeatable() && bytes.is_repeatable());
}

#[tokio::test]
async fn what_is_too_large_from_the_start_is_moved_as_it_is() {
    let mut bytes = Replay::new(Body::from("abcd"), 3);
    assert!(bytes.is_repeatable(), "nothing was sent yet");
    assert!(matches!(bytes.body(), Some(Body::Bytes(bytes)) if bytes == "abcd"));
    assert!(!bytes.is_repeatable());
    assert!(bytes.body().is_none());
    let (mut writer, body) = written_with(SizeHint::with_exact(4));
    let mut stream = Replay::new(body, 3);
    writer.data("abcd");
    writer.end();
    assert_eq!(text(stream.body().unwrap()).await, "abcd");
    assert!(stream.body().is_none());
}

#[tokio::test]
async fn a_second_try_gets_the_same_from_the_start() {
    let (mut writer, body) = written();
    let mut replay = Replay::new(body, 100);
    let first = replay.body().unwrap();
    writer.data("hello ");
    writer.data("world");
    writer.trailers();
    writer.end();
    assert_eq!(text(first).await, "hello world+");
    for _ in 0..3 {
        assert!(replay.is_repeatable());
        assert_eq!(text(replay.body().unwrap()).await, "hello world+");
    }
}

#[tokio::test]
async fn a_try_that_is_dropped_in_the_middle_is_begun_again_while_the_rest_still_comes() {
    let (mut writer, body) = written();
    let mut replay = Replay::new(body, 100);
    let mut first = replay.body().unwrap();
    writer.data("a");
    assert_eq!(next(&mut first).await, "a");
    writer.data("b");
    drop(first);
    let mut second = replay.body().unwrap();
    assert_eq!(next(&mut second).await, "a");
    drop(second);
    let mut third = replay.body().unwrap();
    assert_eq!(next(&mut third).await, "a");
    assert_eq!(next(&mut third).await, "b");
    writer.data("c");
    assert_eq!(next(&mut third).await, "c");
    drop(third);
    let fourth = replay.body().unwrap();
    writer.data("d");
    writer.trailers();
    writer.end();
    assert_eq!(text(fourth).await, "abcd+");
    assert_eq!(text(replay.body().unwrap()).await, "abcd+");
}

#[tokio::test]
async fn nothing_is_read_that_was_not_asked_for() {
    let (writer, body) = written();
    let mut replay = Replay::new(body, 100);
    for part in ["a", "b", "c"] {
        writer.data(part);
    }
    let mut first = replay.body().unwrap();
    assert_eq!(writer.asked.load(SeqCst), 0);
    next(&mut first).await;
    assert_eq!(writer.asked.load(SeqCst), 1);
    drop(first);
    let mut second = replay.body().unwrap();
    next(&mut second).await;
    assert_eq!(writer.asked.load(SeqCst), 1, "what is kept is not asked for again");
    next(&mut second).await;
    assert_eq!(writer.asked.load(SeqCst), 2);
}

#[tokio::test]
async fn beyond_the_limit_a_try_goes_on_and_is_the_last() {
    for (parts, repeatable) in
        [(&["1234", "5678"][..], true), (&["1234", "5678", "9"], false), (&["123456789"], false)]
    {
        let (mut writer, body) = written();
        let mut replay = Replay::new(body, 8);
        let first = replay.body().unwrap();
        for part in parts {
            writer.data(*part);
        }
        writer.trailers();
        writer.end();
        assert_eq!(text(first).await, format!("{}+", parts.concat()));
        assert_eq!(replay.is_repeatable(), repeatable, "{parts:?}");
        assert_eq!(replay.body().is_some(), repeatable);
    }
}

#[tokio::test]
async fn a_second_try_may_be_the_one_that_goes_beyond_the_limit() {
    let (mut writer, body) = written();
    let mut replay = Replay::new(body, 8);
    let mut first = replay.body().unwrap();
    writer.data("1234");
    next(&mut first).await;
    drop(first);
    let second = replay.body().unwrap();
    writer.data("5678");
    writer.data("90");
    writer.end();
    assert_eq!(text(second).await, "1234567890");
    assert!(replay.body().is_none());
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_sent_again() {
    let (writer, body) = written();
    let mut replay = Replay::new(body, 8);
    let first = replay.body().unwrap();
    writer.data("1");
    writer.break_off();
    assert!(matches!(rest(first).await, Err(BodyError::Truncated(_))));
    assert!(!replay.is_repeatable());
    assert!(replay.body().is_none());
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn the_next_try_takes_over_from_one_that_still_waits() {
    let (mut writer, body) = written();
    let mut replay = Replay::new(body, 100);
    let mut first = replay.body().unwrap();
    writer.data("a");
    next(&mut first).await;
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut first).poll_frame(&mut cx).is_pending());
    let second = replay.body().unwrap();
    assert_eq!(woken.0.load(SeqCst), 1, "it is told");
    let polled = Pin::new(&mut first).poll_frame(&mut cx);
    assert!(matches!(polled, Poll::Ready(Some(Err(BodyError::Cancelled)))), "{polled:?}");
    assert!(!first.is_end_stream());
    writer.data("b");
    writer.end();
    assert_eq!(text(second).await, "ab");
    drop(first);
    assert_eq!(text(replay.body().unwrap()).await, "ab");
}

#[tokio::test]
async fn sizes_and_ends_are_told_as_they_are() {
    let (mut writer, body) = written_with(SizeHint::with_exact(0));
    let mut replay = Replay::new(body, 10_000);
    let mut first = replay.body().unwrap();
    assert!(!first.is_end_stream());
    writer.data("ab");
    writer.data(vec![b'c'; SMALL]);
    next(&mut first).await;
    next(&mut first).await;
    writer.trailers();
    writer.end();
    assert_eq!(rest(first).await.unwrap(), (Vec::new(), true));
    let mut second = replay.body().unwrap();
    let size = |body: &Body| body.size_hint().exact();
    assert_eq!((size(&second), second.is_end_stream()), (Some(2 + SMALL as u64), false));
    next(&mut second).await;
    assert_eq!(size(&second), Some(SMALL as u64));
    next(&mut second).await;
    assert_eq!((size(&second), second.is_end_stream()), (Some(0), false), "trailers follow");
    assert!(second.frame().await.unwrap().unwrap().is_trailers());
    assert!(second.is_end_stream());
    assert!(second.frame().await.is_none());
    // Who asks an old one is told nothing wrong.
    let old = replay.body().unwrap();
    let _new = replay.body().unwrap();
    assert_eq!(size(&old), None);
}

#[tokio::test]
async fn nothing_is_kept_for_tries_that_will_not_come() {
    let (mut writer, body) = written();
    let mut replay = Replay::new(body, 100);
    let mut first = replay.body().unwrap();
    writer.data("a");
    next(&mut first).await;
    let second = replay.body().unwrap();
    let Source::Stream(state) = &replay.source else { panic!("a stream") };
    let state = Arc::clone(state);
    drop(replay);
    writer.data("b");
    writer.end();
    assert_eq!(text(second).await, "ab", "what it has not read yet is kept for it");
    assert!(state.lock().kept.is_none());
}

#[tokio::test]
async fn small_pieces_do_not_keep_large_buffers() {
    let (mut writer, body) = written();
    let mut replay = Replay::new(body, Replay::LIMIT);
    let first = replay.body().unwrap();
    for nth in 0..1_000_u32 {
        // A byte of a buffer of its own.
        writer.data(Bytes::from(vec![nth as u8; 4_096]).split_to(1));
    }
    writer.end();
    let (sent, _) = rest(first).await.unwrap();
    let mut second = replay.body().unwrap();
    assert_eq!(next(&mut second).await, sent, "in one piece");
}

/// What a test does with a body.
#[derive(Clone, Debug)]
enum Deed {
    Write(usize),
    Trailers,
    End,
    Read,
    TryAgain,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..3_000_usize).prop_map(Deed::Write),
        1 => Just(Deed::Trailers),
        1 => Just(Deed::End),
        8 => Just(Deed::Read),
        3 => Just(Deed::TryAgain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written, read and tried again in whatever order: each try reads a beginning of
    /// what was written, and one can be had if and only if no more than the limit was read.
    #[test]
    fn every_try_reads_what_was_written(
        limit in 0..8_000_usize,
        deeds in proptest::collection::vec(deed(), 1..80),
    ) {
        let (mut writer, body) = written();
        let mut replay = Replay::new(body, limit);
        let mut current = replay.body();
        let mut old = VecDeque::new();
        let (mut all, mut read, mut most_read) = (Vec::new(), Vec::new(), 0);
        let mut open = true;
        let mut cx = Context::from_waker(Waker::noop());
        for deed in deeds {
            match deed {
                Deed::Write(size) if open => {
                    let from = all.len();
                    all.extend((from..from + size).map(|at| (at % 251) as u8));
                    writer.data(Bytes::copy_from_slice(&all[from..]));
                }
                Deed::Trailers if open => {
                    writer.trailers();
                    writer.end();
                    open = false;
                }
                Deed::End if open => {
                    writer.end();
                    open = false;
                }
                Deed::Write(_) | Deed::Trailers | Deed::End => {}
                Deed::Read => {
                    let Some(body) = &mut current else { continue };
                    if let Poll::Ready(Some(frame)) = Pin::new(body).poll_frame(&mut cx)
                        && let Ok(data) = frame.unwrap().into_data()
                    {
                        read.extend_from_slice(&data);
                        prop_assert_eq!(&read[..], &all[..read.len()]);
                        most_read = most_read.max(read.len());
                    }
                }
                Deed::TryAgain => {
                    let next = replay.body();
                    prop_assert_eq!(next.is_some(), most_read <= limit, "{} of {}", most_read, limit);
                    // The one before may stay for a while.
                    if let Some(next) = next {
                        old.extend(current.replace(next));
                        read.clear();
                        if old.len() > 2 {
                            old.pop_front();
                        }
                    }
                }
            }
        }
    }
}
