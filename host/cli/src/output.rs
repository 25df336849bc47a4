//! Answers for people and for programs.

use std::io::{IsTerminal as _, Write as _};

use airhost_control::{ClientError, api::Table};
use airhost_core::codes;
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// Prints a document as JSON.
pub(crate) fn json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    line(&text);
    Ok(())
}

/// Prints a line. A reader that went away (`| head`) is no error.
pub(crate) fn line(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Prints a table with aligned columns, or as JSON.
pub(crate) fn table(table: &Table, as_json: bool) -> Result<()> {
    if as_json {
        let objects: Vec<serde_json::Map<String, Value>> = table
            .rows
            .iter()
            .map(|row| table.columns.iter().cloned().zip(row.iter().cloned()).collect())
            .collect();
        return json(&objects);
    }
    let cells: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let width = |column: usize| {
        let widest =
            cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(table.columns[column].chars().count())
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    line(&aligned(&table.columns, &widths));
    for row in &cells {
        line(&aligned(row, &widths));
    }
    Ok(())
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// One line, for a terminal: control characters would do more than show.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prints why a command failed: one sentence, then what to do.
pub(crate) fn failure(error: &anyhow::Error, as_json: bool) {
    let code = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { code, .. }) => Some(code.as_str()),
        _ => error.downcast_ref::<airhost_core::Error>().map(|error| error.code.as_ref()),
    };
    let known = code.and_then(codes::find);
    if as_json {
        let document = serde_json::json!({
            "error": format!("{error:#}"),
            "code": code,
            "remedy": known.map(|code| code.remedy),
        });
        eprintln!("{document}");
        return;
    }
    eprintln!("{}: {error:#}", paint("error", 31));
    if let Some(known) = known {
        eprintln!("  {}", known.remedy);
    }
}

/// Colours a word if standard error is a terminal that wants colours.
pub(crate) fn paint(word: &str, colour: u8) -> String {
    let plain = !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    if plain { word.to_owned() } else { format!("\x1b[{colour}m{word}\x1b[0m") }
}
