//! Creating, updating, upserting and deleting records.

use serde_json::{Value as Json, json};

use super::Context;
use crate::edit::{Mode, Tx};
use crate::model::Object;
use crate::render::Reader;
use crate::reply::{ApiError, ApiResult, Reply};
use crate::select::CellForm;

/// Records of one request.
const BATCH: usize = 10;

pub(super) fn route(cx: &Context<'_>, base: &str, table: &str, rest: &[&str]) -> ApiResult<Reply> {
    cx.grant.need("data.records:write")?;
    let table = cx.table_id(base, table)?;
    match (cx.call.method.as_str(), rest) {
        ("POST", []) => create(cx, base, &table),
        ("PATCH", []) => update_many(cx, base, &table, Mode::Merge),
        ("PUT", []) => update_many(cx, base, &table, Mode::Replace),
        ("PATCH", [record]) => update_one(cx, base, &table, record, Mode::Merge),
        ("PUT", [record]) => update_one(cx, base, &table, record, Mode::Replace),
        ("DELETE", []) => delete_many(cx, base, &table),
        ("DELETE", [record]) => {
            cx.app.write(base, &cx.grant.user, false, |tx| tx.delete(&table, record))?;
            Ok(Reply::Json(json!({"id": record, "deleted": true})))
        }
        _ => Err(ApiError::not_found()),
    }
}

/// A write request's body.
struct Body {
    object: Object,
    typecast: bool,
    by_id: bool,
}

impl Body {
    fn read(cx: &Context<'_>) -> ApiResult<Self> {
        let object: Object = cx.body()?;
        let flag = |name: &str| match object.get(name) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ApiError::bad_parameters()),
        };
        Ok(Self { typecast: flag("typecast")?, by_id: flag("returnFieldsByFieldId")?, object })
    }

    fn fields(object: &Object) -> ApiResult<&Object> {
        let fields = object.get("fields").ok_or_else(|| ApiError::missing_fields("fields"))?;
        fields.as_object().ok_or_else(ApiError::bad_parameters)
    }

    /// The objects under `records`; there are one to ten.
    fn records(&self) -> ApiResult<Vec<&Object>> {
        let list = self.object.get("records").and_then(Json::as_array);
        let list = list.ok_or_else(|| ApiError::missing_fields("records"))?;
        if list.is_empty() || list.len() > BATCH {
            return Err(ApiError::batch_size());
        }
        let objects = list.iter().map(Json::as_object);
        objects.collect::<Option<_>>().ok_or_else(ApiError::batch_size)
    }
}

/// Records as a write request answers with them.
fn shown(tx: &Tx<'_>, table: &str, ids: &[String], by_id: bool) -> Vec<Json> {
    let reader = Reader::new(tx.base, tx.users, tx.edit.now);
    let form = CellForm::plain(by_id);
    let Some(table) = tx.base.tables.get(table) else { return Vec::new() };
    let records = ids.iter().filter_map(|id| table.records.get(id));
    records.map(|record| form.record(&reader, table, record)).collect()
}

fn one(records: Vec<Json>) -> ApiResult<Reply> {
    records.into_iter().next().map(Reply::Json).ok_or_else(ApiError::not_found)
}

fn create(cx: &Context<'_>, base: &str, table: &str) -> ApiResult<Reply> {
    let body = Body::read(cx)?;
    let many = body.object.contains_key("records");
    let items: Vec<&Object> = if many {
        let records = body.records()?;
        records.into_iter().map(Body::fields).collect::<ApiResult<_>>()?
    } else {
        vec![Body::fields(&body.object)?]
    };
    let records = cx.app.write(base, &cx.grant.user, body.typecast, |tx| {
        let mut checked = Vec::new();
        for fields in items {
            checked.push(tx.check(table, fields)?);
        }
        let mut ids = Vec::new();
        for cells in checked {
            ids.push(tx.insert(table, cells)?);
        }
        Ok(shown(tx, table, &ids, body.by_id))
    })?;
    if many { Ok(Reply::Json(json!({"records": records}))) } else { one(records) }
}

fn update_one(
    cx: &Context<'_>,
    base: &str,
    table: &str,
    record: &str,
    mode: Mode,
) -> ApiResult<Reply> {
    let body = Body::read(cx)?;
    let fields = Body::fields(&body.object)?;
    let records = cx.app.write(base, &cx.grant.user, body.typecast, |tx| {
        let known = tx.base.tables.get(table).is_some_and(|t| t.records.contains_key(record));
        if !known {
            return Err(ApiError::not_found());
        }
        let cells = tx.check(table, fields)?;
        tx.update(table, record, mode, cells)?;
        Ok(shown(tx, table, &[record.to_owned()], body.by_id))
    })?;
    one(records)
}

fn update_many(cx: &Context<'_>, base: &str, table: &str, mode: Mode) -> ApiResult<Reply> {
    let body = Body::read(cx)?;
    let mut items = Vec::new();
    for item in body.records()? {
        let id = match item.get("id") {
            None | Some(Json::Null) => None,
            Some(Json::String(id)) => Some(id.clone()),
            Some(_) => return Err(ApiError::batch_size()),
        };
        items.push((id, Body::fields(item)?.clone()));
    }
    if let Some(upsert) = body.object.get("performUpsert").filter(|value| !value.is_null()) {
        let keys = upsert.get("fieldsToMergeOn").and_then(Json::as_array);
        let keys: Vec<String> = keys
            .into_iter()
            .flatten()
            .map(|key| key.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(ApiError::bad_parameters)?;
        if keys.is_empty() || keys.len() > 3 {
            return Err(ApiError::request("fieldsToMergeOn must name one to three fields"));
        }
        return cx.app.write(base, &cx.grant.user, body.typecast, |tx| {
            let done = tx.upsert(table, &keys, mode, &items)?;
            Ok(Reply::Json(json!({
                "records": shown(tx, table, &done.all, body.by_id),
                "createdRecords": done.created,
                "updatedRecords": done.updated,
            })))
        });
    }
    let ids: Vec<String> = items
        .iter()
        .map(|(id, _)| id.clone())
        .collect::<Option<_>>()
        .ok_or_else(|| ApiError::request("Each record to update needs its id"))?;
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    if unique.len() < ids.len() {
        return Err(ApiError::request("A record cannot be updated twice in one request"));
    }
    let records = cx.app.write(base, &cx.grant.user, body.typecast, |tx| {
        let known = tx.base.tables.get(table).ok_or_else(ApiError::forbidden)?;
        if let Some(missing) = ids.iter().find(|id| !known.records.contains_key(*id)) {
            return Err(ApiError::no_row(missing));
        }
        let mut checked = Vec::new();
        for (_, fields) in &items {
            checked.push(tx.check(table, fields)?);
        }
        for (id, cells) in ids.iter().zip(checked) {
            tx.update(table, id, mode, cells)?;
        }
        Ok(shown(tx, table, &ids, body.by_id))
    })?;
    Ok(Reply::Json(json!({"records": records})))
}

fn delete_many(cx: &Context<'_>, base: &str, table: &str) -> ApiResult<Reply> {
    let mut ids: Vec<&str> = Vec::new();
    for id in cx.call.params("records") {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() || ids.len() > BATCH {
        return Err(ApiError::invalid(
            "INVALID_RECORDS",
            "You must provide an array of up to 10 record ids.",
        ));
    }
    cx.app.write(base, &cx.grant.user, false, |tx| {
        let known = tx.base.tables.get(table).ok_or_else(ApiError::forbidden)?;
        if let Some(missing) = ids.iter().find(|id| !known.records.contains_key(**id)) {
            return Err(ApiError::no_row(missing));
        }
        for id in &ids {
            tx.delete(table, id)?;
        }
        Ok(())
    })?;
    let records: Vec<_> = ids.iter().map(|id| json!({"id": id, "deleted": true})).collect();
    Ok(Reply::Json(json!({"records": records})))
}
