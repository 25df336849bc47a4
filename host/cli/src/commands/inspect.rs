//! Read-only looks into what a service keeps.

use airhost_control::api::Table;
use airhost_core::ServiceName;
use anyhow::Result;
use clap::{Args, value_parser};
use url::form_urlencoded::Serializer;

use crate::{Global, output};

/// What a database has; the host keeps it in a table of its own.
const TABLES: &str = "SELECT table_name, column_name, type FROM _airhost_columns \
    ORDER BY table_name, column_name";

#[derive(Args)]
pub(crate) struct SqlOptions {
    /// The service whose database it is.
    service: ServiceName,
    /// One SELECT; the tables and their columns if none.
    #[arg(default_value = TABLES, hide_default_value = true)]
    statement: String,
}

#[derive(Args)]
pub(crate) struct KvOptions {
    /// The service whose keys they are.
    service: ServiceName,
    /// Only keys that begin with this: `<tenant>/…`.
    #[arg(default_value = "")]
    prefix: String,
}

#[derive(Args)]
pub(crate) struct EventsOptions {
    /// Only this topic's events.
    topic: Option<String>,
    /// How many of the newest.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = value_parser!(u16).range(0..=1000))]
    last: u16,
}

pub(crate) async fn sql(global: &Global, options: &SqlOptions) -> Result<()> {
    let query = Serializer::new(String::new()).append_pair("q", &options.statement).finish();
    let path = format!("/v1/services/{}/sql?{query}", options.service);
    output::table(&global.client()?.get(&path).await?, global.json)
}

pub(crate) async fn kv(global: &Global, options: &KvOptions) -> Result<()> {
    let query = Serializer::new(String::new()).append_pair("prefix", &options.prefix).finish();
    show(global, &format!("/v1/services/{}/kv?{query}", options.service)).await
}

pub(crate) async fn events(global: &Global, options: &EventsOptions) -> Result<()> {
    let mut query = Serializer::new(String::new());
    query.append_pair("last", &options.last.to_string());
    if let Some(topic) = &options.topic {
        query.append_pair("topic", topic);
    }
    show(global, &format!("/v1/events?{}", query.finish())).await
}

async fn show(global: &Global, path: &str) -> Result<()> {
    let table: Table = global.client()?.get(path).await?;
    output::titled(table, global.json)
}
