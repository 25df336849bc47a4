//! Compression of responses: gzip, brotli and zstd, as they stream.
//!
//! What is in memory is compressed at once; a stream is compressed piece by piece, and what was
//! held back is flushed whenever the producer pauses, so that a reader is never behind for want
//! of more. Event streams are left alone: intermediaries and clients count on their framing.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
};

use airhost_core::{Body, BodyError, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame};

/// Smaller bodies fit a packet either way, in bytes.
const SMALLEST: u64 = 1024;
/// Larger ones in memory are compressed as streams, so that they do not hold up the thread.
const AT_ONCE: u64 = 64 << 10;
/// Input taken in one go, in bytes.
const PIECE: usize = 32 << 10;
const GZIP_LEVEL: u32 = 4;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 20;
const ZSTD_LEVEL: i32 = 3;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// In the order of preference between equals: the fastest for what it saves comes first.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The coding that the client likes best (RFC 9110, section 12.5.3); none when it takes
    /// nothing but the content as it is.
    pub(crate) fn negotiate(request: &HeaderMap) -> Option<Self> {
        let mut weights = [None; 3];
        let mut any = None;
        let fields =
            request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for item in fields.flat_map(|field| field.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let weight = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(Some(1.0), |weight| weight.parse::<f32>().ok())
                .unwrap_or(0.0);
            if name == "*" {
                any = Some(weight);
            }
            for (at, coding) in Self::ALL.iter().enumerate() {
                if name.eq_ignore_ascii_case(coding.name())
                    || (*coding == Self::Gzip && name.eq_ignore_ascii_case("x-gzip"))
                {
                    weights[at] = Some(weight);
                }
            }
        }
        let mut best: Option<(Self, f32)> = None;
        for (coding, weight) in Self::ALL.into_iter().zip(weights) {
            let weight = weight.or(any).unwrap_or(0.0);
            if weight > best.map_or(0.0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }
}

/// Compresses a response, if it is worth it and allowed.
pub(crate) fn compress(mut response: Response, coding: Option<Coding>) -> Response {
    if !is_eligible(&response) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = coding else { return response };
    let size = response.body().size_hint().exact();
    if size.is_some_and(|size| size < SMALLEST) {
        return response;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    weaken_etag(headers);
    response.map(|body| match body {
        Body::Bytes(bytes) if bytes.len() as u64 <= AT_ONCE => match at_once(coding, &bytes) {
            Ok(compressed) => compressed.into(),
            Err(error) => Body::stream(Broken(Some(error))),
        },
        body => match Encoder::new(coding) {
            Ok(encoder) => Body::stream(Compressed {
                body,
                encoder: Some(encoder),
                ahead: Bytes::new(),
                dirty: false,
                trailers: None,
            }),
            Err(error) => Body::stream(Broken(Some(error))),
        },
    })
}

fn is_eligible(response: &Response) -> bool {
    let status = response.status();
    let headers = response.headers();
    let has_content = !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
        );
    let transformable = !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("no-transform"))
        });
    has_content
        && transformable
        && !response.body().is_end_stream()
        && headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(is_compressible)
}

fn is_compressible(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match kind.as_str() {
        "text/event-stream" => false,
        "application/json"
        | "application/javascript"
        | "application/xml"
        | "application/graphql"
        | "application/x-ndjson"
        | "application/yaml"
        | "application/wasm"
        | "image/svg+xml"
        | "application/manifest+json"
        | "application/sql" => true,
        kind => kind.starts_with("text/") || kind.ends_with("+json") || kind.ends_with("+xml"),
    }
}

/// The bytes are other ones now, the content is the same (RFC 9110, section 8.8.1).
fn weaken_etag(headers: &mut HeaderMap) {
    let weak = headers
        .get(header::ETAG)
        .and_then(|etag| etag.to_str().ok())
        .filter(|etag| !etag.starts_with("W/"));
    if let Some(weak) = weak.and_then(|etag| HeaderValue::from_str(&format!("W/{etag}")).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

fn at_once(coding: Coding, bytes: &[u8]) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(coding)?;
    encoder.write(bytes)?;
    encoder.finish()
}

enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(GZIP_LEVEL),
            )),
            Coding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                PIECE,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    /// What came out so far.
    fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// A stream, compressed.
struct Compressed {
    body: Body,
    /// None after the end.
    encoder: Option<Encoder>,
    /// Input that is not compressed yet.
    ahead: Bytes,
    /// Input went in after the last flush.
    dirty: bool,
    trailers: Option<HeaderMap>,
}

impl Compressed {
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Result<Option<Bytes>, BodyError>>> {
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(Ok(Ok(None))) };
            if !self.ahead.is_empty() {
                let piece = self.ahead.split_to(self.ahead.len().min(PIECE));
                encoder.write(&piece)?;
                self.dirty = true;
                let out = encoder.take();
                if !out.is_empty() {
                    return Poll::Ready(Ok(Ok(Some(out))));
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => {
                    self.encoder = None;
                    return Poll::Ready(Ok(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.ahead = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(None) => {
                    let out = self.encoder.take().map_or(Ok(Bytes::new()), Encoder::finish)?;
                    return Poll::Ready(Ok(Ok(Some(out).filter(|out| !out.is_empty()))));
                }
                Poll::Pending if self.dirty => {
                    self.dirty = false;
                    encoder.flush()?;
                    let out = encoder.take();
                    if !out.is_empty() {
                        return Poll::Ready(Ok(Ok(Some(out))));
                    }
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl HttpBody for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.step(cx).map(|step| match step {
            Err(error) => {
                self.encoder = None;
                Some(Err(BodyError::Truncated(Box::new(error))))
            }
            Ok(Err(error)) => Some(Err(error)),
            Ok(Ok(Some(out))) => Some(Ok(Frame::data(out))),
            Ok(Ok(None)) => self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }
}

/// A body whose compression could not be begun.
struct Broken(Option<io::Error>);

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(|error| Err(BodyError::Truncated(Box::new(error)))))
    }
}

#[cfg(test)]
mod tests;
