//! Writes the data to its file soon after it changes, and at the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::DataFile;
use crate::app::App;

/// How long further changes are waited for after a first one.
const GATHER: Duration = Duration::from_millis(250);
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Saves until the app stops, then once more when requests have come to their end.
pub(crate) async fn run(app: Arc<App>, file: Arc<DataFile>) {
    let mut changes = app.data.changes();
    let mut saved = 0;
    let mut failing = false;
    loop {
        let wait = if failing { RETRY } else { GATHER };
        let due = async {
            // The sender lives as long as the app.
            if changes.wait_for(|change| *change != saved).await.is_ok() {
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = due => {}
            () = app.stop.cancelled() => break,
        }
        match save(&app, &file).await {
            Ok(change) => {
                if failing {
                    tracing::info!("the data is saved again");
                }
                (saved, failing) = (change, false);
            }
            Err(error) => {
                if !failing {
                    tracing::error!(%error, "the data cannot be saved; it is tried again");
                }
                failing = true;
            }
        }
    }
    if tokio::time::timeout(app.drain(), app.tasks.wait()).await.is_err() {
        tracing::warn!("the data is saved while requests are under way");
    }
    let unsaved = *changes.borrow() != saved;
    if unsaved && let Err(error) = save(&app, &file).await {
        tracing::error!(%error, "the last changes could not be saved");
    }
}

/// Saves the data off the threads that serve; answers the number of the last change saved.
async fn save(app: &Arc<App>, file: &Arc<DataFile>) -> io::Result<u64> {
    let (app, file) = (Arc::clone(app), Arc::clone(file));
    let work = move || {
        let (saved, blobs, change) = app.snapshot();
        file.save(&saved, &blobs).map(|()| change)
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
