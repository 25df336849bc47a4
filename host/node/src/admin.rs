//! What the admin API asks, answered by this node.

use std::{sync::Arc, time::Duration};

use airhost_control::{
    Admin, Deployer,
    api::{DeployEvent, DeployOptions, NodeStatus, ServiceStatus, Table},
};
use airhost_core::{Deadline, Result, ServiceName, codes};
use airhost_mesh::Gateway;
use airhost_runtime::PoolStatus;
use airhost_storage::sql::{Rows, Value, read_only_query};
use airhost_telemetry::{
    log::{Followed, Logs},
    spawn_named,
    trace::Tree,
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    platform::NodePlatform,
    services::{Services, known},
};

/// Time for a look into a store.
const LOOK: Duration = Duration::from_secs(10);
/// Most keys that are shown.
const MOST_KEYS: u32 = 500;
/// Lines that wait for a reader.
const LINES: usize = 256;

/// The node behind the admin API.
pub(crate) struct NodeAdmin {
    pub(crate) services: Arc<Services>,
    pub(crate) deployer: Arc<Deployer<NodePlatform>>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) started: Instant,
    pub(crate) listeners: Arc<RwLock<Vec<(String, String)>>>,
}

#[async_trait]
impl Admin for NodeAdmin {
    async fn status(&self) -> NodeStatus {
        let runtime = self.services.runtime.status();
        let mut services = Vec::new();
        for service in self.services.all() {
            let name = &service.manifest.name;
            let seen = runtime.services.iter().find(|seen| seen.service == *name);
            services.push(ServiceStatus {
                name: name.clone(),
                team: service.manifest.team.clone(),
                port: service.manifest.port,
                ready: seen.is_some(),
                reason: seen.is_none().then(|| "no revision serves".to_owned()),
                revision: Some(service.revision),
                generation: seen.map_or(0, |seen| seen.generation),
                instances: seen.map_or_else(String::new, |seen| instances(&seen.pools)),
                in_flight: seen.map_or(0, |seen| seen.sum(|pool| pool.in_flight as u64)),
                queued: seen.map_or(0, |seen| seen.sum(|pool| pool.waiting as u64)),
                requests: seen.map_or(0, |seen| seen.sum(|pool| pool.calls)),
                faults: seen.map_or(0, |seen| seen.sum(|pool| pool.failed)),
                grants: service.manifest.grants().imports().map(str::to_owned).collect(),
            });
        }
        NodeStatus {
            node: self.services.config.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            instance_reset: runtime.reset.reason.clone(),
            rss_bytes: resident(),
            listeners: self.listeners.read().clone(),
            services,
        }
    }

    async fn deploy(
        &self,
        artifact: Bytes,
        options: DeployOptions,
        events: mpsc::Sender<DeployEvent>,
    ) {
        let refused = self.deployer.deploy(artifact, &options, &events).await.err();
        if let Some(error) = refused {
            tracing::warn!(%error, "a deploy was refused");
        }
    }

    fn logs(&self, service: Option<&str>, last: usize, follow: bool) -> mpsc::Receiver<Arc<str>> {
        let (sender, receiver) = mpsc::channel(LINES);
        let logs = self.services.engines.telemetry.logs.clone();
        let names: Vec<String> = match service {
            Some(name) => vec![name.to_owned()],
            None => {
                let services = self.services.all();
                let names =
                    services.iter().map(|service| service.manifest.name.as_str().to_owned());
                names.chain([airhost_telemetry::log::HOST.to_owned()]).collect()
            }
        };
        spawn_named("admin-logs", async move {
            send_recent(&logs, &names, last, &sender).await;
            if follow {
                let each = names.iter().map(|name| follow_one(&logs, name, &sender));
                futures_util::future::join_all(each).await;
            }
        });
        receiver
    }

    fn trace(&self, id: &str) -> Result<serde_json::Value> {
        let traces = &self.services.engines.telemetry.traces;
        let mut trace_id = [0; 16];
        let mut spans = traces.by_correlation(id);
        if spans.is_empty() && hex::decode_to_slice(id, &mut trace_id).is_ok() {
            spans = traces.by_trace(&trace_id);
        }
        if spans.is_empty() {
            return Err(
                codes::TRACE_NOT_FOUND.error(format!("there are no spans of `{id}` on this node"))
            );
        }
        let tree = Tree::new(spans);
        Ok(json!({ "text": tree.to_string(), "spans": tree }))
    }

    fn routes(&self) -> Table {
        let columns = ["name", "path", "methods", "service", "auth"].map(str::to_owned).to_vec();
        let table = self.gateway.routes();
        let row = |route: &Arc<airhost_mesh::Route>| {
            let methods: Vec<&str> = route.methods().iter().map(http::Method::as_str).collect();
            let methods = if methods.is_empty() { "any".to_owned() } else { methods.join(" ") };
            vec![
                json!(route.name()),
                json!(route.paths().join(" ")),
                json!(methods),
                json!(route.service()),
                json!(route.auth().as_str()),
            ]
        };
        Table { columns, rows: table.routes().iter().map(row).collect() }
    }

    async fn sql(&self, service: &ServiceName, statement: &str) -> Result<Table> {
        let manifest = Arc::clone(&known(&self.services, service)?.manifest);
        let Some(database) = &manifest.stores.sql else {
            return Err(codes::SQL_UNAVAILABLE.error(format!("{service} has no database")));
        };
        let path = self.services.engines.database_path(database.as_str());
        let statement = statement.to_owned();
        let query = move || read_only_query(&path, &statement, Deadline::after(LOOK));
        let rows = tokio::task::spawn_blocking(query)
            .await
            .map_err(|_| codes::INTERNAL.error("the query ended unexpectedly"))??;
        Ok(table(rows))
    }

    async fn kv(&self, service: &ServiceName, prefix: &str) -> Result<Table> {
        known(&self.services, service)?;
        let own = format!("{service}/");
        let kv = &self.services.engines.kv;
        let keys = kv.scan(&format!("{own}{prefix}"), None, MOST_KEYS).await?;
        let mut rows = Vec::new();
        for key in keys {
            // Counters, lists and limits are no values: they are named only.
            let entry = kv.get(&key).await.ok().flatten();
            let shown = key.strip_prefix(&own).unwrap_or(&key);
            rows.push(vec![
                json!(shown),
                entry
                    .as_ref()
                    .map_or(json!(null), |entry| json!(String::from_utf8_lossy(&entry.value))),
                entry
                    .and_then(|entry| entry.expires_in)
                    .map_or(json!(null), |left| json!(left.as_secs())),
            ]);
        }
        Ok(Table {
            columns: ["key", "value", "expires_in_seconds"].map(str::to_owned).to_vec(),
            rows,
        })
    }

    async fn events(&self, topic: Option<&str>, last: usize) -> Result<Table> {
        let topics: Vec<String> = topic.map(str::to_owned).into_iter().collect();
        let records = self.services.engines.bus.tail(&topics, None, last.min(1000)).await?;
        let columns = ["position", "time", "topic", "subject", "tenant", "source", "data"];
        let row = |record: airhost_events::bus::Record| {
            let event = &record.event;
            vec![
                json!(record.position),
                json!(time(event.time)),
                json!(event.topic),
                json!(event.subject),
                json!(event.tenant.as_ref().map(|tenant| tenant.as_str().to_owned())),
                json!(event.source.rsplit('/').next()),
                json!(event.data.get()),
            ]
        };
        Ok(Table {
            columns: columns.map(str::to_owned).to_vec(),
            rows: records.into_iter().map(row).collect(),
        })
    }
}

/// The newest lines of several services, by time.
async fn send_recent(logs: &Logs, names: &[String], last: usize, sender: &mpsc::Sender<Arc<str>>) {
    let mut lines: Vec<Arc<str>> = names.iter().flat_map(|name| logs.recent(name)).collect();
    // Every line begins with its time.
    lines.sort();
    for line in lines.split_off(lines.len().saturating_sub(last)) {
        if sender.send(line).await.is_err() {
            return;
        }
    }
}

/// Lines to come, until nobody reads them.
async fn follow_one(logs: &Logs, name: &str, sender: &mpsc::Sender<Arc<str>>) {
    let mut follow = logs.follow(name);
    let already = logs.recent(name).len();
    let mut seen = 0;
    loop {
        let next = tokio::select! {
            next = follow.next() => next,
            () = sender.closed() => return,
        };
        let line: Arc<str> = match next {
            None => return,
            Some(Followed::Line(_)) if seen < already => {
                seen += 1;
                continue;
            }
            Some(Followed::Line(line)) => line,
            Some(Followed::Missed(lines)) => {
                json!({ "service": name, "message": format!("{lines} lines came too fast to be shown") })
                    .to_string()
                    .into()
            }
        };
        if sender.send(line).await.is_err() {
            return;
        }
    }
}

fn table(rows: Rows) -> Table {
    let cell = |value: Value| match value {
        Value::Null => json!(null),
        Value::Boolean(value) => json!(value),
        Value::Bigint(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::Timestamp(micros) => json!(time(micros)),
        Value::Text(text) | Value::Uuid(text) | Value::Decimal(text) | Value::Json(text) => {
            json!(text)
        }
        Value::Bytes(bytes) => json!(format!("x'{}'", hex::encode(bytes))),
    };
    Table {
        columns: rows.columns.to_vec(),
        rows: rows.rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect(),
    }
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| micros.to_string(), |time| time.to_string())
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// How instances live, and why; of a service with several pools, pool by pool.
fn instances(pools: &[PoolStatus]) -> String {
    let of = |pool: &PoolStatus| {
        let mode = if pool.mode.fresh { "fresh" } else { "warm" };
        format!("{mode}: {}", pool.mode.reason)
    };
    match pools {
        [only] => of(only),
        pools => {
            let pools = pools.iter().map(|pool| format!("{} {}", pool.name, of(pool)));
            pools.collect::<Vec<_>>().join("; ")
        }
    }
}
