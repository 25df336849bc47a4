//! Airtable's own API, passed through for clients that were written for it.

use sdk::{
    Error, Principal, Result, context, crypto,
    http::{Cx, FromRequest, Request, Response, Routes},
    sql::Db,
};
use serde_json::{Map, Value, json};

use super::access;
use crate::{
    airtable::Ask,
    changes,
    domain::{
        answer::{Answer, JSON},
        connection::airtable_user,
        operation::{self, Kind},
        written::is_upsert,
    },
    responses, store,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "airtable";
    /// Who the token belongs to, as Airtable's API says it.
    GET "/v0/meta/whoami" => whoami;
    /// The tenant's connected bases, as Airtable's API lists them.
    GET "/v0/meta/bases" => list_bases, name "listAirtableBases";
    /// Airtable's API of records, comments, schemas, webhooks and uploads.
    ///
    /// Every method of <https://airtable.com/developers/web/api> on a base, in Airtable's own
    /// shapes, errors included. Reads are remembered for a moment (`x-airhost-cache`) and stand
    /// in while Airtable does not answer; `Cache-Control: no-cache` asks anew.
    ANY "/v0/{*path}" => pass, name "airtable";
};

/// A file of 5 MB in base64, and its wrapping.
const MAX_BODY: u64 = 10 << 20;

/// The body, as large as an attachment may be.
struct Sent(Vec<u8>);

impl FromRequest for Sent {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        cx.read_body(MAX_BODY).map(Self)
    }
}

fn whoami(principal: Principal) -> Result<Response> {
    let digest = crypto::sha256(principal.subject().as_bytes());
    let mut body = Map::from_iter([("id".to_owned(), json!(airtable_user(&digest)))]);
    // Airtable leaves them out for tokens without limits.
    if !principal.scopes().is_empty() && !principal.has_scope("*") {
        body.insert("scopes".to_owned(), json!(principal.scopes()));
    }
    Response::json(200, &body)
}

fn list_bases(_principal: Principal, db: Db<'static>) -> Result<Response> {
    let bases: Vec<Value> = access::visible(store::all(&db)?)?
        .into_iter()
        .map(|connection| {
            json!({
                "id": connection.base_id,
                "name": connection.base_name,
                "permissionLevel": connection.permission_level,
            })
        })
        .collect();
    Response::json(200, &json!({"bases": bases}))
}

fn pass(principal: Principal, request: Request, Sent(body): Sent) -> Result<Response> {
    let (method, path) = (request.method(), request.path());
    let query = request.query().unwrap_or_default();
    let unknown = || Error::not_found("there is nothing at this path");
    let operation = operation::parse(&method, &path).ok_or_else(unknown)?;
    let base = operation.base;
    // The gateway has asked; nobody else is taken at their word.
    if context::caller_service().as_deref() != Some("api-gateway") {
        access::require_on_base(operation.action, base)?;
    }
    let connection = store::of_base(base)?;
    // Airtable knows no trailing slash; airtable.js sends one, and a `?` after everything.
    let path = path.trim_end_matches('/');
    let asked = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    if operation.kind.reads() {
        let method = if method == "HEAD" { "GET" } else { &method };
        let ask = Ask::new(method, &asked, if method == "GET" { Vec::new() } else { body });
        let fresh = request.header("cache-control").is_some_and(|c| c.contains("no-cache"));
        let (answer, origin) =
            responses::read(&connection, operation.kind, &ask, (path, &query), fresh)?;
        return Ok(origin.tell(respond(answer)?));
    }
    if operation.kind == Kind::Update && is_upsert(&body) {
        // Whoever may change records may not thereby make them; the gateway cannot see this.
        access::require_on_base("record.create", base)?;
    }
    let ask = match operation.kind {
        Kind::Upload => Ask::upload(&method, &asked, body),
        _ => Ask::new(&method, &asked, body),
    };
    let answer = changes::write(&principal, &connection, operation.kind, operation.table, &ask)?;
    respond(answer)
}

/// Airtable's answer as it is; what no client of Airtable's can read becomes an error that it can.
fn respond(answer: Answer) -> Result<Response> {
    if answer.status >= 400 && !answer.is_object() {
        let detail = format!("Airtable answered {}", answer.status);
        return Err(match answer.status {
            404 => Error::not_found(detail),
            429 => Error::too_many_requests(detail, 30_000),
            503 => Error::unavailable(detail),
            504 => Error::new(504, "upstream.deadline", detail),
            500.. => Error::bad_gateway(detail),
            status => Error::new(status, "upstream.answer", detail),
        });
    }
    let mut response = Response::of(answer.status);
    if !answer.body.is_empty() {
        let content_type = answer.content_type.unwrap_or_else(|| JSON.to_owned());
        response = response.with("content-type", content_type);
    }
    if let Some(after) = answer.retry_after {
        response = response.with("retry-after", after);
    }
    Ok(response.body_is(answer.body))
}
