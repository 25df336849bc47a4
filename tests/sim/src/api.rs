//! The Web API: one request to one answer.

mod attachments;
mod call;
mod comments;
mod meta;
mod records;
mod webhooks;
mod write;

use std::sync::Arc;

use http::Method;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::ids::is_id;
use crate::model::{Base, Data, Table};
use crate::reply::{ApiError, ApiResult, Reply};

pub(crate) use call::Call;

/// What the request's token allows.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) scopes: Vec<String>,
}

impl Grant {
    fn need(&self, scope: &str) -> ApiResult<()> {
        if self.scopes.iter().any(|held| held == scope) {
            return Ok(());
        }
        Err(ApiError::not_permitted())
    }
}

/// A request with the app and the grant it runs under.
pub(crate) struct Context<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) call: &'a Call,
    pub(crate) grant: Grant,
}

impl Context<'_> {
    /// The body as JSON of a given form.
    fn body<T: DeserializeOwned>(&self) -> ApiResult<T> {
        serde_json::from_slice(&self.call.body).map_err(|_| ApiError::bad_parameters())
    }

    /// Refuses bases that the token has no grant for.
    fn base<'d>(&self, data: &'d Data, id: &str) -> ApiResult<&'d Base> {
        if !granted(data, &self.grant.token, id) {
            return Err(ApiError::forbidden());
        }
        data.bases.get(id).ok_or_else(ApiError::forbidden)
    }

    /// The id of a table that the token may reach, by id or name.
    fn table_id(&self, base: &str, key: &str) -> ApiResult<String> {
        let data = self.app.data.read();
        let table = self.base(&data, base)?.table(key);
        table.map(|table| table.id.clone()).ok_or_else(ApiError::forbidden)
    }

    fn table<'d>(&self, data: &'d Data, base: &str, key: &str) -> ApiResult<(&'d Base, &'d Table)> {
        let base = self.base(data, base)?;
        Ok((base, base.table(key).ok_or_else(ApiError::forbidden)?))
    }
}

fn granted(data: &Data, token: &str, base: &str) -> bool {
    let token = data.tokens.get(token);
    token.is_some_and(|token| token.bases.as_ref().is_none_or(|bases| bases.contains(base)))
}

/// Answers a request.
pub(crate) fn answer(app: &Arc<App>, call: &Call) -> Result<ApiResult, std::time::Duration> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let path = match segments.as_slice() {
        ["_attachments", id, ..] if call.method == Method::GET => {
            return Ok(attachments::download(app, id));
        }
        ["v0", rest @ ..] => rest,
        _ => return Ok(Err(ApiError::not_found())),
    };
    let grant = match authenticate(app, call) {
        Ok(grant) => grant,
        Err(error) => return Ok(Err(error)),
    };
    app.limiter.admit(&grant.token, call.base())?;
    let context = Context { app, call, grant };
    Ok(route(&context, path))
}

fn authenticate(app: &App, call: &Call) -> ApiResult<Grant> {
    let token = call.token.as_deref().ok_or_else(ApiError::unauthenticated)?;
    let data = app.data.read();
    let known = data.tokens.get(token).ok_or_else(ApiError::unauthenticated)?;
    Ok(Grant { token: token.to_owned(), user: known.user.clone(), scopes: known.scopes.clone() })
}

fn route(cx: &Context<'_>, path: &[&str]) -> ApiResult<Reply> {
    match path {
        ["meta", rest @ ..] => meta::route(cx, rest),
        ["bases", base, "webhooks", rest @ ..] if is_id(base, "app") => {
            webhooks::route(cx, base, rest)
        }
        [base, record, field, "uploadAttachment"]
            if is_id(base, "app") && cx.call.method == Method::POST =>
        {
            attachments::upload(cx, base, record, field)
        }
        [base, table, record, "comments", rest @ ..] if is_id(base, "app") => {
            comments::route(cx, base, table, record, rest)
        }
        [base, table, rest @ ..] if is_id(base, "app") => records::route(cx, base, table, rest),
        _ => Err(ApiError::not_found()),
    }
}
