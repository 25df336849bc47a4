//! Moves bytes between a client and a host that have switched to another protocol.

use airhost_core::Response;
use http::{HeaderValue, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::record::Pending;

/// Piece that is moved at once, in bytes.
const PIECE: usize = 16 << 10;

/// Two connections that are about to be joined.
pub(crate) struct Splice {
    client: OnUpgrade,
    host: OnUpgrade,
}

/// Joins the client's connection to the one that the 101 response came over, if there are both.
pub(crate) fn splice(
    response: &mut Response,
    protocol: Option<HeaderValue>,
    client: Option<OnUpgrade>,
) -> Option<Splice> {
    let (protocol, client) = (protocol?, client?);
    let host = response.extensions_mut().remove::<OnUpgrade>()?;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, protocol);
    Some(Splice { client, host })
}

impl Splice {
    /// Moves bytes until a side closes, is quiet for the listener's idle time, or the listener
    /// drains.
    pub(crate) fn run(self, mut pending: Pending) {
        let port = std::sync::Arc::clone(&pending.connection().port);
        let tracker = port.tasks.clone();
        tracker.spawn(async move {
            let idle = port.config.idle_timeout;
            let moved = async {
                let (client, host) = tokio::try_join!(self.client, self.host)?;
                Ok::<_, hyper::Error>(join(TokioIo::new(client), TokioIo::new(host), idle).await)
            };
            tokio::select! {
                result = moved => match result {
                    Ok((received, sent)) => {
                        pending.received(received);
                        pending.sent(sent);
                        pending.complete();
                    }
                    Err(error) => tracing::debug!(%error, "a switch of protocols failed"),
                },
                () = port.stop_splices.cancelled() => {}
            }
        });
    }
}

/// Bytes moved from the client and to it.
async fn join(
    client: TokioIo<Upgraded>,
    host: TokioIo<Upgraded>,
    idle: std::time::Duration,
) -> (u64, u64) {
    let (client_read, client_write) = tokio::io::split(client);
    let (host_read, host_write) = tokio::io::split(host);
    let (mut received, mut sent) = (0, 0);
    tokio::join!(
        pump(client_read, host_write, idle, &mut received),
        pump(host_read, client_write, idle, &mut sent),
    );
    (received, sent)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    idle: std::time::Duration,
    moved: &mut u64,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(Ok(size)) = tokio::time::timeout(idle, from.read(&mut piece)).await else { break };
        if size == 0 {
            break;
        }
        let written = tokio::time::timeout(idle, to.write_all(&piece[..size])).await;
        if !matches!(written, Ok(Ok(()))) {
            break;
        }
        *moved += size as u64;
    }
    // The other direction ends when its reader sees the end; an error here has no one to tell.
    if let Err(error) = to.shutdown().await {
        tracing::trace!(%error, "the other side was gone already");
    }
}
