//! Webhooks of a base.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::Context;
use crate::clock::iso;
use crate::hooks::{MAX_WEBHOOKS, Webhook};
use crate::model::{Data, MAX_NESTING, Object, is_nested_beyond};
use crate::reply::{ApiError, ApiResult, Reply};

/// Payloads of one page.
const PAGE: usize = 50;

pub(super) fn route(cx: &Context<'_>, base: &str, rest: &[&str]) -> ApiResult<Reply> {
    cx.grant.need("webhook:manage")?;
    let now = cx.app.now();
    let mut data = cx.app.data.write();
    cx.base(&data, base)?;
    if data.bases.get(base).is_some_and(|base| base.has_expired_webhooks(now))
        && let Some(base) = data.bases.get_mut(base)
    {
        base.expire_webhooks(now);
    }
    match (cx.call.method.as_str(), rest) {
        ("GET", []) => {
            let hooks = data.bases.get(base).into_iter().flat_map(|base| base.webhooks.values());
            let list: Vec<_> = hooks.map(Webhook::json).collect();
            Ok(Reply::Json(json!({"webhooks": list})))
        }
        ("POST", []) => create(cx, &mut data, base),
        ("DELETE", [id]) => {
            let base = data.bases.get_mut(base).ok_or_else(ApiError::forbidden)?;
            base.webhooks.shift_remove(*id).ok_or_else(ApiError::not_found)?;
            Ok(Reply::Empty)
        }
        ("POST", [id, "enableNotifications"]) => {
            let body: Object = cx.body()?;
            let enable = body.get("enable").ok_or_else(|| ApiError::missing_fields("enable"))?;
            let enable = enable.as_bool().ok_or_else(ApiError::bad_parameters)?;
            hook(&mut data, base, id)?.notify = enable;
            Ok(Reply::Empty)
        }
        ("POST", [id, "refresh"]) => {
            let hook = hook(&mut data, base, id)?;
            hook.expires = Webhook::expiry(now);
            Ok(Reply::Json(json!({"expirationTime": iso(hook.expires)})))
        }
        ("GET", [id, "payloads"]) => {
            let cursor = number(cx, "cursor")?.unwrap_or(1);
            let limit = number(cx, "limit")?.unwrap_or(PAGE as u64).min(PAGE as u64);
            let hook = data.bases.get(base).and_then(|base| base.webhooks.get(*id));
            let hook = hook.ok_or_else(ApiError::not_found)?;
            let (payloads, cursor, more) = hook.page(cursor, limit as usize);
            Ok(Reply::Json(json!({
                "payloads": payloads,
                "cursor": cursor,
                "mightHaveMore": more,
            })))
        }
        _ => Err(ApiError::not_found()),
    }
}

fn hook<'d>(data: &'d mut Data, base: &str, id: &str) -> ApiResult<&'d mut Webhook> {
    let base = data.bases.get_mut(base).ok_or_else(ApiError::forbidden)?;
    base.webhooks.get_mut(id).ok_or_else(ApiError::not_found)
}

/// A positive number of the query.
fn number(cx: &Context<'_>, name: &str) -> ApiResult<Option<u64>> {
    let Some(text) = cx.call.param(name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(ApiError::bad_parameters)
}

fn create(cx: &Context<'_>, data: &mut Data, base: &str) -> ApiResult<Reply> {
    let body: Object = cx.body()?;
    let url = match body.get("notificationUrl") {
        None | Some(Json::Null) => None,
        Some(Json::String(url)) if url.starts_with("http://") || url.starts_with("https://") => {
            Some(url.clone())
        }
        Some(_) => return Err(ApiError::request("notificationUrl must be a URL")),
    };
    let specification =
        body.get("specification").ok_or_else(|| ApiError::missing_fields("specification"))?;
    check(specification)?;
    let base = data.bases.get_mut(base).ok_or_else(ApiError::forbidden)?;
    if base.webhooks.len() >= MAX_WEBHOOKS {
        return Err(ApiError::invalid(
            "TOO_MANY_WEBHOOKS_IN_BASE",
            format!("A base can have at most {MAX_WEBHOOKS} webhooks"),
        ));
    }
    let hook = Webhook {
        id: cx.app.ids.fresh("ach"),
        url,
        secret: cx.app.ids.bytes::<32>().to_vec(),
        specification: specification.clone(),
        notify: true,
        expires: Webhook::expiry(cx.app.now()),
        payloads: Default::default(),
        next: 1,
        last_success: None,
        last_result: None,
    };
    let answer = json!({
        "id": hook.id,
        "macSecretBase64": STANDARD.encode(&hook.secret),
        "expirationTime": iso(hook.expires),
    });
    base.webhooks.insert(hook.id.clone(), hook);
    Ok(Reply::Json(answer))
}

/// Refuses specifications that name nothing or something unknown.
fn check(specification: &Json) -> ApiResult<()> {
    let bad = |what: &str| ApiError::invalid("INVALID_WEBHOOK_SPECIFICATION", what.to_owned());
    if is_nested_beyond(specification, MAX_NESTING) {
        return Err(bad("it is nested too deeply"));
    }
    let filters = &specification["options"]["filters"];
    let types = filters["dataTypes"].as_array().ok_or_else(|| bad("dataTypes is required"))?;
    let known = ["tableData", "tableFields", "tableMetadata"];
    if types.is_empty() || !types.iter().all(|t| t.as_str().is_some_and(|t| known.contains(&t))) {
        return Err(bad("dataTypes must name tableData, tableFields or tableMetadata"));
    }
    let lists = [
        ("changeTypes", Some(["add", "remove", "update"].as_slice())),
        ("fromSources", None),
        ("watchDataInFieldIds", None),
        ("watchSchemasOfFieldIds", None),
    ];
    for (name, allowed) in lists {
        let Some(list) = filters.get(name).filter(|list| !list.is_null()) else { continue };
        let fits = |item: &Json| {
            item.as_str().is_some_and(|item| allowed.is_none_or(|all| all.contains(&item)))
        };
        if !list.as_array().is_some_and(|items| items.iter().all(fits)) {
            return Err(bad(&format!("{name} is not valid")));
        }
    }
    Ok(())
}
