use airhost_control::{
    ClientError,
    api::{LogLine, NodeStatus},
};
use airhost_core::{ServiceName, codes};
use anyhow::Result;
use bytes::Bytes;
use clap::{Args, value_parser};
use http::Method;
use serde_json::Value;

use crate::{Global, output};

/// What lines of the host itself have as their service.
const HOST: &str = "airhost";

#[derive(Args)]
pub(crate) struct Options {
    /// Only this service's lines; `airhost` has those of the host itself.
    service: Option<ServiceName>,
    /// Goes on with new lines until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest lines.
    #[arg(long, short = 'n', default_value_t = 100, value_parser = value_parser!(u16).range(0..=10_000))]
    last: u16,
}

pub(crate) async fn run(global: &Global, options: &Options) -> Result<()> {
    let client = global.client()?;
    let mut path = format!("/v1/logs?last={}&follow={}", options.last, options.follow);
    if let Some(service) = &options.service {
        // A name that is mistyped would look like a service that says nothing.
        let status: NodeStatus = client.get("/v1/status").await?;
        if service.as_str() != HOST && status.services.iter().all(|known| known.name != *service) {
            let code = codes::DEPLOY_UNKNOWN_SERVICE.code.to_owned();
            let message = format!("there is no service `{service}` here");
            return Err(ClientError::Refused { code, message }.into());
        }
        path += &format!("&service={service}");
    }
    client
        .lines(Method::GET, &path, Bytes::new(), |line| {
            show(line, global.json);
            true
        })
        .await?;
    Ok(())
}

/// Prints a log line: as it is, or for a person.
pub(crate) fn show(line: &[u8], as_json: bool) {
    let text = String::from_utf8_lossy(line);
    match serde_json::from_slice::<LogLine>(line) {
        Ok(fields) if !as_json => output::line(&for_person(&fields)),
        _ => output::line(&text),
    }
}

fn for_person(fields: &LogLine) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("time").get(11..23).unwrap_or_default();
    let mut line = format!("{time} {:5} {:18} {}", text("level"), text("service"), text("message"));
    if let Some(Value::Object(details)) = fields.get("fields") {
        for (name, value) in details {
            line += &format!(" {name}={value}");
        }
    }
    if let Some(id) = fields.get("correlation_id").and_then(Value::as_str) {
        line += &format!(" ({id})");
    }
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
