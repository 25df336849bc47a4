use airhost_core::{CallContext, Caller, Response, Result, Target, codes};
use async_trait::async_trait;
use http_body_util::StreamBody;
use parking_lot::Mutex;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Keeps what it was sent.
#[derive(Default)]
struct Other {
    got: Mutex<Vec<String>>,
    /// Whether it answers at all.
    silent: bool,
}

#[async_trait]
impl Dispatch for Other {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        let deadline = call.context.deadline.remaining();
        let (parts, body) = call.request.into_parts();
        let body = whole(body).await;
        self.got.lock().push(format!("{} {} {body} {deadline:?}", parts.method, parts.uri));
        if self.silent {
            std::future::pending::<()>().await;
        }
        match parts.uri.path() {
            "/refused" => Err(codes::CALL_UNREACHABLE.error("refused")),
            _ => Ok(Response::new(Body::from("never read by anybody"))),
        }
    }
}

/// A body as text, with a plus for trailers.
async fn whole(mut body: Body) -> String {
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap();
        match frame.data_ref() {
            Some(data) if data.len() > 100 => text += &format!("<{}>", data.len()),
            Some(data) => text += std::str::from_utf8(data).unwrap(),
            None => text += "+",
        }
    }
    text
}

fn call(path: &str, body: Body) -> Call {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    Call {
        target: Target::Service("user-service".parse().unwrap()),
        request,
        context: CallContext::root(Caller::Host, Deadline::after(SECOND)),
        attrs: vec![("priority".to_owned(), "low".to_owned())],
        pool: Some("standard".into()),
    }
}

fn frames(frames: Vec<std::result::Result<Frame<Bytes>, BodyError>>) -> Body {
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

fn data(data: impl Into<Bytes>) -> std::result::Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(data.into()))
}

/// Mirrors that lead to another one.
fn mirrors(other: Other) -> (Arc<Mirrors>, Arc<Other>, Arc<dyn Dispatch>) {
    let other = Arc::new(other);
    let to: Arc<dyn Dispatch> = Arc::clone(&other) as _;
    (Mirrors::new(5 * SECOND), other, to)
}

/// Until no copy is under way.
async fn settle(mirrors: &Mirrors) {
    let all = MOST_UNDER_WAY as u32;
    drop(tokio::time::timeout(60 * SECOND, mirrors.slots.acquire_many(all)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_the_body_and_a_deadline_of_its_own() {
    let mut trailers = HeaderMap::new();
    trailers.insert("t", "1".parse().unwrap());
    for (body, expected) in [
        (Body::Empty, ""),
        (Body::from("whole"), "whole"),
        (frames(vec![data("in "), data("parts")]), "in parts"),
        (frames(vec![data("and"), Ok(Frame::trailers(trailers))]), "and+"),
        (frames(Vec::new()), ""),
        (Body::from(vec![b'x'; MOST_BYTES]), "<65536>"),
        (frames(vec![data(vec![b'x'; MOST_BYTES])]), "<65536>"),
    ] {
        let (mirrors, other, to) = mirrors(Other::default());
        let mut call = call("/a?b=c", body);
        let copies = vec![copy_of(&call), copy_of(&call)];
        mirrors.send(&mut call, copies, &to);
        assert_eq!(whole(call.request.into_body()).await, expected);
        settle(&mirrors).await;
        let line = format!("POST /a?b=c {expected} 5s");
        assert_eq!(*other.got.lock(), [line.clone(), line]);
        let expected = MirrorCounts { sent: 2, answered: 2, ..MirrorCounts::default() };
        assert_eq!(mirrors.counts(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_copied_goes_on_without() {
    let gone = || Err(BodyError::Truncated("gone".into()));
    for (body, read_all, too_large, incomplete) in [
        (Body::from(vec![0; MOST_BYTES + 1]), true, 1, 0),
        (frames(vec![data(vec![b'x'; MOST_BYTES]), data("y")]), true, 1, 0),
        (frames(vec![data("a"), gone()]), true, 0, 1),
        (frames(vec![data("a"), data("b")]), false, 0, 1),
    ] {
        let (mirrors, other, to) = mirrors(Other::default());
        let mut call = call("/", body);
        let copies = vec![copy_of(&call)];
        mirrors.send(&mut call, copies, &to);
        let mut body = call.request.into_body();
        let mut size = 0;
        while let Some(Ok(frame)) = body.frame().await {
            size += frame.data_ref().map_or(0, Bytes::len);
            if !read_all {
                break;
            }
        }
        assert!(size > 0, "the request itself is not touched");
        drop(body);
        settle(&mirrors).await;
        assert!(other.got.lock().is_empty());
        let expected = MirrorCounts { too_large, incomplete, ..MirrorCounts::default() };
        assert_eq!(mirrors.counts(), expected);
    }
}

/// A body that says beforehand how large it is.
struct Sized(u64);

impl HttpBody for Sized {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_said_to_be_too_large_is_not_even_begun() {
    let (mirrors, _, to) = mirrors(Other::default());
    let mut call = call("/", Body::stream(Sized(MOST_BYTES as u64 + 1)));
    let copies = vec![copy_of(&call)];
    mirrors.send(&mut call, copies, &to);
    assert_eq!(mirrors.counts().too_large, 1);
    assert_eq!(call.request.body().size_hint().exact(), Some(MOST_BYTES as u64 + 1));
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_not_waited_for_and_copies_end() {
    let (mirrors, other, to) = mirrors(Other { silent: true, ..Other::default() });
    let mut call = call("/", Body::from("x"));
    let copies = vec![copy_of(&call)];
    mirrors.send(&mut call, copies, &to);
    let began = tokio::time::Instant::now();
    settle(&mirrors).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
    assert_eq!(other.got.lock().len(), 1);
    assert_eq!(mirrors.counts(), MirrorCounts { sent: 1, failed: 1, ..MirrorCounts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_refused_is_counted() {
    let (mirrors, _, to) = mirrors(Other::default());
    let mut call = call("/refused", Body::Empty);
    let copies = vec![copy_of(&call)];
    mirrors.send(&mut call, copies, &to);
    settle(&mirrors).await;
    assert_eq!(mirrors.counts().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn copies_under_way_are_bounded() {
    let (mirrors, _, to) = mirrors(Other { silent: true, ..Other::default() });
    // Those whose body is still being read count as well.
    let mut reading = call("/", frames(vec![data("a")]));
    let copies = vec![copy_of(&reading)];
    mirrors.send(&mut reading, copies, &to);
    for _ in 0..MOST_UNDER_WAY + 9 {
        let mut call = call("/", Body::Empty);
        let copies = vec![copy_of(&call)];
        mirrors.send(&mut call, copies, &to);
    }
    assert_eq!(mirrors.counts().too_many, 10);
    drop(reading);
    settle(&mirrors).await;
    assert_eq!(mirrors.counts().incomplete, 1);
    let mut call = call("/", Body::Empty);
    let copies = vec![copy_of(&call)];
    mirrors.send(&mut call, copies, &to);
    assert_eq!(mirrors.counts().too_many, 10);
}

#[test]
fn a_copy_is_the_call_without_what_only_the_original_can_do() {
    #[derive(Clone)]
    struct Upgrade;
    let mut call = call("/a", Body::from("x"));
    call.request.headers_mut().insert("x-a", "1".parse().unwrap());
    call.request.extensions_mut().insert(Upgrade);
    let copy = copy_of(&call);
    assert_eq!(
        (copy.request.method(), copy.request.uri()),
        (&http::Method::POST, call.request.uri())
    );
    assert_eq!(copy.request.headers(), call.request.headers());
    assert_eq!((copy.target, copy.attrs, copy.pool), (call.target, call.attrs, None));
    assert!(copy.request.extensions().get::<Upgrade>().is_none());
    assert!(matches!(copy.request.body(), Body::Empty));
}
