//! Who the token is, bases and their schema.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Context, granted};
use crate::clock::iso;
use crate::edit::{FieldSpec, TableSpec, Tx};
use crate::model::{Base, Field, Object, Table, View};
use crate::reply::{ApiError, ApiResult, Reply};

/// Bases of one page.
const PAGE: usize = 1000;
/// Bases of the simulator.
const MAX_BASES: usize = 2000;

pub(super) fn route(cx: &Context<'_>, path: &[&str]) -> ApiResult<Reply> {
    match (cx.call.method.as_str(), path) {
        ("GET", ["whoami"]) => whoami(cx),
        ("GET", ["bases"]) => list(cx),
        ("POST", ["bases"]) => create_base(cx),
        ("GET", ["bases", base]) => info(cx, base),
        ("DELETE", ["bases", base]) => delete_base(cx, base),
        ("GET", ["bases", base, "shares"]) => {
            cx.grant.need("schema.bases:read")?;
            cx.base(&cx.app.data.read(), base)?;
            Ok(Reply::Json(json!({"shares": []})))
        }
        ("GET", ["bases", base, "tables"]) => schema(cx, base),
        ("POST", ["bases", base, "tables"]) => create_table(cx, base),
        ("PATCH", ["bases", base, "tables", table]) => update_table(cx, base, table),
        ("POST", ["bases", base, "tables", table, "fields"]) => create_field(cx, base, table),
        ("PATCH", ["bases", base, "tables", table, "fields", field]) => {
            update_field(cx, base, table, field)
        }
        _ => Err(ApiError::not_found()),
    }
}

fn whoami(cx: &Context<'_>) -> ApiResult<Reply> {
    let data = cx.app.data.read();
    let user = data.users.get(&cx.grant.user).ok_or_else(ApiError::unauthenticated)?;
    let mut out = json!({"id": user.id, "scopes": cx.grant.scopes});
    if cx.grant.need("user.email:read").is_ok() {
        out["email"] = json!(user.email);
    }
    Ok(Reply::Json(out))
}

fn list(cx: &Context<'_>) -> ApiResult<Reply> {
    cx.grant.need("schema.bases:read")?;
    let data = cx.app.data.read();
    let mut bases =
        data.bases.values().filter(|base| granted(&data, &cx.grant.token, &base.id)).peekable();
    if let Some(offset) = cx.call.param("offset").filter(|offset| !offset.is_empty()) {
        let start = offset.strip_prefix("itr/").unwrap_or(offset);
        while bases.next_if(|base| base.id != start).is_some() {}
        if bases.peek().is_none() {
            return Err(ApiError::invalid(
                "INVALID_OFFSET_VALUE",
                "The value of offset is invalid",
            ));
        }
    }
    let page: Vec<_> = bases
        .by_ref()
        .take(PAGE)
        .map(|base| json!({"id": base.id, "name": base.name, "permissionLevel": base.permission}))
        .collect();
    let mut out = json!({"bases": page});
    if let Some(next) = bases.next() {
        out["offset"] = json!(format!("itr/{}", next.id));
    }
    Ok(Reply::Json(out))
}

fn info(cx: &Context<'_>, base: &str) -> ApiResult<Reply> {
    cx.grant.need("schema.bases:read")?;
    let data = cx.app.data.read();
    let base = cx.base(&data, base)?;
    let mut out = json!({
        "id": base.id,
        "name": base.name,
        "createdTime": iso(base.created),
        "permissionLevel": base.permission,
        "workspaceId": base.workspace,
    });
    for part in cx.call.params("include") {
        match part {
            "collaborators" => {
                let people: Vec<_> = data
                    .users
                    .values()
                    .map(|user| {
                        json!({
                            "userId": user.id,
                            "email": user.email,
                            "permissionLevel": base.permission,
                            "createdTime": iso(base.created),
                            "grantedByUserId": cx.grant.user,
                        })
                    })
                    .collect();
                out["individualCollaborators"] =
                    json!({"baseCollaborators": [], "workspaceCollaborators": people});
                out["groupCollaborators"] =
                    json!({"baseCollaborators": [], "workspaceCollaborators": []});
                out["collaborators"] = json!([]);
            }
            "inviteLinks" => {
                out["inviteLinks"] = json!({"baseInviteLinks": [], "workspaceInviteLinks": []});
            }
            "interfaces" => out["interfaces"] = json!({}),
            _ => return Err(ApiError::bad_parameters()),
        }
    }
    Ok(Reply::Json(out))
}

fn field_json(field: &Field) -> Json {
    let mut out = json!({"id": field.id, "name": field.name, "type": field.kind});
    if let Some(description) = &field.description {
        out["description"] = json!(description);
    }
    if !field.options.is_empty() {
        out["options"] = Json::Object(field.options.clone());
    }
    out
}

fn view_json(table: &Table, view: &View, visible: bool) -> Json {
    let mut out = json!({"id": view.id, "name": view.name, "type": view.kind});
    if visible && view.kind == "grid" {
        let all = || table.fields.keys().cloned().collect();
        out["visibleFieldIds"] = json!(view.visible.clone().unwrap_or_else(all));
    }
    out
}

fn table_json(table: &Table, visible: bool) -> Json {
    let views: Vec<_> = table.views.iter().map(|view| view_json(table, view, visible)).collect();
    let mut out = json!({
        "id": table.id,
        "name": table.name,
        "primaryFieldId": table.primary,
        "fields": table.fields.values().map(field_json).collect::<Vec<_>>(),
        "views": views,
    });
    if let Some(description) = &table.description {
        out["description"] = json!(description);
    }
    out
}

fn schema(cx: &Context<'_>, base: &str) -> ApiResult<Reply> {
    cx.grant.need("schema.bases:read")?;
    let visible = cx.call.params("include").any(|part| part == "visibleFieldIds");
    let data = cx.app.data.read();
    let tables = cx.base(&data, base)?.tables.values();
    let tables: Vec<_> = tables.map(|table| table_json(table, visible)).collect();
    Ok(Reply::Json(json!({"tables": tables})))
}

/// The scope and the grant that every change of a schema needs.
fn may_change(cx: &Context<'_>, base: &str) -> ApiResult<()> {
    cx.grant.need("schema.bases:write")?;
    cx.base(&cx.app.data.read(), base).map(drop)
}

fn table_now(tx: &Tx<'_>, id: &str) -> ApiResult<Json> {
    let table = tx.base.tables.get(id).ok_or_else(ApiError::forbidden)?;
    Ok(table_json(table, false))
}

fn create_table(cx: &Context<'_>, base: &str) -> ApiResult<Reply> {
    may_change(cx, base)?;
    let spec: TableSpec = cx.body()?;
    cx.app.write(base, &cx.grant.user, false, |tx| {
        let id = tx.create_table(spec)?;
        table_now(tx, &id).map(Reply::Json)
    })
}

/// A new name or description; null clears a description.
fn texts(body: &Object) -> ApiResult<(Option<String>, Option<Option<String>>)> {
    let text = |name: &str| match body.get(name) {
        None => Ok(None),
        Some(Json::Null) => Ok(Some(None)),
        Some(Json::String(text)) => Ok(Some(Some(text.clone()))),
        Some(_) => Err(ApiError::bad_parameters()),
    };
    let name = match text("name")? {
        Some(None) => return Err(ApiError::bad_parameters()),
        Some(Some(name)) if name.is_empty() => return Err(ApiError::bad_parameters()),
        name => name.flatten(),
    };
    Ok((name, text("description")?))
}

fn update_table(cx: &Context<'_>, base: &str, key: &str) -> ApiResult<Reply> {
    may_change(cx, base)?;
    let (name, description) = texts(&cx.body()?)?;
    let id = cx.table_id(base, key)?;
    cx.app.write(base, &cx.grant.user, false, |tx| {
        let taken = name.as_deref().and_then(|name| tx.base.table(name));
        if taken.is_some_and(|other| other.id != id) {
            return Err(ApiError::invalid(
                "DUPLICATE_TABLE_NAME",
                "Table names must be unique and not empty",
            ));
        }
        let table = tx.base.tables.get_mut(&id).ok_or_else(ApiError::forbidden)?;
        let before = Object::from_iter([
            ("name".to_owned(), json!(table.name)),
            ("description".to_owned(), json!(table.description)),
        ]);
        table.name = name.unwrap_or_else(|| table.name.clone());
        table.description = description.unwrap_or_else(|| table.description.clone());
        tx.changes.changed_tables.push((id.clone(), before));
        table_now(tx, &id).map(Reply::Json)
    })
}

fn create_field(cx: &Context<'_>, base: &str, key: &str) -> ApiResult<Reply> {
    may_change(cx, base)?;
    let spec: FieldSpec = cx.body()?;
    let table = cx.table_id(base, key)?;
    cx.app.write(base, &cx.grant.user, false, |tx| {
        let id = tx.create_field(&table, FieldSpec { id: None, ..spec })?;
        let field = tx.base.tables.get(&table).and_then(|table| table.fields.get(&id));
        field.map(|field| Reply::Json(field_json(field))).ok_or_else(ApiError::not_found)
    })
}

fn update_field(cx: &Context<'_>, base: &str, key: &str, field: &str) -> ApiResult<Reply> {
    may_change(cx, base)?;
    let body: Object = cx.body()?;
    if body.keys().any(|key| !matches!(key.as_str(), "name" | "description")) {
        return Err(ApiError::request("Only name and description of a field can be changed"));
    }
    let (name, description) = texts(&body)?;
    let id = cx.table_id(base, key)?;
    cx.app.write(base, &cx.grant.user, false, |tx| {
        let table = tx.base.tables.get_mut(&id).ok_or_else(ApiError::forbidden)?;
        let known = table.field(field).ok_or_else(ApiError::not_found)?.id.clone();
        if name.as_deref().and_then(|name| table.field(name)).is_some_and(|f| f.id != known) {
            return Err(ApiError::invalid(
                "DUPLICATE_OR_EMPTY_FIELD_NAME",
                "Field names must be unique and not empty",
            ));
        }
        let field = table.fields.get_mut(&known).ok_or_else(ApiError::not_found)?;
        let before = field.name.clone();
        field.name = name.unwrap_or_else(|| before.clone());
        field.description = description.unwrap_or_else(|| field.description.clone());
        let answer = field_json(field);
        tx.changes.changed_fields.push((id.clone(), known, before));
        Ok(Reply::Json(answer))
    })
}

/// The body of a request that makes a base.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewBase {
    name: String,
    workspace_id: String,
    tables: Vec<TableSpec>,
}

fn create_base(cx: &Context<'_>) -> ApiResult<Reply> {
    cx.grant.need("schema.bases:write")?;
    let body: NewBase = cx.body()?;
    if body.tables.is_empty() || body.name.is_empty() {
        return Err(ApiError::bad_parameters());
    }
    let id = cx.app.ids.fresh("app");
    let base = Base {
        id: id.clone(),
        name: body.name,
        workspace: body.workspace_id,
        permission: "create".to_owned(),
        created: cx.app.now(),
        tables: IndexMap::new(),
        webhooks: IndexMap::new(),
        transactions: 0,
    };
    {
        let mut data = cx.app.data.write();
        if data.bases.len() >= MAX_BASES {
            return Err(ApiError::request("There are too many bases"));
        }
        data.bases.insert(id.clone(), base);
        let token = data.tokens.get_mut(&cx.grant.token);
        if let Some(bases) = token.and_then(|token| token.bases.as_mut()) {
            bases.insert(id.clone());
        }
    }
    let made = cx.app.write(&id, &cx.grant.user, false, |tx| {
        let mut tables = Vec::new();
        for spec in body.tables {
            let table = tx.create_table(spec)?;
            tables.push(table_now(tx, &table)?);
        }
        Ok(Reply::Json(json!({"id": id, "tables": tables})))
    });
    if made.is_err() {
        cx.app.data.write().bases.shift_remove(&id);
    }
    made
}

fn delete_base(cx: &Context<'_>, base: &str) -> ApiResult<Reply> {
    may_change(cx, base)?;
    cx.app.data.write().bases.shift_remove(base);
    Ok(Reply::Json(json!({"id": base, "deleted": true})))
}
