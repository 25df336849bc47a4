use airhost_core::codes::{self, Code};
use anyhow::{Result, bail};
use clap::Args;

use crate::{Global, output};

#[derive(Args)]
pub(crate) struct Options {
    /// The code, as `sql.unique-violation`, or an area, as `sql`; all codes if none.
    code: Option<String>,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    let wanted = options.code.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    let wanted = wanted.trim_matches(['(', ')', '`', '.']);
    if let Some(code) = codes::find(wanted) {
        return if global.json { output::json(&document(code)) } else { show(code) };
    }
    let area = |code: &&&Code| wanted.is_empty() || code.code.split('.').next() == Some(wanted);
    let all: Vec<&Code> = codes::all().collect();
    let listed: Vec<&&Code> = all.iter().filter(area).collect();
    if listed.is_empty() {
        bail!(
            "the host has no error code `{wanted}`: `airhost explain` lists its codes, and those of a service are in the API reference of the gateway"
        );
    }
    if global.json {
        return output::json(&listed.iter().map(|code| document(code)).collect::<Vec<_>>());
    }
    for code in listed {
        output::line(&format!("{:32}{}", code.code, code.meaning));
    }
    Ok(())
}

fn show(code: &Code) -> Result<()> {
    output::line(&format!(
        "{} ({}, answered as HTTP {})",
        code.code,
        code.class.as_str(),
        status(code)
    ));
    output::line(&format!("  means: {}", code.meaning));
    output::line(&format!("  to do: {}", code.remedy));
    Ok(())
}

fn document(code: &Code) -> serde_json::Value {
    serde_json::json!({
        "code": code.code,
        "class": code.class.as_str(),
        "status": status(code),
        "meaning": code.meaning,
        "remedy": code.remedy,
    })
}

fn status(code: &Code) -> u16 {
    code.status.unwrap_or_else(|| code.class.status()).as_u16()
}
