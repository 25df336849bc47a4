//! Checking and normalizing the values written to cells.

mod links;

use serde_json::{Value as Json, json};

use crate::edit::Tx;
use crate::formula::parse_date_text;
use crate::ids::is_id;
use crate::model::{Field, Kind};
use crate::render::number_json;
use crate::reply::{ApiError, ApiResult};

/// A cell to write: the field's id and its value, none to empty it.
pub(crate) type CellEdit = (String, Option<Json>);

impl Tx<'_> {
    /// Checks one value against its column, by name or id.
    pub(crate) fn cell(&mut self, table_id: &str, key: &str, value: &Json) -> ApiResult<CellEdit> {
        let table = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let field = table.field(key).ok_or_else(|| ApiError::unknown_field(key))?.clone();
        if field.kind.is_computed() {
            return Err(ApiError::computed_cell(&field.name));
        }
        let id = field.id.clone();
        if value.is_null() {
            return Ok((id, None));
        }
        let cell = match field.kind {
            Kind::SingleSelect => self.choice_cell(table_id, &field, value)?,
            Kind::MultipleSelects => {
                let names = match value {
                    Json::String(text) if self.edit.typecast => {
                        text.split(',').map(|part| json!(part.trim())).collect()
                    }
                    Json::Array(items) => items.clone(),
                    _ => return Err(ApiError::bad_cell(&field.name)),
                };
                let mut out: Vec<Json> = Vec::new();
                for name in &names {
                    let chosen = self.choice_cell(table_id, &field, name)?;
                    out.extend(chosen.filter(|choice| !out.contains(choice)));
                }
                non_empty(out)
            }
            Kind::MultipleRecordLinks => self.link_cell(&field, value)?,
            Kind::MultipleAttachments => self.attachment_cell(&field, value)?,
            Kind::SingleCollaborator => Some(self.person(&field, value)?),
            Kind::MultipleCollaborators => {
                let items = value.as_array().ok_or_else(|| ApiError::bad_cell(&field.name))?;
                let people: ApiResult<Vec<_>> =
                    items.iter().map(|item| self.person(&field, item)).collect();
                non_empty(people?)
            }
            _ => plain(&field, value, self.edit.typecast)?,
        };
        Ok((id, cell))
    }

    fn choice_cell(
        &mut self,
        table_id: &str,
        field: &Field,
        value: &Json,
    ) -> ApiResult<Option<Json>> {
        let name = match value {
            Json::String(name) => name.clone(),
            Json::Object(choice) => choice
                .get("name")
                .and_then(Json::as_str)
                .ok_or_else(|| ApiError::bad_cell(&field.name))?
                .to_owned(),
            Json::Number(number) if self.edit.typecast => number.to_string(),
            _ => return Err(ApiError::bad_cell(&field.name)),
        };
        if name.is_empty() {
            return Ok(None);
        }
        if field.choices().any(|choice| choice == name) {
            return Ok(Some(json!(name)));
        }
        let fresh = json!({"id": self.edit.ids.fresh("sel"), "name": name, "color": "blueLight2"});
        let live = self.base.tables.get_mut(table_id).and_then(|t| t.fields.get_mut(&field.id));
        let choices = live
            .and_then(|f| f.options.entry("choices").or_insert_with(|| json!([])).as_array_mut());
        match choices {
            // A choice made by an earlier value of the same request is already there.
            Some(list) if list.iter().any(|choice| choice["name"] == name) => {}
            Some(list) if self.edit.typecast => list.push(fresh),
            _ => return Err(ApiError::new_choice(&name)),
        }
        Ok(Some(json!(name)))
    }

    fn person(&self, field: &Field, value: &Json) -> ApiResult<Json> {
        let wanted = |key| value.get(key).and_then(Json::as_str);
        let text = value.as_str().filter(|_| self.edit.typecast);
        self.users
            .values()
            .find(|user| {
                wanted("id").map_or_else(
                    || wanted("email").or(text) == Some(user.email.as_str()),
                    |id| id == user.id,
                ) || text == Some(user.name.as_str())
            })
            .map(|user| user.cell())
            .ok_or_else(|| ApiError::bad_cell(&field.name))
    }

    fn attachment_cell(&self, field: &Field, value: &Json) -> ApiResult<Option<Json>> {
        let bad = || {
            ApiError::invalid(
                "INVALID_ATTACHMENT_OBJECT",
                format!("Invalid attachment for field {}: it needs an id or a url", field.name),
            )
        };
        let mut out = Vec::new();
        for item in value.as_array().ok_or_else(|| ApiError::bad_cell(&field.name))? {
            if let Some(id) = item.get("id").and_then(Json::as_str) {
                out.push(self.known_attachment(id).ok_or_else(bad)?);
                continue;
            }
            let url = item.get("url").and_then(Json::as_str).ok_or_else(bad)?;
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                return Err(bad());
            }
            let last = url.split(['?', '#']).next().and_then(|path| path.rsplit('/').next());
            let name = item.get("filename").and_then(Json::as_str).or(last).unwrap_or("file");
            out.push(json!({
                "id": self.edit.ids.fresh("att"),
                "url": url,
                "filename": name,
                "type": content_type(name),
            }));
        }
        Ok(non_empty(out))
    }

    /// An attachment that some cell of the base holds.
    fn known_attachment(&self, id: &str) -> Option<Json> {
        let is_it = |file: &&Json| file.get("id").and_then(Json::as_str) == Some(id);
        self.base.tables.values().find_map(|table| {
            let fields: Vec<_> = table
                .fields
                .values()
                .filter(|field| field.kind == Kind::MultipleAttachments)
                .collect();
            table.records.values().find_map(|record| {
                fields.iter().find_map(|field| {
                    record.cells.get(&field.id)?.as_array()?.iter().find(is_it).cloned()
                })
            })
        })
    }
}

fn non_empty(items: Vec<Json>) -> Option<Json> {
    (!items.is_empty()).then_some(Json::Array(items))
}

/// Values that depend on nothing but their column.
fn plain(field: &Field, value: &Json, typecast: bool) -> ApiResult<Option<Json>> {
    let bad = || ApiError::bad_cell(&field.name);
    if field.kind.is_text() {
        let text = match value {
            Json::String(text) => text.clone(),
            Json::Number(number) if typecast => number.to_string(),
            Json::Bool(flag) if typecast => flag.to_string(),
            Json::Array(items) if typecast => {
                let parts: Vec<_> = items.iter().filter_map(Json::as_str).collect();
                parts.join(", ")
            }
            _ => return Err(bad()),
        };
        if text.len() > MAX_TEXT_BYTES {
            return Err(bad());
        }
        return Ok((!text.is_empty()).then_some(Json::String(text)));
    }
    match field.kind {
        Kind::Number | Kind::Currency | Kind::Percent | Kind::Duration => {
            let number = number(value, typecast);
            match (number, value) {
                (Some(number), _) => Ok(Some(number_json(number))),
                (None, Json::String(_)) if typecast => Ok(None),
                (None, _) => Err(bad()),
            }
        }
        Kind::Rating => {
            let max = field.options.get("max").and_then(Json::as_u64).unwrap_or(5) as f64;
            match number(value, typecast) {
                Some(0.0) => Ok(None),
                Some(stars) if stars.fract() == 0.0 && (1.0..=max).contains(&stars) => {
                    Ok(Some(number_json(stars)))
                }
                _ => Err(bad()),
            }
        }
        Kind::Checkbox => match value {
            Json::Bool(flag) => Ok(flag.then_some(Json::Bool(true))),
            Json::String(text) if typecast => {
                let on = ["true", "checked", "1", "yes"].contains(&text.to_lowercase().as_str());
                Ok(on.then_some(Json::Bool(true)))
            }
            Json::Number(number) if typecast => {
                Ok((number.as_f64() != Some(0.0)).then_some(Json::Bool(true)))
            }
            _ => Err(bad()),
        },
        Kind::Date | Kind::DateTime => {
            let text = value.as_str().ok_or_else(bad)?;
            if text.is_empty() {
                return Ok(None);
            }
            let iso = text.starts_with(|c: char| c.is_ascii_digit()) && text.get(4..5) == Some("-");
            let date = parse_date_text(text).filter(|_| iso || typecast).ok_or_else(bad)?;
            Ok(Some(json!(if field.kind == Kind::Date {
                date.at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
            } else {
                crate::clock::iso(date.at)
            })))
        }
        Kind::Barcode => {
            let text = value.get("text").and_then(Json::as_str).ok_or_else(bad)?;
            let mut barcode = json!({"text": text});
            if let Some(symbology) = value.get("type").and_then(Json::as_str) {
                barcode["type"] = json!(symbology);
            }
            Ok(Some(barcode))
        }
        _ => Err(bad()),
    }
}

/// Longest text of one cell.
const MAX_TEXT_BYTES: usize = 100_000;

fn number(value: &Json, typecast: bool) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) if typecast => {
            let kept: String = text
                .chars()
                .filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e' | 'E'))
                .collect();
            let number: f64 = kept.parse().ok()?;
            let percent = text.trim_end().ends_with('%');
            Some(if percent { number / 100.0 } else { number }).filter(|n| n.is_finite())
        }
        _ => None,
    }
}

/// The media type that a file name suggests.
pub(crate) fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().map(str::to_lowercase).as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("svg") => "image/svg+xml",
        Some("pdf") => "application/pdf",
        Some("txt") => "text/plain",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// Whether a text could be the id of a record.
pub(crate) fn is_record_id(text: &str) -> bool {
    is_id(text, "rec")
}
