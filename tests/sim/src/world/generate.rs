//! Records made by rule, for large tables.

use jiff::Span;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::model::Object;

/// How to make the records of a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    count: u32,
    fields: indexmap::IndexMap<String, Rule>,
}

/// How to make the cells of one column from the record's number, which counts from one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Rule {
    /// A text in which `{n}` is the number and `{n4}` the number in four digits.
    Text(String),
    /// The values in turn; null leaves the cell empty.
    Cycle(Vec<Json>),
    /// `start + step * (n - 1)`, starting again at `modulo`.
    Number {
        #[serde(default)]
        start: f64,
        step: f64,
        #[serde(default)]
        modulo: Option<f64>,
    },
    /// Days apart from a first date.
    #[serde(rename_all = "camelCase")]
    Date { start: Date, step_days: i64, modulo_days: i64 },
}

impl Recipe {
    pub(super) fn records(self) -> impl Iterator<Item = Object> {
        (1..=self.count.min(50_000)).map(move |n| {
            let cells = self.fields.iter().map(|(name, rule)| (name.clone(), rule.cell(n)));
            cells.filter(|(_, cell)| !cell.is_null()).collect()
        })
    }
}

impl Rule {
    fn cell(&self, n: u32) -> Json {
        let before = i64::from(n) - 1;
        match self {
            Self::Text(text) => {
                json!(text.replace("{n}", &n.to_string()).replace("{n4}", &format!("{n:04}")))
            }
            Self::Cycle(values) if values.is_empty() => Json::Null,
            Self::Cycle(values) => values[(n as usize - 1) % values.len()].clone(),
            Self::Number { start, step, modulo } => {
                let number = start + step * before as f64;
                crate::render::number_json(modulo.map_or(number, |modulo| number % modulo))
            }
            Self::Date { start, step_days, modulo_days } => {
                let days = before.saturating_mul(*step_days) % (*modulo_days).max(1);
                let date = Span::new().try_days(days).and_then(|span| start.checked_add(span));
                date.map_or(Json::Null, |date| json!(date.to_string()))
            }
        }
    }
}
