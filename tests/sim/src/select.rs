//! Listing records: parameters, filter, order and pages.

mod iterators;
mod params;

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::formula::{EvalError, Formula, Value, zone_named};
use crate::model::{Direction, Field, Kind, Object, Record, SortKey, Table};
use crate::render::{Reader, TextStyle};
use crate::reply::{ApiError, ApiResult};

pub(crate) use iterators::Iterators;
pub(crate) use params::ListParams;

/// In which form cells are answered.
#[derive(Debug, Clone)]
pub(crate) struct CellForm {
    pub(crate) by_id: bool,
    /// Set for `cellFormat=string`.
    pub(crate) text: Option<TextStyle>,
    /// Ids of the only fields wanted.
    pub(crate) fields: Option<Vec<String>>,
    pub(crate) comment_count: bool,
}

impl CellForm {
    /// The form that a request's parameters ask for.
    pub(crate) fn of(params: &ListParams, table: &Table) -> ApiResult<Self> {
        let text = match params.cell_format.as_deref() {
            None | Some("json") => None,
            Some("string") => {
                let (Some(zone), Some(locale)) = (&params.time_zone, &params.user_locale) else {
                    return Err(ApiError::request(
                        "The timeZone and userLocale parameters are required when using string \
                         cellFormat",
                    ));
                };
                let zone = zone_named(zone)
                    .ok_or_else(|| ApiError::request(format!("Unknown time zone {zone}")))?;
                Some(TextStyle { zone, locale: locale.clone() })
            }
            Some(_) => return Err(ApiError::bad_parameters()),
        };
        let fields = match &params.fields {
            None => None,
            Some(names) => {
                Some(names.iter().map(|n| field_id(table, n)).collect::<ApiResult<_>>()?)
            }
        };
        Ok(Self { by_id: params.by_id, text, fields, comment_count: params.comment_count })
    }

    /// Cells as JSON values, keyed by name or id.
    pub(crate) fn plain(by_id: bool) -> Self {
        Self { by_id, text: None, fields: None, comment_count: false }
    }

    /// A record in an answer.
    pub(crate) fn record(&self, reader: &Reader<'_>, table: &Table, record: &Record) -> Json {
        let mut cells = Object::new();
        for field in table.fields.values() {
            if self.fields.as_ref().is_some_and(|wanted| !wanted.contains(&field.id)) {
                continue;
            }
            let cell = match &self.text {
                None => reader.json(table, record, field),
                Some(style) => reader.text(table, record, field, style).map(Json::String),
            };
            if let Some(cell) = cell {
                let key = if self.by_id { &field.id } else { &field.name };
                cells.insert(key.clone(), cell);
            }
        }
        let mut out = json!({
            "id": record.id,
            "createdTime": crate::clock::iso(record.created),
            "fields": cells,
        });
        if self.comment_count {
            out["commentCount"] = json!(record.comments.len());
        }
        out
    }
}

fn field_id(table: &Table, name: &str) -> ApiResult<String> {
    table.field(name).map(|f| f.id.clone()).ok_or_else(|| ApiError::unknown_field(name))
}

/// Ids of the records that a list selects, in order.
pub(crate) fn select(
    reader: &Reader<'_>,
    table: &Table,
    params: &ListParams,
) -> ApiResult<Vec<String>> {
    let view = match params.view.as_deref().filter(|view| !view.is_empty()) {
        None => None,
        Some(key) => Some(table.view(key).ok_or_else(|| {
            ApiError::invalid("VIEW_NAME_NOT_FOUND", format!("View \"{key}\" not found"))
        })?),
    };
    let filter = match params.filter.as_deref().filter(|text| !text.trim().is_empty()) {
        None => None,
        Some(text) => {
            let resolve = |name: &str| table.field(name).map(|field| field.id.clone());
            let compiled = Formula::compile(text, &resolve);
            Some(compiled.map_err(|error| ApiError::formula(&error.to_string()))?)
        }
    };
    let mut sort = Vec::new();
    for (name, direction) in &params.sort {
        sort.push(SortKey { field: field_id(table, name)?, direction: *direction });
    }
    if let Some(view) = view.filter(|_| sort.is_empty()) {
        sort.clone_from(&view.sort);
    }
    let filters = [view.and_then(|view| view.filter.as_deref()), filter.as_ref()];
    let mut found = Vec::new();
    'records: for record in table.records.values().map(Arc::as_ref) {
        for filter in filters.into_iter().flatten() {
            match filter.evaluate(&reader.env(table, record)) {
                Ok(value) if value.truthy() => {}
                Ok(_) | Err(EvalError::Error) => continue 'records,
                Err(error) => return Err(ApiError::formula(&error.to_string())),
            }
        }
        found.push(record);
    }
    if !sort.is_empty() {
        found = ordered(reader, table, found, &sort);
    }
    let most = params.max_records.unwrap_or(usize::MAX);
    Ok(found.into_iter().take(most).map(|record| record.id.clone()).collect())
}

fn ordered<'a>(
    reader: &Reader<'_>,
    table: &Table,
    records: Vec<&'a Record>,
    sort: &[SortKey],
) -> Vec<&'a Record> {
    let keys: Vec<_> = sort
        .iter()
        .filter_map(|key| Some((table.fields.get(&key.field)?, key.direction)))
        .collect();
    let mut keyed: Vec<_> = records
        .into_iter()
        .map(|record| {
            let values: Vec<_> =
                keys.iter().map(|(field, _)| sort_key(reader, table, record, field)).collect();
            (values, record)
        })
        .collect();
    keyed.sort_by(|(left, _), (right, _)| {
        let pairs = left.iter().zip(right).zip(&keys);
        pairs
            .map(|((left, right), (_, direction))| {
                let order = left.cmp(right);
                if *direction == Direction::Desc { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    keyed.into_iter().map(|(_, record)| record).collect()
}

/// A cell in an order: empty cells come first, numbers before texts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Empty,
    Number(Total),
    /// Case counts only between texts that are otherwise equal.
    Text(String, String),
}

/// A number in a total order.
#[derive(Debug)]
struct Total(f64);

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

fn sort_key(reader: &Reader<'_>, table: &Table, record: &Record, field: &Field) -> Rank {
    let value = reader.value(table, record, field).unwrap_or(Value::Blank);
    match value {
        Value::Num(number) => Rank::Number(Total(number)),
        Value::Bool(false) => Rank::Empty,
        Value::Bool(true) => Rank::Number(Total(1.0)),
        Value::Date(date) => Rank::Number(Total(date.at.as_millisecond() as f64)),
        value if value.is_blank() => Rank::Empty,
        value => {
            let text = value.to_text();
            if field.kind == Kind::SingleSelect {
                // Choices sort in the order in which the column lists them.
                if let Some(at) = field.choices().position(|choice| choice == text) {
                    return Rank::Number(Total(at as f64));
                }
            }
            Rank::Text(text.to_lowercase(), text)
        }
    }
}
