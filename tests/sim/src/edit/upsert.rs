//! Updates that create what they do not find.

use serde_json::Value as Json;

use super::{Mode, Tx};
use crate::cells::CellEdit;
use crate::model::Object;
use crate::reply::{ApiError, ApiResult};

/// Which records an upsert wrote.
#[derive(Debug, Default)]
pub(crate) struct Upserted {
    pub(crate) all: Vec<String>,
    pub(crate) created: Vec<String>,
    pub(crate) updated: Vec<String>,
}

/// One record of an upsert: its id when known, and its cells by name or id.
pub(crate) type UpsertItem = (Option<String>, Object);

impl Tx<'_> {
    /// Updates the records that match on `keys`, creates the others.
    pub(crate) fn upsert(
        &mut self,
        table_id: &str,
        keys: &[String],
        mode: Mode,
        items: &[UpsertItem],
    ) -> ApiResult<Upserted> {
        let table = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let mut ids = Vec::new();
        for key in keys {
            let field = table.field(key).ok_or_else(|| ApiError::unknown_field(key))?;
            if field.kind.is_computed() {
                return Err(ApiError::request(format!(
                    "Cannot merge on field \"{}\" because it is computed",
                    field.name
                )));
            }
            ids.push(field.id.clone());
        }
        let mut checked = Vec::new();
        for (id, fields) in items {
            let cells = self.check(table_id, fields)?;
            let found = match id {
                Some(id) => {
                    let table = self.base.tables.get(table_id);
                    if !table.is_some_and(|table| table.records.contains_key(id)) {
                        return Err(ApiError::no_row(id));
                    }
                    Some(id.clone())
                }
                None => self.merge_target(table_id, &ids, &cells)?,
            };
            checked.push((found, cells));
        }
        let mut done = Upserted::default();
        for (found, cells) in checked {
            // An earlier item of the same request may have made the record that this one matches.
            let target = match found {
                Some(id) => Some(id),
                None => self.merge_target(table_id, &ids, &cells)?,
            };
            let id = match target {
                Some(id) => {
                    self.update(table_id, &id, mode, cells)?;
                    if !done.created.contains(&id) && !done.updated.contains(&id) {
                        done.updated.push(id.clone());
                    }
                    id
                }
                None => {
                    let id = self.insert(table_id, cells)?;
                    done.created.push(id.clone());
                    id
                }
            };
            done.all.push(id);
        }
        Ok(done)
    }

    fn merge_target(
        &self,
        table_id: &str,
        keys: &[String],
        cells: &[CellEdit],
    ) -> ApiResult<Option<String>> {
        let table = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let mut wanted: Vec<(&String, Option<&Json>)> = Vec::new();
        for key in keys {
            let Some((_, value)) = cells.iter().find(|(id, _)| id == key) else {
                let name = table.fields.get(key).map_or(key.as_str(), |field| field.name.as_str());
                return Err(ApiError::request(format!(
                    "Cannot upsert a record without a value for the merge field \"{name}\""
                )));
            };
            wanted.push((key, value.as_ref()));
        }
        let mut matching = table
            .records
            .values()
            .filter(|record| wanted.iter().all(|(key, value)| record.cells.get(*key) == *value));
        let first = matching.next().map(|record| record.id.clone());
        if matching.next().is_some() {
            return Err(ApiError::request(
                "More than one record matches the values of the fields to merge on",
            ));
        }
        Ok(first)
    }
}
