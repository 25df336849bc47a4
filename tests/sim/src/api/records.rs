//! Reading records; the rest of the record endpoints is in `write`.

use serde_json::{Value as Json, json};

use super::{Context, write};
use crate::ids::is_id;
use crate::render::Reader;
use crate::reply::{ApiError, ApiResult, Reply};
use crate::select::{CellForm, ListParams, select};

pub(super) fn route(cx: &Context<'_>, base: &str, table: &str, rest: &[&str]) -> ApiResult<Reply> {
    match (cx.call.method.as_str(), rest) {
        ("GET", []) => list(cx, base, table, &ListParams::from_query(&cx.call.query)?),
        ("POST", ["listRecords"]) => {
            let body: Json = if cx.call.body.is_empty() { json!({}) } else { cx.body()? };
            let params = ListParams::from_query(&cx.call.query)?.with_body(&body)?;
            list(cx, base, table, &params)
        }
        ("GET", [record]) => get(cx, base, table, record),
        ("POST" | "PATCH" | "PUT" | "DELETE", _) => write::route(cx, base, table, rest),
        _ => Err(ApiError::not_found()),
    }
}

const PAGE: usize = 100;

fn list(cx: &Context<'_>, base: &str, key: &str, params: &ListParams) -> ApiResult<Reply> {
    cx.grant.need("data.records:read")?;
    let data = cx.app.data.read();
    let (base, table) = cx.table(&data, base, key)?;
    let reader = Reader::new(base, &data.users, cx.app.now());
    let form = CellForm::of(params, table)?;
    let size = params.page_size.unwrap_or(PAGE);
    let (page, offset) = match params.offset.as_deref().filter(|offset| !offset.is_empty()) {
        Some(offset) => cx.app.iterators.lock().page(offset, &table.id, size)?,
        None => {
            let all = select(&reader, table, params)?;
            if all.len() > size {
                let page = all[..size].to_vec();
                let mut iterators = cx.app.iterators.lock();
                let id = cx.app.ids.fresh("itr");
                (page, Some(iterators.open(id, &table.id, all, size)))
            } else {
                (all, None)
            }
        }
    };
    let found = page.iter().filter_map(|id| table.records.get(id));
    let records: Vec<_> = found.map(|record| form.record(&reader, table, record)).collect();
    let mut out = json!({"records": records});
    if let Some(offset) = offset {
        out["offset"] = json!(offset);
    }
    Ok(Reply::Json(out))
}

fn get(cx: &Context<'_>, base: &str, key: &str, record: &str) -> ApiResult<Reply> {
    cx.grant.need("data.records:read")?;
    let params = ListParams::from_query(&cx.call.query)?;
    let data = cx.app.data.read();
    let (base, table) = cx.table(&data, base, key)?;
    if !is_id(record, "rec") {
        return Err(ApiError::not_found());
    }
    let record = table.records.get(record).ok_or_else(ApiError::not_found)?;
    let reader = Reader::new(base, &data.users, cx.app.now());
    let form = CellForm { fields: None, ..CellForm::of(&params, table)? };
    Ok(Reply::Json(form.record(&reader, table, record)))
}
