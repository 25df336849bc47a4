//! Writing: one transaction on one base, and what it changed.

mod schema;
mod upsert;

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::cells::CellEdit;
use crate::ids::Ids;
use crate::model::{Base, Kind, Object, Record, Users};
use crate::render::Reader;
use crate::reply::{ApiError, ApiResult};

pub(crate) use schema::{FieldSpec, TableSpec, bind_fields, build_table};

/// Who writes, when and how.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) ids: &'a Ids,
    pub(crate) now: Timestamp,
    pub(crate) user: &'a str,
    pub(crate) typecast: bool,
}

/// What a transaction did, for webhooks.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Records touched, by table and id, with their cells before; none when there was no record.
    pub(crate) before: IndexMap<(String, String), Option<Object>>,
    pub(crate) created_tables: Vec<String>,
    pub(crate) created_fields: Vec<(String, String)>,
    /// Table, field, and its name before.
    pub(crate) changed_fields: Vec<(String, String, String)>,
    /// Table, and its name and description before.
    pub(crate) changed_tables: Vec<(String, Object)>,
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct Tx<'a> {
    pub(crate) base: &'a mut Base,
    pub(crate) users: &'a Users,
    pub(crate) edit: Edit<'a>,
    pub(crate) changes: Changes,
}

/// How a record's other cells fare in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// PATCH: they stay.
    Merge,
    /// PUT: they become empty.
    Replace,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(base: &'a mut Base, users: &'a Users, edit: Edit<'a>) -> Self {
        Self { base, users, edit, changes: Changes::default() }
    }

    /// Remembers a record as it is before the first change to it.
    pub(crate) fn note(&mut self, table: &str, record: &str) {
        if self.base.webhooks.is_empty() {
            return;
        }
        let key = (table.to_owned(), record.to_owned());
        if self.changes.before.contains_key(&key) {
            return;
        }
        let reader = Reader::new(self.base, self.users, self.edit.now);
        let before = self
            .base
            .tables
            .get(table)
            .and_then(|table| Some(reader.cells_by_id(table, table.records.get(record)?)));
        self.changes.before.insert(key, before);
    }

    /// Checks every cell of a record; nothing is written.
    pub(crate) fn check(&mut self, table: &str, fields: &Object) -> ApiResult<Vec<CellEdit>> {
        let known = self.base.tables.get(table).ok_or_else(ApiError::forbidden)?;
        if let Some(unknown) = fields.keys().find(|key| known.field(key).is_none()) {
            return Err(ApiError::unknown_field(unknown));
        }
        fields.iter().map(|(key, value)| self.cell(table, key, value)).collect()
    }

    /// Makes a record.
    pub(crate) fn create(&mut self, table: &str, fields: &Object) -> ApiResult<String> {
        let cells = self.check(table, fields)?;
        self.insert(table, cells)
    }

    /// Makes a record of checked cells.
    pub(crate) fn insert(&mut self, table_id: &str, cells: Vec<CellEdit>) -> ApiResult<String> {
        let id = self.edit.ids.fresh("rec");
        self.insert_as(table_id, &id, self.edit.now, cells)?;
        Ok(id)
    }

    /// Makes a record with a given id and time.
    pub(crate) fn insert_as(
        &mut self,
        table_id: &str,
        id: &str,
        created: Timestamp,
        cells: Vec<CellEdit>,
    ) -> ApiResult<()> {
        self.note(table_id, id);
        let table = self.base.tables.get_mut(table_id).ok_or_else(ApiError::forbidden)?;
        if table.records.len() >= MAX_RECORDS {
            return Err(ApiError::invalid("TABLE_ROW_LIMIT_EXCEEDED", "The table is full"));
        }
        let record = Record {
            id: id.to_owned(),
            number: table.next_number,
            created,
            created_by: self.edit.user.to_owned(),
            modified: None,
            modified_by: self.edit.user.to_owned(),
            cells: HashMap::new(),
            written: HashMap::new(),
            comments: Vec::new(),
        };
        table.next_number += 1;
        table.records.insert(id.to_owned(), Arc::new(record));
        self.write(table_id, id, cells)
    }

    /// Changes a record's cells.
    pub(crate) fn update(
        &mut self,
        table_id: &str,
        id: &str,
        mode: Mode,
        mut cells: Vec<CellEdit>,
    ) -> ApiResult<()> {
        self.note(table_id, id);
        let table = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let record = table.records.get(id).ok_or_else(|| ApiError::no_row(id))?;
        if mode == Mode::Replace {
            let emptied: Vec<_> = table
                .fields
                .keys()
                .filter(|key| record.cells.contains_key(*key))
                .filter(|key| !cells.iter().any(|(id, _)| id == *key))
                .map(|key| (key.clone(), None))
                .collect();
            cells.extend(emptied);
        }
        self.write(table_id, id, cells)?;
        let table = self.base.tables.get_mut(table_id);
        if let Some(record) = table.and_then(|table| table.record_mut(id)) {
            record.modified = Some(self.edit.now);
            self.edit.user.clone_into(&mut record.modified_by);
        }
        Ok(())
    }

    fn write(&mut self, table_id: &str, id: &str, cells: Vec<CellEdit>) -> ApiResult<()> {
        for (field_id, value) in cells {
            let table = self.base.tables.get_mut(table_id).ok_or_else(ApiError::forbidden)?;
            let Some(field) = table.fields.get(&field_id).cloned() else { continue };
            let record = table.record_mut(id).ok_or_else(|| ApiError::no_row(id))?;
            let old: Vec<_> = record.links(&field_id).map(str::to_owned).collect();
            record.written.insert(field_id.clone(), self.edit.now);
            match value {
                Some(value) => record.cells.insert(field_id.clone(), value),
                None => record.cells.remove(&field_id),
            };
            if field.kind == Kind::MultipleRecordLinks {
                let new: Vec<_> = record.links(&field_id).map(str::to_owned).collect();
                self.follow_links(&field, id, &old, &new);
            }
        }
        Ok(())
    }

    /// Removes a record.
    pub(crate) fn delete(&mut self, table_id: &str, id: &str) -> ApiResult<()> {
        self.note(table_id, id);
        self.unlink(table_id, id);
        let table = self.base.tables.get_mut(table_id).ok_or_else(ApiError::forbidden)?;
        table.records.shift_remove(id).map(drop).ok_or_else(ApiError::not_found)
    }

    /// Appends a file to an attachment cell.
    pub(crate) fn attach(
        &mut self,
        table_id: &str,
        id: &str,
        field: &str,
        file: Json,
    ) -> ApiResult<()> {
        let table = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let record = table.records.get(id).ok_or_else(ApiError::not_found)?;
        let mut files =
            record.cells.get(field).and_then(Json::as_array).cloned().unwrap_or_default();
        files.push(file);
        let cells = vec![(field.to_owned(), Some(Json::Array(files)))];
        self.update(table_id, id, Mode::Merge, cells)
    }
}

/// Most records in one table.
const MAX_RECORDS: usize = 50_000;
