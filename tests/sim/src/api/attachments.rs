//! Uploading and downloading attachments.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

use super::Context;
use crate::app::App;
use crate::model::{Blob, Kind, Object};
use crate::reply::{ApiError, ApiResult, Reply};

/// Largest file.
const MAX_FILE_BYTES: usize = 5 << 20;
/// Bytes of all files together.
const MAX_STORED_BYTES: usize = 256 << 20;

pub(super) fn upload(cx: &Context<'_>, base: &str, record: &str, field: &str) -> ApiResult<Reply> {
    cx.grant.need("data.records:write")?;
    let body: Object = cx.body()?;
    let part = |name: &str| {
        let value = body.get(name).ok_or_else(|| ApiError::missing_fields(name))?;
        value.as_str().ok_or_else(ApiError::bad_parameters)
    };
    let (content_type, filename) = (part("contentType")?, part("filename")?);
    // Clients break the base64 text into lines.
    let encoded: String = part("file")?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let data = STANDARD.decode(encoded).map_err(|_| ApiError::bad_parameters())?;
    if data.len() > MAX_FILE_BYTES {
        return Err(ApiError::too_large());
    }
    let (table, field_id) = {
        let data = cx.app.data.read();
        let base = cx.base(&data, base)?;
        let table = base.tables.values().find(|table| table.records.contains_key(record));
        let table = table.ok_or_else(ApiError::not_found)?;
        let field = table.field(field).ok_or_else(|| ApiError::unknown_field(field))?;
        if field.kind != Kind::MultipleAttachments {
            return Err(ApiError::bad_cell(&field.name));
        }
        (table.id.clone(), field.id.clone())
    };
    let id = cx.app.ids.fresh("att");
    // The key makes the address hard to guess, as the address is all that a download needs.
    let key = cx.app.ids.fresh("");
    let name = utf8_percent_encode(filename, NON_ALPHANUMERIC);
    let file = json!({
        "id": id,
        "url": format!("{}/_attachments/{id}{key}/{name}", cx.app.public_url),
        "filename": filename,
        "size": data.len(),
        "type": content_type,
    });
    {
        let mut store = cx.app.data.write();
        let held: usize = store.blobs.values().map(|blob| blob.data.len()).sum();
        if held + data.len() > MAX_STORED_BYTES {
            return Err(ApiError::too_large());
        }
        let blob = Blob { content_type: content_type.to_owned(), data: data.into() };
        store.blobs.insert(format!("{id}{key}"), blob);
    }
    let answer = cx.app.write(base, &cx.grant.user, false, |tx| {
        tx.attach(&table, record, &field_id, file)?;
        let table = tx.base.tables.get(&table).ok_or_else(ApiError::forbidden)?;
        let record = table.records.get(record).ok_or_else(ApiError::not_found)?;
        let files = record.cells.get(&field_id).cloned().unwrap_or(Json::Null);
        Ok(json!({
            "id": record.id,
            "createdTime": crate::clock::iso(record.created),
            "fields": {&field_id: files},
        }))
    })?;
    Ok(Reply::Json(answer))
}

/// Serves a file by the secret part of its address.
pub(super) fn download(app: &App, key: &str) -> ApiResult<Reply> {
    let data = app.data.read();
    let blob = data.blobs.get(key).ok_or_else(ApiError::not_found)?;
    Ok(Reply::File { content_type: blob.content_type.clone(), data: blob.data.clone() })
}
