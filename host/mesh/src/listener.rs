//! Listeners: HTTP/1.1 and HTTP/2 (prior knowledge, told apart by the first bytes) on a port, every
//! request answered through a [`Dispatch`].
//!
//! ```no_run
//! # use std::sync::Arc;
//! # async fn example(dispatch: Arc<dyn airhost_core::Dispatch>) -> Result<(), Box<dyn std::error::Error>> {
//! use airhost_mesh::{Listener, ListenerConfig, PortSettings};
//! use airhost_telemetry::Telemetry;
//!
//! let config = ListenerConfig::new("api-gateway".parse()?, "127.0.0.1:0".parse()?);
//! let listener = Listener::bind(config, PortSettings::default(), dispatch, &Telemetry::discard()).await?;
//! println!("{}", listener.local_addr());
//! listener.drain(std::time::Duration::from_secs(30)).await;
//! # Ok(())
//! # }
//! ```

mod accept;
mod body;
mod client;
mod config;
mod connection;
mod edge;
mod pieces;
mod record;
mod request;
mod upgrade;

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use airhost_core::Dispatch;
use airhost_telemetry::{Telemetry, log::Logs, metrics::ServiceMetrics, trace::Traces};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::config::{ListenerConfig, MinRate, PortSettings};
use self::{client::Peer, connection::Marks, edge::FromClients};

/// What all connections of a listener share.
pub(crate) struct Port {
    pub(crate) config: ListenerConfig,
    pub(crate) settings: ArcSwap<PortSettings>,
    pub(crate) dispatch: Arc<dyn Dispatch>,
    pub(crate) logs: Logs,
    pub(crate) traces: Arc<Traces>,
    pub(crate) metrics: Arc<ServiceMetrics>,
    /// From clients to the service.
    pub(crate) edge: FromClients,
    pub(crate) inline_budget: Semaphore,
    pub(crate) tasks: TaskTracker,
    /// Cancelled when draining begins: switched connections have no request to wait for.
    pub(crate) stop_splices: CancellationToken,
    /// Set before the connections are told, so that one that comes now is not forgotten.
    pub(crate) cut: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<Marks>>>,
}

impl Port {
    /// Ends all connections.
    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for marks in self.connections.lock().values() {
            marks.cut();
        }
    }
}

/// One connection, as its requests see it.
pub(crate) struct Connection {
    pub(crate) port: Arc<Port>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) peer: Peer,
    pub(crate) local: SocketAddr,
}

/// A port that is being served. Dropping it stops it at once; [`Listener::drain`] stops it
/// gracefully.
pub struct Listener {
    port: Arc<Port>,
    local: SocketAddr,
    stop_accepting: CancellationToken,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut at the deadline.
    pub cut: usize,
}

impl Listener {
    /// Binds the port and begins to serve it.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        config: ListenerConfig,
        settings: PortSettings,
        dispatch: Arc<dyn Dispatch>,
        telemetry: &Telemetry,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(config.address).await?;
        let local = socket.local_addr()?;
        let metrics = telemetry.metrics.service(&config.service);
        let edge = FromClients::new(&telemetry.metrics, config.service.clone());
        let port = Arc::new(Port {
            inline_budget: Semaphore::new(config.inline_budget.min(Semaphore::MAX_PERMITS)),
            config,
            settings: ArcSwap::from_pointee(settings),
            dispatch,
            logs: telemetry.logs.clone(),
            traces: Arc::clone(&telemetry.traces),
            metrics,
            edge,
            tasks: TaskTracker::new(),
            stop_splices: CancellationToken::new(),
            cut: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let stop_accepting = CancellationToken::new();
        port.tasks.spawn(accept::run(socket, Arc::clone(&port), stop_accepting.clone()));
        Ok(Self { port, local, stop_accepting })
    }

    /// Where it listens: the port that was taken, if port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.port.connections.lock().len()
    }

    /// Puts the settings of another revision in force for the requests that follow.
    pub fn update(&self, settings: PortSettings) {
        self.port.settings.store(Arc::new(settings));
    }

    /// Stops accepting, lets clients know (`Connection: close`, GOAWAY) and waits until all
    /// requests under way are answered, at most for `grace`; what is left then is cut.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.stop_accepting.cancel();
        self.port.stop_splices.cancel();
        self.port.tasks.close();
        for marks in self.port.connections.lock().values() {
            marks.drain();
        }
        if tokio::time::timeout(grace, self.port.tasks.wait()).await.is_ok() {
            return Drained { cut: 0 };
        }
        let cut = self.connections();
        self.port.cut();
        self.port.tasks.wait().await;
        Drained { cut }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop_accepting.cancel();
        self.port.stop_splices.cancel();
        self.port.cut();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("service", &self.port.config.service)
            .field("address", &self.local)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
