//! Answers for people and for programs.

use std::io::{ErrorKind, IsTerminal, Write as _};

use airhost_control::{ClientError, api::Table};
use airhost_core::codes;
use airhost_node::StartError;
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// Prints a document as JSON.
pub(crate) fn json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    line(&text);
    Ok(())
}

/// Prints a line. A reader that went away (`| head`) is no error; a full disk is one.
pub(crate) fn line(text: &str) {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("{}: cannot write the answer: {error}", paint("error", 31));
            std::process::exit(1);
        }
    }
}

/// Prints a table that the host makes up: its columns are names in JSON and headings for people.
pub(crate) fn titled(mut table: Table, as_json: bool) -> Result<()> {
    if !as_json {
        for column in &mut table.columns {
            *column = column.replace('_', " ").to_uppercase();
        }
    }
    self::table(&table, as_json)
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
    let code = code(error);
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
    // A file may have several faults, each with a line of its own.
    let text = format!("{error:#}").replace('\n', "\n  ");
    eprintln!("{}: {text}", paint("error", 31));
    if let Some(known) = known {
        eprintln!("  {}", known.remedy);
    }
}

/// The stable code of what failed, if it has one.
fn code(error: &anyhow::Error) -> Option<&str> {
    if let Some(ClientError::Refused { code, .. }) = error.downcast_ref() {
        return Some(code);
    }
    if let Some(StartError::Step(error)) = error.downcast_ref() {
        return Some(&error.code);
    }
    error.downcast_ref::<airhost_core::Error>().map(|error| error.code.as_ref())
}

/// Colours a word for standard error, if that is a terminal that wants colours.
pub(crate) fn paint(word: &str, colour: u8) -> String {
    coloured(word, colour, &std::io::stderr())
}

/// Colours a word for standard output, if that is a terminal that wants colours.
pub(crate) fn paint_answer(word: &str, colour: u8) -> String {
    coloured(word, colour, &std::io::stdout())
}

fn coloured(word: &str, colour: u8, stream: &impl IsTerminal) -> String {
    let set = |name| std::env::var_os(name).unwrap_or_default();
    let plain = !stream.is_terminal() || !set("NO_COLOR").is_empty() || set("TERM") == "dumb";
    if plain { word.to_owned() } else { format!("\x1b[{colour}m{word}\x1b[0m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_code() {
        let refused = ClientError::Refused { code: "deploy.busy".into(), message: "no".into() };
        let step = codes::DEPLOY_NOTHING.error("there is nothing");
        let rows: [(anyhow::Error, Option<&str>); 5] = [
            (refused.into(), Some("deploy.busy")),
            (StartError::Step(step.clone()).into(), Some("deploy.nothing")),
            (step.clone().into(), Some("deploy.nothing")),
            (anyhow::Error::from(step).context("more"), Some("deploy.nothing")),
            (anyhow::anyhow!("plain"), None),
        ];
        for (error, expected) in rows {
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }
}
