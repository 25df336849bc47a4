use airhost_control::api::{NodeStatus, ServiceStatus, Table};
use anyhow::Result;
use serde_json::json;

use crate::{Global, output};

pub(crate) async fn run(global: &Global) -> Result<()> {
    let status: NodeStatus = global.client()?.get("/v1/status").await?;
    if global.json {
        return output::json(&status);
    }
    let memory = status.rss_bytes >> 20;
    output::line(&format!(
        "node {} · airhost {} · up {} · {memory} MiB · instances are reset by {}",
        status.node,
        status.version,
        duration(status.uptime_seconds),
        status.instance_reset
    ));
    for (purpose, address) in &status.listeners {
        output::line(&format!("  {purpose:15}{address}"));
    }
    output::line("");
    let columns = [
        "SERVICE",
        "REVISION",
        "STATE",
        "INSTANCES",
        "BUSY",
        "QUEUED",
        "REQUESTS",
        "FAULTS",
        "GENERATION",
    ];
    let rows = status.services.iter().map(row).collect();
    let columns = columns.map(str::to_owned).to_vec();
    output::table(&Table { columns, rows }, false)
}

fn row(service: &ServiceStatus) -> Vec<serde_json::Value> {
    let state = match &service.reason {
        _ if service.ready => "ready".to_owned(),
        Some(reason) => reason.clone(),
        None => "not ready".to_owned(),
    };
    vec![
        json!(service.name),
        json!(service.revision.map_or_else(String::new, |revision| revision.short())),
        json!(state),
        json!(service.instances),
        json!(service.in_flight),
        json!(service.queued),
        json!(service.requests),
        json!(service.faults),
        json!(service.generation),
    ]
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
