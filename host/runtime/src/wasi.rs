//! WASI 0.2 as empty stand-ins: language runtimes import it, so it is there, but there is no
//! directory, no variable, no argument and no socket. Clocks and randomness are real, and standard
//! output and error become log lines.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use airhost_telemetry::log::Level;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    WasiCtx,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{
    log::{self, LineContext},
    service::Service,
};

/// Longest line, in bytes; what is over is cut off.
const MAX_LINE: usize = 8 * 1024;

/// Bytes that a guest may write to a stream at once.
const WRITE: usize = 64 * 1024;

/// Which call the lines of an instance belong to.
pub(crate) type Current = Arc<Mutex<LineContext>>;

/// The WASI context of one instance.
pub(crate) fn context(service: &Arc<Service>, current: &Current) -> WasiCtx {
    let lines = |stream: &str, level| Lines {
        service: Arc::clone(service),
        current: Arc::clone(current),
        level,
        fields: Arc::new([("stream".to_owned(), stream.to_owned())]),
        begun: Arc::default(),
    };
    WasiCtx::builder()
        .stdout(lines("stdout", Level::Info))
        .stderr(lines("stderr", Level::Warn))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// A standard stream that is cut into log lines.
#[derive(Clone)]
struct Lines {
    service: Arc<Service>,
    current: Current,
    level: Level,
    /// Which stream it is.
    fields: Arc<[(String, String); 1]>,
    /// A line without its end.
    begun: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    fn take(&self, bytes: &[u8]) {
        let mut begun = self.begun.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // What is longer than a line may be is cut off here already.
            let room = MAX_LINE.saturating_sub(begun.len());
            let (line, ended) = match piece.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (piece, false),
            };
            begun.extend_from_slice(&line[..line.len().min(room)]);
            if ended {
                self.line(&begun);
                begun.clear();
            }
        }
    }

    fn line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let context = self.current.lock().clone();
        log::write(&self.service, &context, self.level, line.trim_end(), &*self.fields);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // The guest may end without ending its line; the last stream writes it.
        if Arc::strong_count(&self.begun) == 1 {
            let begun = std::mem::take(&mut *self.begun.lock());
            if !begun.is_empty() {
                self.line(&begun);
            }
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
