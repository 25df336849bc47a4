use anyhow::Result;
use clap::{Args, builder::NonEmptyStringValueParser};
use serde_json::Value;

use crate::{Global, output};

#[derive(Args)]
pub(crate) struct Options {
    /// The `x-correlation-id` of a response, or a trace id.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,
}

pub(crate) async fn run(global: &Global, options: &Options) -> Result<()> {
    // A space is `+` in a form, but not in a path.
    let id: String = url::form_urlencoded::byte_serialize(options.id.as_bytes()).collect();
    let id = id.replace('+', "%20");
    let trace: Value = global.client()?.get(&format!("/v1/traces/{id}")).await?;
    match trace.get("text").and_then(Value::as_str) {
        Some(text) if !global.json => {
            output::line(text.trim_end());
            Ok(())
        }
        _ => output::json(&trace),
    }
}
