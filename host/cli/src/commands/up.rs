use std::{net::SocketAddr, path::PathBuf, time::Duration};

use airhost_node::{
    Node, Ready,
    config::{Config, LogOutput},
};
use airhost_sim::Sim;
use anyhow::{Context as _, Result};
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{Global, output, progress::Progress};

#[derive(Args)]
pub(crate) struct Options {
    /// The configuration file; `airhost.toml` in this folder if it is there.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder of artifacts to run; those that serve already, at their latest revision, if none.
    #[arg(long)]
    components: Option<PathBuf>,
    /// Where clients come in.
    #[arg(long)]
    gateway: Option<SocketAddr>,
    /// Where `airhost deploy` and the others come in.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Where probes and metrics are.
    #[arg(long)]
    observability: Option<SocketAddr>,
    /// Where log lines go: `file` (in the state folder), `json` (standard output), `text`.
    #[arg(long, value_parser = log_output)]
    log: Option<LogOutput>,
    /// A JSON file of bases for the simulator instead of its own; read at the first start only.
    #[arg(long)]
    bases: Option<PathBuf>,
}

/// Signals this soon after the first are the same wish.
const ECHO: Duration = Duration::from_millis(300);

fn log_output(text: &str) -> Result<LogOutput, String> {
    match text {
        "file" => Ok(LogOutput::File),
        "json" => Ok(LogOutput::Json),
        "text" => Ok(LogOutput::Text),
        _ => Err("must be file, json or text".into()),
    }
}

pub(crate) async fn run(global: &Global, options: Options) -> Result<()> {
    let mut stop = Signals::new()?;
    let progress = Progress::new(global.json);
    let mut config = super::config::load_for(global, options.config.as_deref())?;
    apply(&mut config, &options);
    // Before the simulator writes there: who has the folder is asked once.
    airhost_node::check_state(&config.node.state)?;

    let simulator = match config.airtable.live {
        true => None,
        false => {
            let simulator =
                super::sim::for_platform(options.bases.as_deref(), &simulated(&config)).await;
            Some(simulator.context("the simulator of Airtable cannot start")?)
        }
    };
    if let Some(simulator) = &simulator {
        let base = format!("http://{}", simulator.addr());
        for host in ["api.airtable.com", "content.airtable.com"] {
            config.overrides.insert(host.to_owned(), base.clone());
        }
    }
    let start = Node::start(config, options.components.as_deref(), |what, detail| {
        progress.step(what, detail)
    });
    let node = tokio::select! {
        node = start => node?,
        () = stop.next() => return Ok(()),
    };
    let connection = simulator.as_ref().map(|_| super::sim::demo_connection());
    let ready = match node.bootstrap(connection).await {
        Ok(ready) => ready,
        Err(error) => {
            node.shutdown().await;
            return Err(error).context("the first user could not be made");
        }
    };
    progress.done("ready");
    if global.json {
        let mut ready = serde_json::to_value(&ready)?;
        ready["simulator"] = simulator.as_ref().map(Sim::url).into();
        output::line(&ready.to_string());
    } else {
        introduce(&ready, simulator.as_ref());
    }

    stop.next().await;
    let progress = Progress::new(global.json);
    progress.step("drain", "waiting for requests in flight; Ctrl-C again stops at once");
    let impatient = async {
        // One Ctrl-C arrives twice where a supervisor passes on what the terminal also sends.
        let echo = Instant::now() + ECHO;
        loop {
            stop.next().await;
            if Instant::now() >= echo {
                break;
            }
        }
    };
    let drained = async {
        node.shutdown().await;
        if let Some(simulator) = simulator {
            simulator.shutdown().await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = impatient => anyhow::bail!("stopped before requests in flight were answered"),
    }
    progress.done("stopped");
    Ok(())
}

/// Where the simulator keeps its data.
fn simulated(config: &Config) -> PathBuf {
    config.node.state.join("simulator").join("airtable.json")
}

fn apply(config: &mut Config, options: &Options) {
    let listeners = &mut config.listeners;
    for (own, given) in [
        (&mut listeners.gateway, options.gateway),
        (&mut listeners.admin, options.admin),
        (&mut listeners.observability, options.observability),
    ] {
        if let Some(given) = given {
            *own = given;
        }
    }
    if let Some(output) = options.log {
        config.log.output = output;
    }
}

/// Ctrl-C and what supervisors send.
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Says where everything is, and what to type.
fn introduce(ready: &Ready, simulator: Option<&Sim>) {
    let Ready { gateway, admin, observability, state, token, user, base, table, .. } = ready;
    let mut lines = vec![
        String::new(),
        format!("  gateway        {gateway}   (API reference: {gateway}/docs)"),
        format!("  observability  {observability}/metrics"),
        format!(
            "  admin          {admin}   (token in {}; `airhost status`)",
            state.join("admin.json").display()
        ),
        format!(
            "  state          {}   (log: {})",
            state.display(),
            state.join("airhost.log").display()
        ),
    ];
    if let Some(simulator) = simulator {
        lines.push(format!(
            "  airtable       simulator at http://{}: no token for the real one is configured",
            simulator.addr()
        ));
    }
    lines.push(String::new());
    lines.push(format!("  user           {}", user.email));
    if let Some(password) = &user.password {
        lines.push(format!("  password       {password}"));
    }
    if let Some(token) = token {
        lines.push(format!("  token          {token}   (kept in the state folder)"));
    }
    if let (Some(token), Some(base), Some(table)) = (token, base, table) {
        let path: String = url::form_urlencoded::byte_serialize(table.as_bytes())
            .collect::<String>()
            .replace('+', "%20");
        lines.extend([
            String::new(),
            "  Try it:".to_owned(),
            String::new(),
            format!("curl -s -H 'Authorization: Bearer {token}' '{gateway}/v0/{base}/{path}?maxRecords=3'"),
            String::new(),
            "pip install pyairtable; python3 - <<'END'".to_owned(),
            "from pyairtable import Api".to_owned(),
            format!("table = Api('{token}', endpoint_url='{gateway}').table('{base}', '{table}')"),
            "print(table.first())".to_owned(),
            "END".to_owned(),
        ]);
    }
    lines.push(String::new());
    lines.push("  Ctrl-C stops; what was written is kept for the next start.".to_owned());
    for line in lines {
        output::line(&line);
    }
}
