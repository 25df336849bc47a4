//! Takes connections and serves them.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::{
    Connection, Port,
    body::ResponseBody,
    client::Peer,
    connection::{Ending, Graceful, MarkedIo, Marks, Patience, drive},
    request,
};

/// After a failed accept for want of descriptors or memory, before the next try.
const BACK_OFF: Duration = Duration::from_millis(50);
/// HTTP/2 stream window, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// HTTP/2 connection window, in bytes.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that a client may open and reset before it is told to go away (rapid reset,
/// CVE-2023-44487).
const PENDING_RESETS: usize = 20;

/// Accepts until it is told to stop.
pub(crate) async fn run(socket: TcpListener, port: Arc<Port>, stop: CancellationToken) {
    let builder = Arc::new(builder(&port));
    let slots = Arc::new(Semaphore::new(port.config.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let patience = Patience::new(&port.config);
    let mut next = 0_u64;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = accept(&socket, &slots) => accepted,
        };
        let (stream, address, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(service = %port.config.service, %error, "cannot accept connections now");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        let id = next;
        next += 1;
        let marks = Arc::new(Marks::default());
        port.connections.lock().insert(id, Arc::clone(&marks));
        if stop.is_cancelled() {
            // The others have been told already.
            marks.drain();
        }
        if port.cut.load(Ordering::SeqCst) {
            marks.cut();
        }
        let (port, builder) = (Arc::clone(&port), Arc::clone(&builder));
        let tasks = port.tasks.clone();
        tasks.spawn(async move {
            let ending = serve(stream, address, &builder, &port, marks, patience).await;
            if ending == Some(Ending::TooSlow) {
                tracing::debug!(service = %port.config.service, client = %address, "a slow client was cut off");
            }
            port.connections.lock().remove(&id);
            drop(slot);
        });
    }
}

async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = socket.accept().await?;
    Ok((stream, address, slot))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    builder: &auto::Builder<TokioExecutor>,
    port: &Arc<Port>,
    marks: Arc<Marks>,
    patience: Patience,
) -> Option<Ending> {
    // Without it small answers wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the client was gone at once");
        return None;
    }
    let local = stream.local_addr().ok()?;
    let connection = Arc::new(Connection {
        port: Arc::clone(port),
        marks: Arc::clone(&marks),
        peer: Peer::new(address, &port.config.trusted_proxies),
        local,
    });
    Some(serve_io(stream, builder, connection, patience).await)
}

/// Serves HTTP on an established transport.
async fn serve_io<S>(
    io: S,
    builder: &auto::Builder<TokioExecutor>,
    connection: Arc<Connection>,
    patience: Patience,
) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let marks = Arc::clone(&connection.marks);
    let io = TokioIo::new(MarkedIo::new(io, Arc::clone(&marks)));
    let service = service_fn(move |incoming: http::Request<Incoming>| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(request::answer(connection, incoming).await) }
    });
    drive(builder.serve_connection_with_upgrades(io, service), &marks, patience).await
}

impl<I, S> Graceful for auto::UpgradeableConnection<'_, I, S, TokioExecutor>
where
    S: hyper::service::Service<
            http::Request<Incoming>,
            Response = http::Response<ResponseBody>,
            Error = Infallible,
        >,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        auto::UpgradeableConnection::graceful_shutdown(self);
    }
}

fn builder(port: &Port) -> auto::Builder<TokioExecutor> {
    let config = &port.config;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // One timer per connection does it (`connection.rs`).
        .header_read_timeout(None)
        .max_headers(config.head_fields)
        .max_buf_size(config.head_bytes.max(8 << 10))
        .timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams)
        .max_header_list_size(u32::try_from(config.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
