//! Connections to bases.

use sdk::{
    Error, Principal, Result, Timestamp, Uuid, config,
    http::{Created, ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Routes, WithEtag},
    secrets,
    sql::{Committed, Db},
};

use super::access;
use crate::{
    airtable,
    domain::connection::{Connection, ConnectionChange, NewConnection},
    store,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "connections";
    /// Lists the tenant's connections.
    GET "/api/v1/connections" => list_connections;
    /// Connects a base.
    ///
    /// The token is tried at once, kept in the vault and never shown again.
    POST "/api/v1/connections" => create_connection, errors [403, 409, 429, 503, 507];
    /// A connection.
    GET "/api/v1/connections/{id}" => get_connection;
    /// Changes a connection; a new token is tried before it replaces the old one.
    PATCH "/api/v1/connections/{id}" => change_connection, errors [403, 429, 503];
    /// Disconnects a base and removes its token.
    DELETE "/api/v1/connections/{id}" => delete_connection;
};

const CONNECT: &str = "base.connect";

fn list_connections(
    principal: Principal,
    page: PageQuery,
    db: Db<'static>,
) -> Result<Page<Connection>> {
    access::require_in(CONNECT, &principal, None)?;
    store::list(&db, &page)
}

fn get_connection(Path(id): Path<Uuid>, db: Db<'static>) -> Result<WithEtag<Json<Connection>>> {
    let connection = store::get(&db, id)?;
    access::require_on_base(CONNECT, &connection.base_id)?;
    Ok(WithEtag(ETag::version(connection.version), Json(connection)))
}

/// A token in the vault that is taken out again unless it is kept.
struct Deposit(Option<String>);

impl Deposit {
    fn put(scope: &str, token: &str) -> Result<Self> {
        let name = vault_name(scope);
        secrets::put(&name, token.as_bytes())?;
        Ok(Self(Some(name)))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        if let Some(name) = &self.0
            && let Err(error) = secrets::delete(name)
        {
            sdk::error!(code = error.code(), "a token stays in the vault: {}", error.detail());
        }
    }
}

fn vault_name(scope: &str) -> String {
    format!("connection/{scope}")
}

fn create_connection(
    principal: Principal,
    db: Db<'static>,
    Json(input): Json<NewConnection>,
) -> Result<Committed<Created<Connection>>> {
    access::require_in(CONNECT, &principal, input.workspace_id.as_deref())?;
    if store::find(&db, &input.base_id)?.is_some() {
        return Err(store::taken());
    }
    if store::count(&db)? >= config::get::<i64>("connections-per-tenant")? {
        let detail = "the tenant has as many connections as it may";
        return Err(Error::new(507, "connection.too-many", detail));
    }
    let id = Uuid::v7();
    let deposit = Deposit::put(&id.to_string(), &input.token)?;
    let known = airtable::verify(&id.to_string(), &input.base_id)?;
    if let Some(workspace) = &input.workspace_id {
        access::place(&principal, &input.base_id, Some(workspace))?;
    }
    let now = Timestamp::now();
    let connection = Connection {
        id,
        base_name: known.name.unwrap_or_else(|| input.name.clone()),
        name: input.name,
        base_id: input.base_id,
        permission_level: known.permission_level.unwrap_or_else(|| "read".to_owned()),
        workspace_id: input.workspace_id,
        created_by: Some(principal.subject().to_owned()),
        refused: false,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let tx = db.begin()?;
    store::insert(&tx, &connection)?;
    let location = format!("/api/v1/connections/{id}");
    let etag = ETag::version(connection.version);
    let committed = tx.commit_with(Created::at(location, connection).etag(etag))?;
    deposit.keep();
    store::changed();
    Ok(committed)
}

fn change_connection(
    principal: Principal,
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
    Json(change): Json<ConnectionChange>,
) -> Result<WithEtag<Json<Connection>>> {
    let old = store::get(&db, id)?;
    access::require_on_base(CONNECT, &old.base_id)?;
    if_match.check(&ETag::version(old.version))?;
    let mut connection =
        Connection { version: old.version + 1, updated_at: Timestamp::now(), ..old.clone() };
    if let Some(name) = change.name {
        connection.name = name;
    }
    if let Some(token) = &change.token {
        // Tried under another name: the old one goes on being used meanwhile.
        let trial = format!("{id}.new");
        let _removed_in_any_case = Deposit::put(&trial, token)?;
        let known = airtable::verify(&trial, &old.base_id)?;
        if let Some(name) = known.name {
            connection.base_name = name;
        }
        if let Some(level) = known.permission_level {
            connection.permission_level = level;
        }
        connection.refused = false;
    }
    if let Some(workspace) = change.workspace_id
        && workspace != old.workspace_id
    {
        access::require_in(CONNECT, &principal, workspace.as_deref())?;
        access::place(&principal, &old.base_id, workspace.as_deref())?;
        connection.workspace_id = workspace;
    }
    let tx = db.begin()?;
    store::update(&tx, &connection)?;
    tx.commit()?;
    if let Some(token) = &change.token {
        secrets::put(&vault_name(&id.to_string()), token.as_bytes())?;
    }
    store::changed();
    Ok(WithEtag(ETag::version(connection.version), Json(connection)))
}

fn delete_connection(
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
) -> Result<NoContent> {
    let connection = store::get(&db, id)?;
    access::require_on_base(CONNECT, &connection.base_id)?;
    if_match.check(&ETag::version(connection.version))?;
    store::delete(&db, id)?;
    secrets::delete(&vault_name(&id.to_string()))?;
    store::changed();
    Ok(NoContent)
}
