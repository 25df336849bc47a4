//! One transaction as one webhook sees it.

use serde_json::{Value as Json, json};

use crate::clock::iso;
use crate::edit::{Changes, Edit};
use crate::model::{Base, Field, Kind, Object, Table, Users};
use crate::render::Reader;

/// A finished transaction, ready to be told to each webhook.
pub(super) struct Scene<'a> {
    base: &'a Base,
    users: &'a Users,
    edit: &'a Edit<'a>,
    changes: &'a Changes,
    /// Cells after the transaction, in the order of `changes.before`.
    after: Vec<Option<Object>>,
}

/// The parts of a specification.
struct Filters<'a> {
    filters: &'a Json,
    includes: &'a Json,
}

impl Filters<'_> {
    fn list(&self, name: &str) -> Vec<&str> {
        let list = self.filters.get(name).and_then(Json::as_array);
        list.into_iter().flatten().filter_map(Json::as_str).collect()
    }

    /// Whether a list is absent, empty or names `item`.
    fn allows(&self, name: &str, item: &str) -> bool {
        let list = self.list(name);
        list.is_empty() || list.contains(&item)
    }

    fn scope(&self) -> Option<&str> {
        self.filters.get("recordChangeScope")?.as_str()
    }

    fn include(&self, name: &str) -> bool {
        self.includes.get(name).and_then(Json::as_bool) == Some(true)
    }
}

/// The part of a payload about one table, made when it is first needed.
fn entry<'o>(tables: &'o mut Object, path: &[&str]) -> &'o mut Object {
    let mut at = tables;
    for name in path {
        let slot = at.entry(*name).or_insert(Json::Null);
        if !slot.is_object() {
            *slot = Json::Object(Object::new());
        }
        match slot {
            Json::Object(inner) => at = inner,
            _ => unreachable!("the slot was just made an object"),
        }
    }
    at
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        base: &'a Base,
        users: &'a Users,
        edit: &'a Edit<'a>,
        changes: &'a Changes,
    ) -> Self {
        let reader = Reader::new(base, users, edit.now);
        let after = changes.before.keys().map(|(table, record)| {
            let table = base.tables.get(table)?;
            Some(reader.cells_by_id(table, table.records.get(record)?))
        });
        Self { base, users, edit, changes, after: after.collect() }
    }

    /// The payload for a webhook; none when nothing it watches changed.
    pub(super) fn payload(&self, specification: &Json) -> Option<Json> {
        let options = &specification["options"];
        let spec = Filters { filters: &options["filters"], includes: &options["includes"] };
        if !spec.allows("fromSources", "publicApi") {
            return None;
        }
        let types = spec.list("dataTypes");
        let mut tables = Object::new();
        let mut created_tables = Object::new();
        if types.contains(&"tableData") {
            self.records(&spec, &mut tables);
        }
        if types.contains(&"tableFields") {
            self.fields(&spec, &mut tables);
        }
        if types.contains(&"tableMetadata") {
            self.metadata(&spec, &mut tables, &mut created_tables);
        }
        if tables.is_empty() && created_tables.is_empty() {
            return None;
        }
        let user = self.users.get(self.edit.user);
        let mut payload = json!({
            "timestamp": iso(self.edit.now),
            "baseTransactionNumber": self.base.transactions,
            "payloadFormat": "v0",
            "actionMetadata": {"source": "publicApi", "sourceMetadata": {"user": user.map(|user| {
                json!({
                    "id": user.id,
                    "email": user.email,
                    "name": user.name,
                    "permissionLevel": self.base.permission,
                })
            })}},
        });
        if !tables.is_empty() {
            payload["changedTablesById"] = Json::Object(tables);
        }
        if !created_tables.is_empty() {
            payload["createdTablesById"] = Json::Object(created_tables);
        }
        Some(payload)
    }

    fn records(&self, spec: &Filters<'_>, tables: &mut Object) {
        for (((table_id, record_id), before), after) in self.changes.before.iter().zip(&self.after)
        {
            let Some(table) = self.base.tables.get(table_id) else { continue };
            let view = match spec.scope() {
                None => None,
                Some(scope) if scope == table_id => None,
                Some(scope) if table.views.iter().any(|view| view.id == scope) => Some(scope),
                Some(_) => continue,
            };
            let path: Vec<&str> = match view {
                None => vec![table_id],
                Some(view) => vec![table_id, "changedViewsById", view],
            };
            let watched = |cells: &Object| -> Object {
                let kept = cells.iter().filter(|(id, _)| spec.allows("watchDataInFieldIds", id));
                kept.map(|(id, cell)| (id.clone(), self.cell(table, id, cell))).collect()
            };
            match (before, after) {
                (None, Some(cells)) if spec.allows("changeTypes", "add") => {
                    let created = table.records.get(record_id).map(|record| iso(record.created));
                    let made = json!({
                        "createdTime": created,
                        "cellValuesByFieldId": watched(cells),
                    });
                    let place = entry(tables, &path);
                    entry(place, &["createdRecordsById"]).insert(record_id.clone(), made);
                }
                (Some(_), None) if spec.allows("changeTypes", "remove") => {
                    let place = entry(tables, &path);
                    let list = place.entry("destroyedRecordIds").or_insert_with(|| json!([]));
                    if let Some(list) = list.as_array_mut() {
                        list.push(json!(record_id));
                    }
                }
                (Some(before), Some(after)) if spec.allows("changeTypes", "update") => {
                    let (before, after) = (watched(before), watched(after));
                    if let Some(change) = self.change(table, spec, &before, &after) {
                        let place = entry(tables, &path);
                        entry(place, &["changedRecordsById"]).insert(record_id.clone(), change);
                    }
                }
                _ => {}
            }
        }
    }

    /// The cells that differ; an emptied cell is null.
    fn change(
        &self,
        table: &Table,
        spec: &Filters<'_>,
        before: &Object,
        after: &Object,
    ) -> Option<Json> {
        let mut current = Object::new();
        let mut previous = Object::new();
        let mut unchanged = Object::new();
        let included = spec.includes.get("includeCellValuesInFieldIds");
        for id in table.fields.keys() {
            let (old, new) = (before.get(id), after.get(id));
            if old != new {
                current.insert(id.clone(), new.cloned().unwrap_or(Json::Null));
                previous.insert(id.clone(), old.cloned().unwrap_or(Json::Null));
            } else if let (Some(same), Some(wanted)) = (new, included) {
                let listed = wanted.as_array().is_some_and(|ids| ids.contains(&json!(id)));
                if listed || wanted == "all" {
                    unchanged.insert(id.clone(), same.clone());
                }
            }
        }
        if current.is_empty() {
            return None;
        }
        let mut out = json!({"current": {"cellValuesByFieldId": current}});
        if spec.include("includePreviousCellValues") {
            out["previous"] = json!({"cellValuesByFieldId": previous});
        }
        if !unchanged.is_empty() {
            out["unchanged"] = json!({"cellValuesByFieldId": unchanged});
        }
        Some(out)
    }

    /// A cell as payloads show it: choices and links are objects.
    fn cell(&self, table: &Table, id: &str, cell: &Json) -> Json {
        let Some(field) = table.fields.get(id) else { return cell.clone() };
        let each = |make: &dyn Fn(&Json) -> Json| {
            cell.as_array().map_or_else(|| cell.clone(), |items| items.iter().map(make).collect())
        };
        match field.kind {
            Kind::SingleSelect => choice(field, cell),
            Kind::MultipleSelects => each(&|item| choice(field, item)),
            Kind::MultipleRecordLinks => {
                let other = field.option("linkedTableId").and_then(|id| self.base.tables.get(id));
                let reader = Reader::new(self.base, self.users, self.edit.now);
                each(&|item| {
                    let record = item.as_str().and_then(|id| other?.records.get(id));
                    let name = other.zip(record).map(|(table, record)| reader.title(table, record));
                    json!({"id": item, "name": name.unwrap_or_default()})
                })
            }
            _ => cell.clone(),
        }
    }

    fn fields(&self, spec: &Filters<'_>, tables: &mut Object) {
        let in_scope = |table: &str| spec.scope().is_none_or(|scope| scope == table);
        let info = |table: &str, field: &str| {
            let field = self.base.tables.get(table)?.fields.get(field)?;
            Some(json!({"name": field.name, "type": field.kind}))
        };
        for (table, field) in &self.changes.created_fields {
            if let Some(made) = info(table, field).filter(|_| in_scope(table)) {
                entry(tables, &[table, "createdFieldsById"]).insert(field.clone(), made);
            }
        }
        for (table, field, name) in &self.changes.changed_fields {
            if !spec.allows("watchSchemasOfFieldIds", field) || !in_scope(table) {
                continue;
            }
            let Some(current) = info(table, field) else { continue };
            let mut change = json!({"current": current});
            if spec.include("includePreviousFieldDefinitions") {
                change["previous"] = json!({"name": name, "type": change["current"]["type"]});
            }
            entry(tables, &[table, "changedFieldsById"]).insert(field.clone(), change);
        }
    }

    fn metadata(&self, spec: &Filters<'_>, tables: &mut Object, created: &mut Object) {
        for (table, previous) in &self.changes.changed_tables {
            let Some(now) = self.base.tables.get(table) else { continue };
            if spec.scope().is_some_and(|scope| scope != table) {
                continue;
            }
            let current = json!({"name": now.name, "description": now.description});
            let change = json!({"current": current, "previous": previous});
            entry(tables, &[table]).insert("changedMetadata".to_owned(), change);
        }
        for id in &self.changes.created_tables {
            let Some(table) = self.base.tables.get(id) else { continue };
            if spec.scope().is_some() {
                continue;
            }
            let fields: Object = table
                .fields
                .values()
                .map(|f| (f.id.clone(), json!({"name": f.name, "type": f.kind})))
                .collect();
            let made = json!({
                "metadata": {"name": table.name, "description": table.description},
                "fieldsById": fields,
                "recordsById": {},
            });
            created.insert(id.clone(), made);
        }
    }
}

fn choice(field: &Field, name: &Json) -> Json {
    let list = field.options.get("choices").and_then(Json::as_array);
    let found = list.into_iter().flatten().find(|choice| choice.get("name") == Some(name));
    found.cloned().unwrap_or_else(|| name.clone())
}
