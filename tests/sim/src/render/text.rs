//! Cells as text, for `cellFormat=string`.

use jiff::tz::TimeZone;

use super::Reader;
use crate::formula::{Value, format_date};
use crate::model::{Field, Kind, Record, Table};

/// How dates and times are written.
#[derive(Debug, Clone)]
pub(crate) struct TextStyle {
    pub(crate) zone: TimeZone,
    /// `en-gb` puts the day first, `en-us` the month.
    pub(crate) locale: String,
}

impl Reader<'_> {
    /// The cell as people see it; none when it is empty.
    pub(crate) fn text(
        &self,
        table: &Table,
        record: &Record,
        field: &Field,
        style: &TextStyle,
    ) -> Option<String> {
        let Ok(value) = self.value(table, record, field) else { return Some("#ERROR!".to_owned()) };
        let text = match (field.kind, &value) {
            (_, Value::Blank | Value::Bool(false)) => return None,
            (Kind::Checkbox, _) => "checked".to_owned(),
            (Kind::Currency, Value::Num(n)) => {
                let symbol = field.option("symbol").unwrap_or("$");
                let sign = if *n < 0.0 { "-" } else { "" };
                format!("{sign}{symbol}{:.*}", field.precision(), n.abs())
            }
            (Kind::Percent, Value::Num(n)) => format!("{:.*}%", field.precision(), n * 100.0),
            (Kind::Number, Value::Num(n)) => format!("{n:.*}", field.precision()),
            (Kind::Duration, Value::Num(n)) => duration(*n, field.option("durationFormat")),
            (_, Value::Date(date)) => {
                let timed = date.has_time;
                let zone = if timed { style.zone.clone() } else { TimeZone::UTC };
                format_date(&date.at.to_zoned(zone), &pattern(field, timed, &style.locale))
            }
            _ => value.to_text(),
        };
        (!text.is_empty()).then_some(text)
    }
}

fn duration(seconds: f64, format: Option<&str>) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let total = seconds.abs() as u64;
    let (hours, minutes) = (total / 3600, total / 60 % 60);
    match format {
        Some(with_seconds) if with_seconds.starts_with("h:mm:ss") => {
            format!("{sign}{hours}:{minutes:02}:{:02}", total % 60)
        }
        _ => format!("{sign}{hours}:{minutes:02}"),
    }
}

/// The pattern of a date column: its own, or the locale's when it says `local`.
fn pattern(field: &Field, timed: bool, locale: &str) -> String {
    let own = |group: &str| {
        let options = field.options.get("result").and_then(|result| result.get("options"));
        let format = field.options.get(group).or_else(|| options?.get(group))?;
        format.get("format")?.as_str()
    };
    let local = if locale.eq_ignore_ascii_case("en-us") { "M/D/YYYY" } else { "DD/MM/YYYY" };
    let day = own("dateFormat").filter(|format| *format != "l").unwrap_or(local);
    if timed { format!("{day} {}", own("timeFormat").unwrap_or("h:mma")) } else { day.to_owned() }
}
