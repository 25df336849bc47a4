use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{Error, codes};

type Stream = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// A request's or response's body: nothing, bytes in memory, or a stream with back-pressure.
///
/// Bytes move from one service to another in the same process without a copy.
#[derive(Default)]
pub enum Body {
    /// No content.
    #[default]
    Empty,
    /// All of it.
    Bytes(Bytes),
    /// Frames as they arrive; nothing is read ahead.
    Stream(Stream),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The sender went away or broke the framing.
    #[error("the body ended before its end")]
    Truncated(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More than the receiver takes.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most it takes, in bytes.
        limit: u64,
    },
    /// The receiver has gone.
    #[error("the receiver has gone")]
    Cancelled,
    /// The call's deadline ran out.
    #[error("the deadline ran out while the body was moving")]
    Deadline,
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Truncated(_) => codes::BODY_TRUNCATED.error("the body ended before its end"),
            BodyError::TooLarge { limit } => {
                codes::BODY_TOO_LARGE.error(format!("the body is larger than {limit} bytes"))
            }
            BodyError::Cancelled => codes::CANCELLED_CALLER.error("the other side has gone"),
            BodyError::Deadline => {
                codes::DEADLINE_EXCEEDED.error("the deadline ran out while the body was moving")
            }
        }
    }
}

impl Body {
    /// A body that streams from another one.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self::Stream(Box::pin(body))
    }

    /// The content, if it is in memory already.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Bytes(bytes) => Some(bytes),
            Self::Stream(_) => None,
        }
    }

    /// The whole content, unless it is larger than `limit` bytes.
    pub async fn collect(self, limit: u64) -> Result<Bytes, BodyError> {
        let mut stream = match self {
            Self::Empty => return Ok(Bytes::new()),
            Self::Bytes(bytes) if bytes.len() as u64 > limit => {
                return Err(BodyError::TooLarge { limit });
            }
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Stream(stream) => stream,
        };
        if stream.size_hint().lower() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = stream.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if (first.len() + rest.len() + data.len()) as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    /// A reader that takes as much as is asked for.
    #[must_use]
    pub fn reader(self) -> Reader {
        Reader { body: self, ahead: Bytes::new(), trailers: None }
    }
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub struct Reader {
    body: Body,
    ahead: Bytes,
    trailers: Option<HeaderMap>,
}

impl Reader {
    /// Up to `max` bytes, empty at the end. Waits until some are there.
    pub async fn read(&mut self, max: usize) -> Result<Bytes, BodyError> {
        while self.ahead.is_empty() {
            match self.body.frame().await {
                None => return Ok(Bytes::new()),
                Some(frame) => match frame?.into_data() {
                    Ok(data) => self.ahead = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
        let size = self.ahead.len().min(max);
        Ok(self.ahead.split_to(size))
    }

    /// The trailer fields, once the end was reached.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn chunks(parts: &[&'static str]) -> Body {
        let frames: Vec<_> =
            parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
        Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn collecting_joins_and_bounds() {
        assert_eq!(chunks(&["ab", "cd", "e"]).collect(5).await.unwrap(), "abcde");
        assert!(matches!(
            chunks(&["ab", "cd", "e"]).collect(4).await,
            Err(BodyError::TooLarge { limit: 4 })
        ));
        assert!(matches!(Body::from("abc").collect(2).await, Err(BodyError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn a_reader_gives_no_more_than_asked_and_loses_nothing() {
        let mut reader = chunks(&["abc", "", "de"]).reader();
        assert_eq!(reader.read(2).await.unwrap(), "ab");
        assert_eq!(reader.read(2).await.unwrap(), "c");
        assert_eq!(reader.read(9).await.unwrap(), "de");
        assert_eq!(reader.read(9).await.unwrap(), "");
    }
}
