//! Comments on records.

use serde_json::{Value as Json, json};

use super::Context;
use crate::clock::iso;
use crate::model::{Comment, Data, Object, Record, Users};
use crate::reply::{ApiError, ApiResult, Reply};

/// Comments of one record.
const MAX_COMMENTS: usize = 1000;
/// Longest text of a comment.
const MAX_TEXT_BYTES: usize = 100_000;

pub(super) fn route(
    cx: &Context<'_>,
    base: &str,
    table: &str,
    record: &str,
    rest: &[&str],
) -> ApiResult<Reply> {
    let reads = cx.call.method == http::Method::GET;
    cx.grant.need(if reads { "data.recordComments:read" } else { "data.recordComments:write" })?;
    let table = cx.table_id(base, table)?;
    let place = Place { base, table: &table, record };
    match (cx.call.method.as_str(), rest) {
        ("GET", []) => list(cx, &place),
        ("POST", []) => add(cx, &place),
        ("PATCH", [id]) => edit(cx, &place, id),
        ("DELETE", [id]) => delete(cx, &place, id),
        _ => Err(ApiError::not_found()),
    }
}

struct Place<'a> {
    base: &'a str,
    table: &'a str,
    record: &'a str,
}

impl Place<'_> {
    fn record<'d>(&self, data: &'d Data) -> ApiResult<&'d Record> {
        let table = data.bases.get(self.base).and_then(|base| base.tables.get(self.table));
        let record = table.and_then(|table| table.records.get(self.record));
        record.map(AsRef::as_ref).ok_or_else(ApiError::not_found)
    }

    fn comments<'d>(&self, data: &'d mut Data) -> ApiResult<&'d mut Vec<Comment>> {
        let table = data.bases.get_mut(self.base).and_then(|b| b.tables.get_mut(self.table));
        let record = table.and_then(|table| table.record_mut(self.record));
        record.map(|record| &mut record.comments).ok_or_else(ApiError::not_found)
    }
}

fn shown(comment: &Comment, users: &Users) -> Json {
    let mut mentioned = Object::new();
    for part in comment.text.split("@[").skip(1) {
        let Some((id, _)) = part.split_once(']') else { continue };
        if let Some(user) = users.get(id) {
            let entry = json!({
                "type": "user",
                "id": user.id,
                "displayName": user.name,
                "email": user.email,
            });
            mentioned.insert(id.to_owned(), entry);
        }
    }
    let author = users.get(&comment.author);
    let mut out = json!({
        "id": comment.id,
        "author": author.map(|user| json!({"id": user.id, "email": user.email, "name": user.name})),
        "text": comment.text,
        "createdTime": iso(comment.created),
        "lastUpdatedTime": comment.updated.map(iso),
    });
    if !mentioned.is_empty() {
        out["mentioned"] = Json::Object(mentioned);
    }
    if let Some(parent) = &comment.parent {
        out["parentCommentId"] = json!(parent);
    }
    if !comment.reactions.is_empty() {
        out["reactions"] = json!(comment.reactions);
    }
    out
}

/// Newest first; an offset is the id of the comment where the next page begins.
fn list(cx: &Context<'_>, place: &Place<'_>) -> ApiResult<Reply> {
    let size = match cx.call.param("pageSize") {
        None => 100,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=100).contains(size))
            .ok_or_else(ApiError::bad_parameters)?,
    };
    let data = cx.app.data.read();
    let record = place.record(&data)?;
    let mut comments = record.comments.iter().rev().peekable();
    if let Some(offset) = cx.call.param("offset").filter(|offset| !offset.is_empty()) {
        while comments.next_if(|comment| comment.id != offset).is_some() {}
        if comments.peek().is_none() {
            return Err(ApiError::invalid(
                "INVALID_OFFSET_VALUE",
                "The value of offset is invalid",
            ));
        }
    }
    let page: Vec<_> =
        comments.by_ref().take(size).map(|comment| shown(comment, &data.users)).collect();
    let offset = comments.next().map(|comment| comment.id.clone());
    Ok(Reply::Json(json!({"comments": page, "offset": offset})))
}

fn text(body: &Object) -> ApiResult<String> {
    let text = body.get("text").ok_or_else(|| ApiError::missing_fields("text"))?.as_str();
    let text = text.filter(|text| !text.is_empty() && text.len() <= MAX_TEXT_BYTES);
    text.map(str::to_owned).ok_or_else(ApiError::bad_parameters)
}

fn add(cx: &Context<'_>, place: &Place<'_>) -> ApiResult<Reply> {
    let body: Object = cx.body()?;
    let parent = match body.get("parentCommentId") {
        None | Some(Json::Null) => None,
        Some(id) => Some(id.as_str().ok_or_else(ApiError::bad_parameters)?.to_owned()),
    };
    let comment = Comment {
        id: cx.app.ids.fresh("com"),
        author: cx.grant.user.clone(),
        text: text(&body)?,
        created: cx.app.now(),
        updated: None,
        parent,
        reactions: Vec::new(),
    };
    let mut data = cx.app.data.write();
    let comments = place.comments(&mut data)?;
    let parent = comment.parent.as_deref();
    if parent.is_some_and(|parent| !comments.iter().any(|known| known.id == parent)) {
        return Err(ApiError::not_found());
    }
    if comments.len() >= MAX_COMMENTS {
        return Err(ApiError::request("The record has too many comments"));
    }
    comments.push(comment.clone());
    Ok(Reply::Json(shown(&comment, &data.users)))
}

/// Only a comment's author may change or delete it.
fn own(comments: &[Comment], id: &str, user: &str) -> ApiResult<usize> {
    let at = comments.iter().position(|comment| comment.id == id);
    let at = at.ok_or_else(ApiError::not_found)?;
    if comments[at].author == user { Ok(at) } else { Err(ApiError::not_permitted()) }
}

fn edit(cx: &Context<'_>, place: &Place<'_>, id: &str) -> ApiResult<Reply> {
    let text = text(&cx.body()?)?;
    let now = cx.app.now();
    let mut data = cx.app.data.write();
    let comments = place.comments(&mut data)?;
    let at = own(comments, id, &cx.grant.user)?;
    comments[at].text = text;
    comments[at].updated = Some(now);
    let comment = comments[at].clone();
    Ok(Reply::Json(shown(&comment, &data.users)))
}

fn delete(cx: &Context<'_>, place: &Place<'_>, id: &str) -> ApiResult<Reply> {
    let mut data = cx.app.data.write();
    let comments = place.comments(&mut data)?;
    let at = own(comments, id, &cx.grant.user)?;
    comments.remove(at);
    Ok(Reply::Json(json!({"id": id, "deleted": true})))
}
