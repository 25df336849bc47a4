//! Read-only looks into what a service keeps.

use airhost_control::api::Table;
use anyhow::Result;
use clap::Args;
use url::form_urlencoded::Serializer;

use crate::{Global, output};

#[derive(Args)]
pub(crate) struct SqlOptions {
    /// The service whose database it is.
    service: String,
    /// One SELECT.
    statement: String,
}

#[derive(Args)]
pub(crate) struct KvOptions {
    /// The service whose keys they are.
    service: String,
    /// Only keys that begin with this: `<tenant>/…`.
    #[arg(default_value = "")]
    prefix: String,
}

#[derive(Args)]
pub(crate) struct EventsOptions {
    /// Only this topic's events.
    topic: Option<String>,
    /// How many of the newest.
    #[arg(long, short = 'n', default_value_t = 20)]
    last: usize,
}

pub(crate) async fn sql(global: &Global, options: &SqlOptions) -> Result<()> {
    let query = Serializer::new(String::new()).append_pair("q", &options.statement).finish();
    show(global, &format!("/v1/services/{}/sql?{query}", options.service)).await
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
    output::table(&table, global.json)
}
