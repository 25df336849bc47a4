//! The inner loop of a service author: save, and the running node has it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use airhost_control::api::NodeStatus;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use http::Method;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::{Global, output, progress::Progress};

#[derive(Args)]
pub(crate) struct Options {
    /// The service's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Editors write a file in several steps: they are taken as one change.
const QUIET: Duration = Duration::from_millis(150);
/// What a build writes itself, and what no build reads.
const IGNORED: &[&str] = &["target", "build", "node_modules", "__pycache__"];

pub(crate) async fn run(global: &Global, options: Options) -> Result<()> {
    let client = global.client()?;
    let folder = options
        .folder
        .canonicalize()
        .with_context(|| format!("cannot find {}", options.folder.display()))?;
    let manifest = super::build::manifest(&folder)?;
    let mut stop = super::up::Signals::new()?;
    // A build is in vain without a node.
    client.get::<NodeStatus>("/v1/status").await?;
    let mut changes = Changes::of(&folder)?;
    let json = global.json;
    let path = format!("/v1/logs?last=0&follow=true&service={}", manifest.name);
    let logs = client.lines(Method::GET, &path, Bytes::new(), |line| {
        super::logs::show(line, json);
        true
    });
    let rebuild = async {
        turn(json, &client, &folder).await;
        if !json {
            let shown = folder.display();
            output::line(&format!("watching {shown}; Ctrl-C ends it, the service goes on"));
        }
        loop {
            changes.next().await?;
            turn(json, &client, &folder).await;
        }
    };
    tokio::select! {
        ended = logs => ended.context("the node has stopped"),
        failed = rebuild => failed,
        () = stop.next() => Ok(()),
    }
}

/// Builds and deploys once. What fails is shown; the next change is another chance.
async fn turn(json: bool, client: &airhost_control::Client, folder: &Path) {
    let progress = Progress::new(json);
    let options = super::build::Options {
        folder: folder.to_owned(),
        component: None,
        output: Some(std::env::temp_dir().join(format!("airhost-dev-{}.wasm", std::process::id()))),
        schemas: None,
        quiet: json,
    };
    // Beside this task, which goes on with log lines and Ctrl-C.
    let build = move || super::build::build(&options, &Progress::new(json));
    let result = match tokio::task::spawn_blocking(build).await {
        // Whoever develops a service decides what it may do on this node.
        Ok(Ok((file, content))) => {
            drop(std::fs::remove_file(file));
            super::deploy::deploy(client, content, true, false, json).await
        }
        Ok(Err(error)) => Err(error),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => progress.done("live"),
        Err(error) => {
            output::failure(&error, json);
            progress
                .step("unchanged", "what served before serves on; the next save is another try");
        }
    }
}

/// Changes of what a service is built from.
struct Changes {
    folder: PathBuf,
    watcher: RecommendedWatcher,
    changed: mpsc::Receiver<()>,
    /// Folders that are watched with everything in them.
    watched: BTreeSet<PathBuf>,
}

impl Changes {
    fn of(folder: &Path) -> Result<Self> {
        let (change, changed) = mpsc::channel(1);
        let root = folder.to_owned();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if !event.kind.is_access() && event.paths.iter().any(|path| concerns(&root, path)) {
                change.try_send(()).ok();
            }
        })?;
        let folder = folder.to_owned();
        let mut changes = Self { folder, watcher, changed, watched: BTreeSet::new() };
        changes
            .watcher
            .watch(&changes.folder, RecursiveMode::NonRecursive)
            .with_context(|| format!("cannot watch {}", changes.folder.display()))?;
        changes.cover()?;
        Ok(changes)
    }

    /// Watches the folders that are there now, but not those that hold thousands of files which no
    /// build reads: a system allows so many watches only.
    fn cover(&mut self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if !path.is_dir() {
                self.watched.remove(&path);
            } else if concerns(&self.folder, &path) && !self.watched.contains(&path) {
                self.watcher
                    .watch(&path, RecursiveMode::Recursive)
                    .with_context(|| format!("cannot watch {}", path.display()))?;
                self.watched.insert(path);
            }
        }
        Ok(())
    }

    /// Waits for a change, and until it has ended.
    async fn next(&mut self) -> Result<()> {
        self.changed.recv().await.context("the folder can no longer be watched")?;
        tokio::time::sleep(QUIET).await;
        while self.changed.try_recv().is_ok() {}
        self.cover()
    }
}

/// Whether a build may read a path: not what builds and editors leave.
fn concerns(root: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mut names = inside.components().filter_map(|part| part.as_os_str().to_str());
    let left =
        |name: &str| IGNORED.contains(&name) || name.starts_with('.') || name.ends_with(['~', '#']);
    !names.any(left) && path.extension().is_none_or(|end| end != "wasm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_what_a_build_reads() {
        let rows = [
            ("src/lib.rs", true),
            ("service.toml", true),
            ("migrations/0001_items.sql", true),
            ("target/release/x.d", false),
            ("node_modules/jco/package.json", false),
            ("shop/__pycache__/app.pyc", false),
            ("src/.lib.rs.swp", false),
            ("src/lib.rs~", false),
            ("hello-service.wasm", false),
        ];
        for (path, expected) in rows {
            let root = Path::new("/work/target/hello");
            assert_eq!(concerns(root, &root.join(path)), expected, "{path}");
        }
    }

    async fn seen(changes: &mut Changes) {
        tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_save_and_a_new_folder_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("src")).unwrap();
        let mut changes = Changes::of(&root).unwrap();
        std::fs::write(root.join("src/lib.rs"), "a").unwrap();
        seen(&mut changes).await;
        std::fs::create_dir(root.join("migrations")).unwrap();
        seen(&mut changes).await;
        std::fs::write(root.join("migrations/0001_a.sql"), "b").unwrap();
        seen(&mut changes).await;
    }
}
