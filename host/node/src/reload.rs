//! Takes changed routes without a restart.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use airhost_mesh::Gateway;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};

use crate::{listeners::Ports, services::Services};

/// A file is often written in several steps: they are taken as one change.
const QUIET: Duration = Duration::from_millis(200);

/// Watches the folder of routes until the node stops. Routes that are not valid are reported and
/// the old ones stay in force.
pub(crate) async fn watch(
    gateway: Arc<Gateway>,
    services: Arc<Services>,
    ports: Arc<Ports>,
    folder: PathBuf,
    mut stop: watch::Receiver<bool>,
) {
    let (changed, mut changes) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // One waiting notice is enough: all files are read again.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.try_send(()).ok();
        }
    });
    // It watches as long as it lives.
    let _watcher = match watcher
        .and_then(|mut watcher| start(&mut watcher, &folder).map(|()| watcher))
    {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::info!(folder = %folder.display(), %error, "routes are not watched for changes");
            return;
        }
    };
    loop {
        tokio::select! {
            change = changes.recv() => if change.is_none() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::time::sleep(QUIET).await;
        changes.try_recv().ok();
        match gateway.reload(&folder) {
            Ok(()) => {
                ports.routes_changed(&services, &gateway);
                tracing::info!(routes = gateway.routes().routes().len(), "routes were read again");
            }
            Err(error) => {
                tracing::error!(%error, "the changed routes are not valid; the old ones stay in force")
            }
        }
    }
}

fn start(watcher: &mut notify::RecommendedWatcher, folder: &Path) -> notify::Result<()> {
    watcher.watch(folder, RecursiveMode::NonRecursive)
}
