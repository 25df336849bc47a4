//! The simulator as a value.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::{LimitConfig, SimConfig};
use crate::error::{Error, Result};
use crate::faults::{Fault, LoggedRequest, Stats};
use crate::persist::{self, DataFile};
use crate::server;

/// A simulator that serves.
///
/// Dropping it stops it without waiting; [`Sim::shutdown`] waits for requests under way.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    app: Arc<App>,
    saver: Option<JoinHandle<()>>,
}

/// How long the end waits for the data to be written.
const SAVE_AT_END: Duration = Duration::from_secs(30);

impl Sim {
    /// Loads the data, takes the address and begins to serve.
    pub async fn start(config: SimConfig) -> Result<Self> {
        let file = match &config.data {
            Some(path) => Some(Arc::new(DataFile::open(path).await?)),
            None => None,
        };
        let listen = config.listen;
        let failed = |source| Error::Listen { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let app = App::new(config, &addr.to_string(), file.as_deref())?;
        let server = server::serve(Arc::clone(&app), listener);
        app.tasks.spawn(server);
        let saver = file.map(|file| tokio::spawn(persist::run(Arc::clone(&app), file)));
        Ok(Self { addr, app, saver })
    }

    /// The address served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL to give to clients, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A handle that steers the simulator.
    pub fn control(&self) -> Control {
        Control { app: Arc::clone(&self.app) }
    }

    /// Stops accepting, waits for requests under way within the configured time, writes the data
    /// to its file, and ends.
    pub async fn shutdown(mut self) {
        self.app.stop.cancel();
        self.app.tasks.close();
        let drain = self.app.drain();
        if tokio::time::timeout(drain, self.app.tasks.wait()).await.is_err() {
            tracing::warn!("connections are still open after the time to drain");
        }
        if let Some(saver) = self.saver.take() {
            match tokio::time::timeout(SAVE_AT_END, saver).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the data could not be saved"),
                Err(_) => tracing::error!("the data could not be saved within the time for it"),
            }
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.app.stop.cancel();
        self.app.tasks.close();
    }
}

/// Steers a running simulator; the same as the control API, without HTTP.
#[derive(Debug, Clone)]
pub struct Control {
    app: Arc<App>,
}

impl Control {
    /// Adds a fault; false when too many wait.
    pub fn fault(&self, fault: Fault) -> bool {
        self.app.observer.add(fault)
    }

    /// Removes the faults that wait.
    pub fn clear_faults(&self) {
        self.app.observer.clear_rules();
    }

    /// The newest requests, oldest first.
    pub fn requests(&self, limit: usize) -> Vec<LoggedRequest> {
        self.app.observer.log(limit)
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.app.observer.stats()
    }

    /// Puts other rate limits in force.
    pub fn set_limits(&self, limits: LimitConfig) {
        self.app.limiter.configure(limits);
    }

    /// Moves the time of records, formulas and webhooks forward.
    pub fn advance(&self, by: Duration) {
        self.app.clock.advance(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX));
    }

    /// Brings back the data of the configuration, without faults and log. A file that keeps the
    /// data follows.
    pub fn reset(&self) -> Result<()> {
        self.app.reset()
    }
}
