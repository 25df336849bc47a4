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
        if let Err(error) = some_file(&folder) {
            tracing::error!(folder = %folder.display(), %error, "the routes are gone; the old ones stay in force");
            continue;
        }
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

/// Editors and version control take a file away before they put it back: a folder without files
/// says nothing about routes, least of all that there are none.
fn some_file(folder: &Path) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.flatten();
    let routes = |path: &Path| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    match entries.any(|entry| routes(&entry.path())) {
        true => Ok(()),
        false => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no *.yaml is there")),
    }
}

fn start(watcher: &mut notify::RecommendedWatcher, folder: &Path) -> notify::Result<()> {
    watcher.watch(folder, RecursiveMode::NonRecursive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_emptied_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(some_file(folder.path()).is_err());
        std::fs::write(folder.path().join("routes.yaml~"), "").unwrap();
        assert!(some_file(folder.path()).is_err());
        std::fs::write(folder.path().join("routes.yaml"), "").unwrap();
        assert!(some_file(folder.path()).is_ok());
        assert!(some_file(&folder.path().join("absent")).is_err());
    }
}
