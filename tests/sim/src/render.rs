//! Reading cells: as formula values, as JSON and as text.

mod text;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::clock::iso;
use crate::formula::{Budget, DateValue, Env, EvalError, Value, parse_date_text};
use crate::model::{Base, Field, Kind, Object, Record, Table, Users};

pub(crate) use text::TextStyle;

/// Depth that one step from column to column costs of the evaluator's bound.
const COLUMN_DEPTH: u32 = 8;
/// Steps that reading one linked record costs of the request's budget.
const HOP_COST: usize = 10;

/// Reads the cells of one base at one moment, within one budget.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) base: &'a Base,
    pub(crate) users: &'a Users,
    pub(crate) now: Timestamp,
    pub(crate) budget: Budget,
}

/// One record as a formula sees it.
pub(crate) struct CellEnv<'a> {
    pub(crate) reader: &'a Reader<'a>,
    pub(crate) table: &'a Table,
    pub(crate) record: &'a Record,
    values: Value,
}

impl Env for CellEnv<'_> {
    fn field(&self, id: &str) -> Result<Value, EvalError> {
        let field = self.table.fields.get(id).ok_or(EvalError::Error)?;
        self.reader.value(self.table, self.record, field)
    }

    fn record_id(&self) -> &str {
        &self.record.id
    }

    fn created(&self) -> Timestamp {
        self.record.created
    }

    fn modified(&self, fields: &[&str]) -> Option<Timestamp> {
        modified(self.record, fields)
    }

    fn now(&self) -> Timestamp {
        self.reader.now
    }

    fn values(&self) -> Value {
        self.values.clone()
    }

    fn budget(&self) -> &Budget {
        &self.reader.budget
    }
}

/// When the named cells (all when none is named) changed last.
fn modified(record: &Record, fields: &[&str]) -> Option<Timestamp> {
    if fields.is_empty() {
        return record.modified;
    }
    fields.iter().filter_map(|field| record.written.get(*field)).max().copied()
}

impl<'a> Reader<'a> {
    pub(crate) fn new(base: &'a Base, users: &'a Users, now: Timestamp) -> Self {
        Self { base, users, now, budget: Budget::default() }
    }

    /// The record as a formula's environment.
    pub(crate) fn env(&'a self, table: &'a Table, record: &'a Record) -> CellEnv<'a> {
        CellEnv { reader: self, table, record, values: Value::Blank }
    }

    /// The value of a cell in formulas.
    pub(crate) fn value(
        &self,
        table: &Table,
        record: &Record,
        field: &Field,
    ) -> Result<Value, EvalError> {
        self.budget.spend(1)?;
        match field.kind {
            Kind::Formula | Kind::Rollup => {
                let formula = field.formula.as_ref().ok_or(EvalError::Error)?;
                self.budget.nested(COLUMN_DEPTH, || {
                    let values = match field.kind {
                        Kind::Rollup => self.looked_up(table, record, field)?,
                        _ => Value::Blank,
                    };
                    formula.evaluate(&CellEnv { reader: self, table, record, values })
                })
            }
            Kind::MultipleLookupValues => {
                self.budget.nested(COLUMN_DEPTH, || self.looked_up(table, record, field))
            }
            Kind::MultipleRecordLinks => self.budget.nested(COLUMN_DEPTH, || {
                let Some(other) = field.option("linkedTableId").and_then(|id| self.base.table(id))
                else {
                    return Ok(Value::Blank);
                };
                let linked = record.links(&field.id).filter_map(|id| other.records.get(id));
                Ok(list(linked.map(|record| Value::Text(self.title(other, record))).collect()))
            }),
            Kind::Count => Ok(Value::Num(self.link_count(record, field) as f64)),
            Kind::CreatedTime => Ok(Value::Date(DateValue::utc(record.created, true))),
            Kind::LastModifiedTime => Ok(self
                .last_modified(record, field)
                .map_or(Value::Blank, |at| Value::Date(DateValue::utc(at, true)))),
            Kind::CreatedBy => Ok(self.user_name(&record.created_by)),
            Kind::LastModifiedBy => Ok(self.user_name(&record.modified_by)),
            Kind::AutoNumber => Ok(Value::Num(record.number as f64)),
            Kind::Checkbox => Ok(Value::Bool(record.cells.contains_key(&field.id))),
            _ => Ok(record.cells.get(&field.id).map_or(Value::Blank, |cell| stored(field, cell))),
        }
    }

    /// The cell in a JSON answer; none when it is empty.
    pub(crate) fn json(&self, table: &Table, record: &Record, field: &Field) -> Option<Json> {
        self.try_json(table, record, field).unwrap_or_else(|_| Some(json!({"error": "#ERROR!"})))
    }

    /// As [`Reader::json`]; fails where columns that read each other go beyond the bounds.
    fn try_json(
        &self,
        table: &Table,
        record: &Record,
        field: &Field,
    ) -> Result<Option<Json>, EvalError> {
        Ok(match field.kind {
            Kind::Formula | Kind::Rollup => match self.value(table, record, field) {
                Ok(value) => value_json(&value),
                Err(EvalError::Error) => Some(json!({"error": "#ERROR!"})),
                Err(error) => return Err(error),
            },
            Kind::MultipleLookupValues => {
                let mut out = Vec::new();
                self.budget.nested(COLUMN_DEPTH, || {
                    for (other, record, source) in self.linked_cells(table, record, field) {
                        self.budget.spend(HOP_COST)?;
                        match self.try_json(other, record, source)? {
                            Some(Json::Array(items)) => out.extend(items),
                            Some(item) => out.push(item),
                            None => {}
                        }
                    }
                    Ok(())
                })?;
                (!out.is_empty()).then_some(Json::Array(out))
            }
            Kind::Count => Some(json!(self.link_count(record, field))),
            Kind::CreatedTime => Some(json!(iso(record.created))),
            Kind::LastModifiedTime => self.last_modified(record, field).map(|at| json!(iso(at))),
            Kind::CreatedBy => self.users.get(&record.created_by).map(|user| user.cell()),
            Kind::LastModifiedBy => self.users.get(&record.modified_by).map(|user| user.cell()),
            Kind::AutoNumber => Some(json!(record.number)),
            _ => record.cells.get(&field.id).cloned(),
        })
    }

    /// Every cell that is not empty, by field id.
    pub(crate) fn cells_by_id(&self, table: &Table, record: &Record) -> Object {
        let cells = table.fields.values();
        cells.filter_map(|f| Some((f.id.clone(), self.json(table, record, f)?))).collect()
    }

    /// The text of a record's primary cell.
    pub(crate) fn title(&self, table: &Table, record: &Record) -> String {
        let Some(field) = table.fields.get(&table.primary) else { return String::new() };
        self.value(table, record, field).map(|value| value.to_text()).unwrap_or_default()
    }

    fn last_modified(&self, record: &Record, field: &Field) -> Option<Timestamp> {
        let watched: Vec<_> = field
            .options
            .get("referencedFieldIds")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        modified(record, &watched)
    }

    fn link_count(&self, record: &Record, field: &Field) -> usize {
        field.option("recordLinkFieldId").map_or(0, |link| record.links(link).count())
    }

    fn user_name(&self, id: &str) -> Value {
        self.users.get(id).map_or(Value::Blank, |user| Value::text(user.name.as_str()))
    }

    /// The cells that a lookup or rollup reads: table, record and column of each.
    fn linked_cells<'r>(
        &'r self,
        table: &'r Table,
        record: &'r Record,
        field: &'r Field,
    ) -> impl Iterator<Item = (&'r Table, &'r Record, &'r Field)> {
        let place = (|| {
            let link = table.fields.get(field.option("recordLinkFieldId")?)?;
            let other = self.base.table(link.option("linkedTableId")?)?;
            let source = other.fields.get(field.option("fieldIdInLinkedTable")?)?;
            Some((link, other, source))
        })();
        place.into_iter().flat_map(move |(link, other, source)| {
            let found = record.links(&link.id).filter_map(move |id| other.records.get(id));
            found.map(move |record| (other, record.as_ref(), source))
        })
    }

    fn looked_up(&self, table: &Table, record: &Record, field: &Field) -> Result<Value, EvalError> {
        let mut out = Vec::new();
        for (other, record, source) in self.linked_cells(table, record, field) {
            self.budget.spend(HOP_COST)?;
            match self.value(other, record, source)? {
                Value::Blank => {}
                Value::List(values) => out.extend(values),
                value => out.push(value),
            }
        }
        Ok(list(out))
    }
}

fn list(values: Vec<Value>) -> Value {
    if values.is_empty() { Value::Blank } else { Value::List(values) }
}

/// A stored cell as a formula value.
fn stored(field: &Field, cell: &Json) -> Value {
    match (field.kind, cell) {
        (Kind::Date | Kind::DateTime, Json::String(text)) => {
            parse_date_text(text).map_or(Value::Blank, Value::Date)
        }
        (_, Json::String(text)) => Value::text(text.as_str()),
        (_, Json::Number(number)) => number.as_f64().map_or(Value::Blank, Value::Num),
        (_, Json::Bool(flag)) => Value::Bool(*flag),
        (_, Json::Array(items)) => list(items.iter().map(|item| stored(field, item)).collect()),
        (Kind::MultipleAttachments, Json::Object(file)) => {
            let part = |name| file.get(name).and_then(Json::as_str).unwrap_or_default();
            Value::Text(format!("{} ({})", part("filename"), part("url")))
        }
        (_, Json::Object(object)) => {
            let shown = object.get("name").or_else(|| object.get("text"));
            shown.and_then(Json::as_str).map_or(Value::Blank, Value::text)
        }
        (_, Json::Null) => Value::Blank,
    }
}

/// The result of a formula in a JSON answer; none when it is blank.
fn value_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Blank => return None,
        Value::Text(text) if text.is_empty() => return None,
        Value::Text(text) => json!(text),
        Value::Bool(flag) => json!(u8::from(*flag)),
        Value::Num(number) => number_json(*number),
        Value::Date(date) => json!(date.iso()),
        Value::List(values) => {
            let items: Vec<_> = values.iter().filter_map(value_json).collect();
            if items.is_empty() {
                return None;
            }
            Json::Array(items)
        }
    })
}

/// Whole numbers are written without a point; what JSON cannot hold is named.
pub(crate) fn number_json(number: f64) -> Json {
    if !number.is_finite() {
        return json!({"specialValue": crate::formula::number_text(number)});
    }
    if number.fract() == 0.0 && number.abs() < 9e15 { json!(number as i64) } else { json!(number) }
}
