//! The inner loop of a service author: save, and the running node has it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use airhost_manifest::Manifest;
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
const IGNORED: &[&str] = &["target", "build", "node_modules", "__pycache__", ".git"];

pub(crate) async fn run(global: &Global, options: Options) -> Result<()> {
    let client = global.client()?;
    let folder = options
        .folder
        .canonicalize()
        .with_context(|| format!("cannot find {}", options.folder.display()))?;
    let manifest =
        Manifest::load(&folder.join("service.toml")).map_err(airhost_core::Error::from)?;
    let (_watcher, mut changes) = watch(&folder)?;
    let mut stop = super::up::Signals::new()?;
    turn(global, &client, &folder).await;
    output::line(&format!("watching {}; Ctrl-C ends it, the service goes on", folder.display()));

    let path = format!("/v1/logs?last=0&follow=true&service={}", manifest.name);
    let json = global.json;
    let logs = client.lines(Method::GET, &path, Bytes::new(), |line| {
        super::logs::show(line, json);
        true
    });
    let rebuild = async {
        while changes.recv().await.is_some() {
            tokio::time::sleep(QUIET).await;
            while changes.try_recv().is_ok() {}
            turn(global, &client, &folder).await;
        }
    };
    tokio::select! {
        ended = logs => ended.context("the node has stopped"),
        () = rebuild => Ok(()),
        () = stop.next() => Ok(()),
    }
}

/// Builds and deploys once. What fails is shown; the next change is another chance.
async fn turn(global: &Global, client: &airhost_control::Client, folder: &Path) {
    let progress = Progress::new(global.json);
    let options = super::build::Options {
        folder: folder.to_owned(),
        component: None,
        output: Some(std::env::temp_dir().join(format!("airhost-dev-{}.wasm", std::process::id()))),
        schemas: None,
        quiet: global.json,
    };
    let built = tokio::task::block_in_place(|| super::build::build(&options, &progress));
    let result = match built {
        // Whoever develops a service decides what it may do on this node.
        Ok((file, content)) => {
            drop(std::fs::remove_file(file));
            super::deploy::deploy(client, content, true, false, global.json).await
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => progress.done("live"),
        Err(error) => output::failure(&error, global.json),
    }
}

/// It watches as long as the watcher lives.
fn watch(folder: &Path) -> Result<(RecommendedWatcher, mpsc::Receiver<()>)> {
    let (changed, changes) = mpsc::channel(1);
    let root = folder.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let concerns = |path: &PathBuf| {
            let inside = path.strip_prefix(&root).unwrap_or(path);
            let first = inside.components().next().and_then(|part| part.as_os_str().to_str());
            !first.is_some_and(|first| IGNORED.contains(&first))
                && path.extension().is_none_or(|end| end != "wasm")
        };
        if !event.kind.is_access() && event.paths.iter().any(concerns) {
            drop(changed.try_send(()));
        }
    })?;
    watcher
        .watch(folder, RecursiveMode::Recursive)
        .with_context(|| format!("cannot watch {}", folder.display()))?;
    Ok((watcher, changes))
}
