use std::path::PathBuf;

use airhost_control::{
    Client, ClientError,
    api::{DeployEvent, DeployStep},
};
use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::Method;

use crate::{Global, output, progress::Progress};

#[derive(Args)]
pub(crate) struct Options {
    /// The artifact, as `airhost build` writes it.
    file: PathBuf,
    /// A manifest for a component that has none in it.
    #[arg(long)]
    manifest: Option<PathBuf>,
    /// Allows what the manifest asks for beyond the active revision's grants.
    #[arg(long)]
    grant: bool,
    /// Goes through every check and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(global: &Global, options: &Options) -> Result<()> {
    let shown = options.file.display();
    if options.file.is_dir() {
        bail!("{shown} is a folder: `airhost build {shown}` makes the artifact to deploy");
    }
    let mut file = std::fs::read(&options.file).with_context(|| format!("cannot read {shown}"))?;
    if let Some(manifest) = &options.manifest {
        file = super::build::with_manifest(&file, manifest)?;
    }
    deploy(&global.client()?, file, options.grant, options.dry_run, global.json).await
}

/// Deploys an artifact and shows each step.
pub(crate) async fn deploy(
    client: &Client,
    file: Vec<u8>,
    grant: bool,
    dry_run: bool,
    as_json: bool,
) -> Result<()> {
    let progress = Progress::new(as_json);
    let mut refused = None;
    let mut ended = false;
    let path = format!("/v1/deploys?grant={grant}&dry_run={dry_run}");
    client
        .lines(Method::POST, &path, Bytes::from(file), |line| {
            if as_json {
                output::line(&String::from_utf8_lossy(line));
            }
            match serde_json::from_slice(line) {
                Ok(DeployEvent::Step { step, detail }) => progress.step(name(step), &detail),
                Ok(DeployEvent::Deployed {
                    service, revision, replaced, live_after_ms, ..
                }) => {
                    ended = true;
                    let old = replaced
                        .map_or_else(String::new, |old| format!(", {} has drained", old.short()));
                    progress.step(
                        "live",
                        &format!("{service} {} after {live_after_ms} ms{old}", revision.short()),
                    );
                }
                Ok(DeployEvent::Checked { service, revision }) => {
                    ended = true;
                    progress.step(
                        "checked",
                        &format!("{service} {}: nothing was changed", revision.short()),
                    );
                }
                Ok(DeployEvent::Refused { code, message, .. }) => {
                    let message = format!("refused: {message}");
                    refused = Some(ClientError::Refused { code, message });
                }
                Err(_) => {}
            }
            true
        })
        .await?;
    match refused {
        Some(refused) => Err(refused.into()),
        None if ended => Ok(()),
        None => Err(anyhow!(
            "the node went away during the deploy; `airhost status` shows which revision serves"
        )),
    }
}

fn name(step: DeployStep) -> &'static str {
    match step {
        DeployStep::Validate => "validate",
        DeployStep::Compile => "compile",
        DeployStep::Migrate => "migrate",
        DeployStep::Probe => "probe",
        DeployStep::Swap => "swap",
        DeployStep::Drain => "drain",
    }
}
