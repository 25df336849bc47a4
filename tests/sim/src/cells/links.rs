//! Link cells, and the inverse cells that follow them.

use serde_json::{Value as Json, json};

use super::{is_record_id, non_empty};
use crate::edit::Tx;
use crate::model::{Field, Kind, Object};
use crate::render::Reader;
use crate::reply::{ApiError, ApiResult};

impl Tx<'_> {
    /// Checks the records that a link cell is to hold.
    pub(super) fn link_cell(&mut self, field: &Field, value: &Json) -> ApiResult<Option<Json>> {
        let bad = || ApiError::bad_cell(&field.name);
        let other = field.option("linkedTableId").ok_or_else(bad)?.to_owned();
        let items: Vec<String> = match value {
            Json::Array(items) => items
                .iter()
                .map(|item| item.as_str().or_else(|| item.get("id")?.as_str()).map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(bad)?,
            Json::String(text) if self.edit.typecast => {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            }
            _ => return Err(bad()),
        };
        let mut out: Vec<Json> = Vec::new();
        for item in items {
            let id = if is_record_id(&item) {
                self.linked_record(&other, &item)?;
                item
            } else if !self.edit.typecast {
                return Err(bad());
            } else {
                self.record_titled(&other, &item)?
            };
            if !out.iter().any(|known| *known == json!(id)) {
                out.push(json!(id));
            }
        }
        Ok(non_empty(out))
    }

    fn linked_record(&self, table: &str, id: &str) -> ApiResult<()> {
        if self.base.tables.get(table).is_some_and(|table| table.records.contains_key(id)) {
            return Ok(());
        }
        if self.base.tables.values().any(|table| table.records.contains_key(id)) {
            return Err(ApiError::invalid(
                "ROW_TABLE_DOES_NOT_MATCH_LINKED_TABLE",
                format!("Record ID {id} belongs to a table other than the linked one"),
            ));
        }
        Err(ApiError::no_row(id))
    }

    /// The record with a primary value, made when there is none.
    fn record_titled(&mut self, table_id: &str, title: &str) -> ApiResult<String> {
        let table = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let reader = Reader::new(self.base, self.users, self.edit.now);
        let found = table.records.values().find(|record| reader.title(table, record) == title);
        if let Some(record) = found {
            return Ok(record.id.clone());
        }
        let primary = table.primary.clone();
        self.create(table_id, &Object::from_iter([(primary, json!(title))]))
    }

    /// Makes the inverse cells follow a link cell that changes from `old` to `new`.
    pub(crate) fn follow_links(
        &mut self,
        field: &Field,
        record: &str,
        old: &[String],
        new: &[String],
    ) {
        let (Some(other), Some(inverse)) =
            (field.option("linkedTableId"), field.option("inverseLinkFieldId"))
        else {
            return;
        };
        for (id, add) in old
            .iter()
            .filter(|id| !new.contains(id))
            .map(|id| (id, false))
            .chain(new.iter().filter(|id| !old.contains(id)).map(|id| (id, true)))
        {
            self.edit_link(other, id, inverse, record, add);
        }
    }

    /// Empties every cell that links to a record about to go.
    pub(crate) fn unlink(&mut self, table_id: &str, record: &str) {
        let mut edits = Vec::new();
        for table in self.base.tables.values() {
            for field in table.fields.values() {
                if field.kind != Kind::MultipleRecordLinks
                    || field.option("linkedTableId") != Some(table_id)
                {
                    continue;
                }
                let own = self.base.tables.get(table_id).and_then(|t| t.records.get(record));
                let holders: Vec<String> = match (field.option("inverseLinkFieldId"), own) {
                    (Some(inverse), Some(own)) => own.links(inverse).map(str::to_owned).collect(),
                    _ => table
                        .records
                        .values()
                        .filter(|other| other.links(&field.id).any(|id| id == record))
                        .map(|other| other.id.clone())
                        .collect(),
                };
                let place = (table.id.clone(), field.id.clone());
                edits.extend(holders.into_iter().map(|holder| (place.clone(), holder)));
            }
        }
        for ((table, field), holder) in edits {
            self.edit_link(&table, &holder, &field, record, false);
        }
    }

    fn edit_link(&mut self, table: &str, holder: &str, field: &str, target: &str, add: bool) {
        self.note(table, holder);
        let table = self.base.tables.get_mut(table);
        let Some(record) = table.and_then(|table| table.record_mut(holder)) else { return };
        let mut links: Vec<String> = record.links(field).map(str::to_owned).collect();
        let known = links.iter().any(|id| id == target);
        match (add, known) {
            (true, false) => links.push(target.to_owned()),
            (false, true) => links.retain(|id| id != target),
            _ => return,
        }
        if links.is_empty() {
            record.cells.remove(field);
        } else {
            record.cells.insert(field.to_owned(), json!(links));
        }
        record.written.insert(field.to_owned(), self.edit.now);
    }
}
