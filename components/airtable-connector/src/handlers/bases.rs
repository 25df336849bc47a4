//! Connected bases and their schemas.

use sdk::{
    Principal, Result, Schema, Timestamp, Uuid,
    http::{Json, Page, PageQuery, Path, Response, Routes},
    sql::Db,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{access, records::ok};
use crate::{
    airtable::Ask,
    domain::{connection::Connection, operation::Kind},
    responses, store,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "bases";
    /// Lists the tenant's connected bases that the caller may see.
    ///
    /// A page may hold fewer than `limit` while there are more.
    GET "/api/v1/bases" => list_bases, errors [503];
    /// A connected base.
    GET "/api/v1/bases/{base}" => get_base, errors [403, 503];
    /// Tables, fields and views of a base, as Airtable describes them.
    GET "/api/v1/bases/{base}/tables" => list_tables, errors [403, 429, 503];
};

/// A connected base.
#[derive(Debug, Serialize, Schema)]
struct Base {
    /// Its id.
    #[schema(example = "appAbCdEfGhIjKlMn")]
    id: String,
    /// Its name at Airtable.
    name: String,
    /// What the connection may do with it, in Airtable's words.
    #[schema(example = "create")]
    permission_level: String,
    /// Its connection.
    connection_id: Uuid,
    /// The connection's name.
    connection_name: String,
    /// The workspace it is in.
    workspace_id: Option<String>,
    /// When it was connected.
    connected_at: Timestamp,
}

impl From<Connection> for Base {
    fn from(connection: Connection) -> Self {
        Self {
            id: connection.base_id,
            name: connection.base_name,
            permission_level: connection.permission_level,
            connection_id: connection.id,
            connection_name: connection.name,
            workspace_id: connection.workspace_id,
            connected_at: connection.created_at,
        }
    }
}

fn list_bases(_principal: Principal, page: PageQuery, db: Db<'static>) -> Result<Page<Base>> {
    let Page { data, next_cursor } = store::list(&db, &page)?;
    let data = access::visible(data)?.into_iter().map(Base::from).collect();
    Ok(Page { data, next_cursor })
}

fn get_base(_principal: Principal, Path(base): Path<String>) -> Result<Json<Base>> {
    let connection = store::of_base(&base)?;
    access::require_on_base("base.read", &base)?;
    Ok(Json(connection.into()))
}

fn list_tables(_principal: Principal, Path(base): Path<String>) -> Result<Response> {
    let connection = store::of_base(&base)?;
    access::require_on_base("schema.read", &base)?;
    let path = format!("/v0/meta/bases/{base}/tables");
    let ask = Ask::new("GET", &path, Vec::new());
    let (answer, origin) =
        responses::read(&connection, Kind::ReadSchema, &ask, (&path, ""), false)?;
    let mut schema: Value = ok(answer)?;
    let tables = json!({"data": schema["tables"].take(), "next_cursor": null});
    Ok(origin.tell(Response::json(200, &tables)?))
}
